"""The choice of backends, and of how many tasks run at once: by a fixed rule, so that no clock decides a result.

On a CPU the rule is `fused`: in results/speed no backend is faster that needs no compiling. Elsewhere it is `vmap`:
launching the small operations of one task after the other keeps a GPU waiting. `fewshot-km tune` measures what is
faster here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.accel.compiled import expected_seconds
from fewshot_km.data.episodes import Episode, EpisodeSampler
from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import Learner, Params, TaskContext
from fewshot_km.training.engine import MOST_TASKS, Engine
from fewshot_km.training.memory import bytes_taken, free_bytes, give_back_freed_memory, keep_freed_memory
from fewshot_km.training.plain import PLAIN, Backend
from fewshot_km.training.ranks import ALONE, Ranks

USABLE = 0.5  # of the free memory: fragmentation, and whatever else is started meanwhile

Purpose = Literal["training", "testing"]


@dataclass(frozen=True)
class Choice:
    """A backend that is not the rule's, and why it is used."""

    backend: str
    why: str


@dataclass(frozen=True)
class Work:
    """What an engine will run: samplers of tasks, inner steps of training and testing, and tasks per meta-batch."""

    train: EpisodeSampler
    test: EpisodeSampler
    train_steps: int
    test_steps: int
    meta_batch: int


@dataclass(frozen=True)
class Wanted:
    """What the user asked for: backends by name, AUTO for the rule's; tasks at once, None for what memory holds."""

    training: str = AUTO
    testing: str = AUTO
    task_chunk: int | None = None


def choose_engine(
    learner: Learner,
    meta: Params,
    work: Work,
    wanted: Wanted = Wanted(),
    ranks: Ranks = ALONE,
    on_compiling: Callable[[float], None] = lambda _: None,
    on_choice: Callable[[Purpose, Choice], None] = lambda *_: None,
) -> Engine:
    """The engine for a learner and its work.

    `on_compiling` is called with the seconds that compiling may take; `on_choice` where the rule's backend cannot run
    this learner, so that the plain one does. Raises ConfigError for the name of no backend. All ranks decide the same:
    the rule knows no clock, and memory is rank 0's.
    """
    check_backend(wanted.training)
    check_backend(wanted.testing)
    device = next(iter(meta.values())).device
    if device.type == "cpu":
        keep_freed_memory()
    runs: dict[Purpose, _Run] = {
        "training": _Run(learner, meta, work.train, work.train_steps, trains=True),
        "testing": _Run(learner, meta, work.test, work.test_steps, trains=False),
    }

    def choose(purpose: Purpose, name: str) -> tuple[Backend, int]:
        run = runs[purpose]
        backend = BACKENDS[by_rule(device) if name == AUTO else name]
        if name == AUTO and (why := run.why_not(backend)):
            on_choice(purpose, Choice(PLAIN.name, why))
            backend = PLAIN
        if wanted.task_chunk is not None or not backend.at_once:
            return backend, wanted.task_chunk or MOST_TASKS
        by = BACKENDS["vmap"] if backend.compiles else backend  # one task is not compiled
        fit = ranks.from_first(_tasks_that_fit(partial(run, by), device, ranks))
        if not (backend.compiles and purpose == "training"):
            return backend, fit
        on_compiling(expected_seconds(partial(run, PLAIN)))
        return backend, even_chunk(fit, len(ranks.share(range(max(work.meta_batch, ranks.size)))))

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        training, training_chunk = choose("training", wanted.training)
        testing, testing_chunk = choose("testing", wanted.testing)
    return Engine(learner, training, testing, training_chunk, testing_chunk, ranks)


class _Run:
    """One task of a learner's training or testing, to be tried on backends."""

    def __init__(self, learner: Learner, meta: Params, sampler: EpisodeSampler, steps: int, *, trains: bool) -> None:
        self._one: Episode = sampler.draw([0])
        self._learner, self._meta, self._steps, self._trains = learner, meta, steps, trains
        self._context = TaskContext(sampler.spec.ways, sampler.spec.shots, sampler.image_shape, steps)

    def __call__(self, backend: Backend) -> None:
        if self._trains:
            backend.outer_gradient(self._learner, self._meta, self._one, self._context)
        else:
            backend.count_correct(self._learner, self._meta, self._one, self._steps)

    def why_not(self, backend: Backend) -> str:
        """Why a backend cannot run this, as vmap cannot run some learners; "" where it can.

        Raises what the plain backend raises: the learner's own mistakes.
        """
        try:
            self(backend)
        except Exception as error:
            self(PLAIN)
            why = " ".join(str(error).split())[:200]  # torch explains itself at length
            return f"'{backend.name}' cannot run this learner ({type(error).__name__}: {why})"
        return ""


def check_backend(name: str) -> None:
    """Raise ConfigError for a name that is neither AUTO nor that of a backend."""
    if name != AUTO and name not in BACKENDS:
        raise ConfigError(f"unknown backend '{name}'; known: {AUTO}, {', '.join(BACKENDS)}")


def by_rule(device: torch.device) -> str:
    """The name of the backend that is used unless another one is named."""
    return "fused" if device.type == "cpu" else "vmap"


def even_chunk(most: int, tasks: int) -> int:
    """The largest divisor of `tasks` up to `most`: with it, no chunk of another size must be compiled."""
    return max(part for part in range(1, min(most, tasks) + 1) if tasks % part == 0)


def _tasks_that_fit(run_one: Callable[[], object], device: torch.device, ranks: Ranks) -> int:
    """How many times each rank can have the memory that one task takes: 1 to MOST_TASKS."""
    run_one()  # what is set up at first use, such as compiled loops, is not what a task takes
    if device.type == "cuda":
        free = free_bytes(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run_one()
        taken = torch.cuda.max_memory_allocated(device) - before
    else:
        give_back_freed_memory()  # else it would be neither free nor taken
        free = free_bytes(device)
        taken = bytes_taken(run_one)
    if free is None or taken <= 0:
        return MOST_TASKS
    sharing = 1 if device.type == "cuda" else ranks.size
    return max(1, min(MOST_TASKS, int(USABLE * free / sharing / taken)))
