"""Which backend runs a learner's tasks, and how many at once: by a fixed rule, so that no clock decides a result.

On a CPU, `fused`: in results/speed no backend is faster that needs no compiling. Elsewhere `vmap`: launching the small
operations of one task after the other keeps a GPU waiting. `fewshot-km tune` measures what is faster here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.accel.backends import BACKENDS, Backend
from fewshot_km.accel.compiled import expected_seconds
from fewshot_km.data.episodes import Episode, EpisodeSampler
from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import Learner, Params
from fewshot_km.training.engine import MOST_TASKS, Engine
from fewshot_km.training.memory import bytes_taken, free_bytes, give_back_freed_memory, keep_freed_memory
from fewshot_km.training.ranks import Ranks

REFERENCE = "plain"
USABLE = 0.5  # of the free memory: fragmentation, and whatever else is started meanwhile

Purpose = Literal["training", "testing"]


@dataclass(frozen=True)
class Choice:
    """A backend that is not the rule's, and why it is used."""

    backend: str
    why: str


def choose_engine(
    learner: Learner,
    meta: Params,
    train: EpisodeSampler,
    test: EpisodeSampler,
    *,
    meta_batch: int,
    train_steps: int,
    test_steps: int,
    ranks: Ranks,
    training: str = AUTO,
    testing: str = AUTO,
    task_chunk: int | None = None,
    on_compiling: Callable[[float], None] = lambda _: None,
    on_choice: Callable[[Purpose, Choice], None] = lambda *_: None,
) -> Engine:
    """The engine for a learner on these tasks.

    `training` and `testing` name one of BACKENDS, or the rule's (AUTO); `task_chunk` sets the tasks that each rank
    runs at once. `on_compiling` is called with the seconds that compiling may take, `on_choice` where the rule's
    backend cannot run this learner, so that the reference does. Raises ConfigError for an unknown name. All ranks
    decide the same: the rule knows no clock, and memory is rank 0's.
    """
    check_backend(training)
    check_backend(testing)
    device = next(iter(meta.values())).device
    if device.type == "cpu":
        keep_freed_memory()
    share = len(ranks.share(range(max(meta_batch, ranks.size))))

    def choose(purpose: Purpose, wanted: str, sampler: EpisodeSampler, steps: int) -> tuple[str, int]:
        one = sampler.draw([0])
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            name = wanted if wanted != AUTO else _first_that_runs(purpose, learner, meta, one, steps, on_choice)
            if task_chunk is not None or not BACKENDS[name].at_once:
                return name, task_chunk or MOST_TASKS
            run = _run(BACKENDS["vmap" if BACKENDS[name].compiles else name], purpose)  # one task is not compiled
            fit = ranks.from_first(_tasks_that_fit(partial(run, learner, meta, one, steps), one, ranks))
            if not (BACKENDS[name].compiles and purpose == "training"):
                return name, fit
            on_compiling(expected_seconds(partial(BACKENDS[REFERENCE].outer_gradient, learner, meta, one, steps)))
            return name, even_chunk(fit, share)

    of_training = choose("training", training, train, train_steps)
    of_testing = choose("testing", testing, test, test_steps)
    return Engine(learner, of_training[0], of_testing[0], of_training[1], of_testing[1], ranks)


def check_backend(name: str) -> None:
    """Raise ConfigError for a name that is neither AUTO nor that of a backend."""
    if name != AUTO and name not in BACKENDS:
        raise ConfigError(f"unknown backend '{name}'; known: {AUTO}, {', '.join(BACKENDS)}")


def by_rule(device: torch.device) -> str:
    """The backend that is used unless another one is named."""
    return "fused" if device.type == "cpu" else "vmap"


def even_chunk(most: int, tasks: int) -> int:
    """The largest part of these tasks, `most` at most, that leaves no rest: a rest would be compiled, too."""
    return max(part for part in range(1, min(most, tasks) + 1) if tasks % part == 0)


def _first_that_runs(
    purpose: Purpose,
    learner: Learner,
    meta: Params,
    one: Episode,
    steps: int,
    on_choice: Callable[[Purpose, Choice], None],
) -> str:
    """The rule's backend, or the reference where that one cannot run the learner, as vmap cannot run some."""
    name = by_rule(one.query_x.device)
    try:
        _run(BACKENDS[name], purpose)(learner, meta, one, steps)
    except Exception as error:
        _run(BACKENDS[REFERENCE], purpose)(learner, meta, one, steps)  # raises what is the learner's own mistake
        why = " ".join(str(error).split())[:200]  # torch explains itself at length
        on_choice(purpose, Choice(REFERENCE, f"'{name}' cannot run this learner ({type(error).__name__}: {why})"))
        return REFERENCE
    return name


def _run(backend: Backend, purpose: Purpose) -> Callable[..., object]:
    return backend.outer_gradient if purpose == "training" else backend.count_correct


def _tasks_that_fit(run_one: Callable[[], object], on: Episode, ranks: Ranks) -> int:
    """How many times the memory that one task takes can be had by each rank: 1 to MOST_TASKS."""
    device = on.query_x.device
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
