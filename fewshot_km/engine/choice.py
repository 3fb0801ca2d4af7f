"""Which execution is used, and for how many tasks at once: decided here, by a short measurement that is remembered.

The fastest way depends on network, ways, shots and machine, and no rule that we tried told it in advance: on a CPU
batching tasks pays for networks of strided convolutions and costs for pooled ones; a GPU wants as many tasks at once as
its memory holds. So each candidate runs one meta-batch a few times, on all ranks together as training will. Compiling
takes minutes and is tried only where the iterations to come will surely pay for it.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from fewshot_km.datasets.storage import cache_root, write_text
from fewshot_km.engine.compilation import COMPILE_SECONDS, expected_seconds
from fewshot_km.engine.devices import clock
from fewshot_km.engine.engine import Engine
from fewshot_km.engine.executions import EXECUTIONS
from fewshot_km.engine.memory import bytes_taken, free_bytes, give_back_freed_memory, keep_freed_memory
from fewshot_km.engine.ranks import Ranks
from fewshot_km.episodes import Episode, EpisodeSampler
from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import Learner, Params

AUTO = "auto"
REPEATS = 3  # after one run to warm up; the fastest counts, as noise only adds
WORTH_IT = 0.95  # a later execution of the list must take less than this part of an earlier one's time
USABLE = 0.5  # of the free memory: fragmentation, and whatever else is started meanwhile
MOST_TASKS = 16  # at once: MAML's largest meta-batch; testing reports its progress after each chunk

COMPILING_SAVES = 0.25  # of an iteration's time, at least: measured on strided networks, 0.26 (20-way) to 0.55 (5-way)
VMAP_NOT_SLOWER = 1.5  # than the fastest: measured 1.0 to 1.4 where compiling pays (strided), 1.6 where not (pooled)
PAYS = 4  # times what compiling is expected to cost must be what it is expected to save: a trial may fail

Purpose = Literal["training", "testing"]


@dataclass(frozen=True)
class Choice:
    """What was chosen for one purpose, and the seconds per meta-batch of each candidate that ran."""

    execution: str
    task_chunk: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Measured:
    """What is remembered: of each execution the seconds per meta-batch and the tasks at once, and the compiler's time.

    An execution that cannot run here, as vmap for some learners, took infinitely long.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    chunks: dict[str, int] = field(default_factory=dict)
    compile_seconds: float = 0.0

    def fastest(self, iterations: int) -> str:
        """The execution for so many iterations; of those that are about as fast the first."""
        best = ""
        for name, seconds in self.seconds.items():
            if EXECUTIONS[name].compiles and best:
                seconds += self.compile_seconds / max(1, iterations)
            if not best or seconds < WORTH_IT * self.seconds[best]:
                best = name
        return best


def choose_engine(
    learner: Learner,
    meta: Params,
    train: EpisodeSampler,
    test: EpisodeSampler,
    *,
    meta_batch: int,
    train_steps: int,
    test_steps: int,
    iterations: int,
    ranks: Ranks,
    execution: str = AUTO,
    task_chunk: int | None = None,
    on_compiling: Callable[[float], None] = lambda _: None,
    on_choice: Callable[[Purpose, Choice], None] = lambda *_: None,
) -> Engine:
    """The engine for a learner on these tasks.

    `iterations` are still to come; `execution` names one of EXECUTIONS instead of measuring, `task_chunk` the tasks at
    once on each rank. `on_compiling` hears how many seconds compiling may take when it begins, `on_choice` of what was
    measured anew. Raises ConfigError for another name. All ranks decide the same, as rank 0 measured.
    """
    check_execution(execution)
    device = next(iter(meta.values())).device
    if device.type == "cpu":
        keep_freed_memory()

    names = [execution] if execution != AUTO else [n for n, known in EXECUTIONS.items() if not known.compiles]

    def choose(purpose: Purpose, sampler: EpisodeSampler, steps: int) -> Choice:
        key = _describe(purpose, names, learner, meta, sampler, meta_batch, steps, device, ranks)
        known: _Measured | None = ranks.from_first(_recall(key) if ranks.first else None)
        episode = sampler.draw(ranks.share(range(max(meta_batch, ranks.size))))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # whether measured or recalled
            measured = known or _measure(purpose, names, learner, meta, episode, steps, ranks)
            worth_seconds = iterations * min(measured.seconds.values()) * COMPILING_SAVES / PAYS
            may_compile = execution == AUTO and purpose == "training" and _may_compile(measured, device)
            if may_compile and worth_seconds > COMPILE_SECONDS:  # else no program is short enough
                plain = EXECUTIONS["plain"].outer_gradient
                seconds = expected_seconds(partial(plain, learner, meta, episode[:1], steps))
                if worth_seconds > seconds:
                    on_compiling(seconds)
                    measured = _with_compiled(measured, learner, meta, episode, steps, ranks)
        name = measured.fastest(iterations)
        choice = Choice(name, measured.chunks[name], {n: s for n, s in measured.seconds.items() if s < math.inf})
        if ranks.first and measured != known:
            _remember(key, measured)
            on_choice(purpose, choice)
        return choice

    training, testing = choose("training", train, train_steps), choose("testing", test, test_steps)
    chunk = task_chunk or min(training.task_chunk, testing.task_chunk)
    return Engine(learner, training.execution, testing.execution, chunk, ranks)


def check_execution(name: str) -> None:
    """Raise ConfigError for a name that neither is an execution nor asks for measuring."""
    if name != AUTO and name not in EXECUTIONS:
        raise ConfigError(f"unknown execution '{name}'; known: {AUTO}, {', '.join(EXECUTIONS)}")


def _measure(
    purpose: Purpose, names: list[str], learner: Learner, meta: Params, episode: Episode, steps: int, ranks: Ranks
) -> _Measured:
    """Each candidate on the tasks of one meta-batch, as rank 0 finds it."""
    measured = _Measured()
    for name in names:
        execution = EXECUTIONS[name]
        run = execution.outer_gradient if purpose == "training" else execution.count_correct
        compiles = execution.compiles and purpose == "training"
        probe = EXECUTIONS["vmap"].outer_gradient if compiles else run  # which does not compile for one task alone
        try:
            fit = _tasks_that_fit(partial(probe, learner, meta, episode[:1], steps), episode, ranks)
            fit = min(MOST_TASKS, fit)
            measured.chunks[name] = _even_chunk(fit, len(episode)) if compiles else fit
            measured.seconds[name] = _fastest_run(run, learner, meta, episode, steps, measured.chunks[name])
        except Exception:
            if len(names) == 1 or name == "plain":
                raise
            measured.seconds[name] = math.inf
    result: _Measured = ranks.from_first(measured)
    return result


def _may_compile(measured: _Measured, device: torch.device) -> bool:
    """Whether compiling might help, and was not tried yet.

    What makes vmap slow on a CPU, maps too large for its caches, makes the compiled program slow, too.
    """
    if "compiled" in measured.seconds or measured.seconds.get("vmap", math.inf) == math.inf:
        return False
    return device.type != "cpu" or measured.seconds["vmap"] <= VMAP_NOT_SLOWER * min(measured.seconds.values())


def _with_compiled(
    measured: _Measured, learner: Learner, meta: Params, episode: Episode, steps: int, ranks: Ranks
) -> _Measured:
    """The same, and how the compiled program does, which rank 0 compiles first: the others find it in the cache."""
    chunk = _even_chunk(measured.chunks["vmap"], len(episode))
    run = EXECUTIONS["compiled"].outer_gradient
    failed = torch.zeros(1, device=episode.query_x.device)
    give_back_freed_memory()  # what vmap has used, for the compiled program
    began = time.perf_counter()
    for turn in (True, False):
        if ranks.first == turn:
            try:
                run(learner, meta, episode[:chunk], steps)
            except Exception:  # the compiler knows an operation too little, or there is no C++ compiler
                failed += 1
        ranks.from_first()  # wait
    took = time.perf_counter() - began
    some_failed = bool(ranks.sum({"": failed})[""])
    seconds = math.inf if some_failed else _fastest_run(run, learner, meta, episode, steps, chunk)
    mine = replace(
        measured,
        seconds={**measured.seconds, "compiled": seconds},
        chunks={**measured.chunks, "compiled": chunk},
        compile_seconds=round(took, 1),
    )
    result: _Measured = ranks.from_first(mine)
    return result


def _fastest_run(
    run: Callable[..., object], learner: Learner, meta: Params, episode: Episode, steps: int, chunk: int
) -> float:
    """Seconds for all tasks of the episode, from the fastest of some runs of a chunk of them."""
    part = episode[:chunk]
    run(learner, meta, part, steps)
    fastest = min(_seconds(partial(run, learner, meta, part, steps), part) for _ in range(REPEATS))
    return round(fastest / len(part) * len(episode), 4)


def _even_chunk(most: int, tasks: int) -> int:
    """The largest part of these tasks, `most` at most, that leaves no rest: a rest would be compiled, too."""
    return max(part for part in range(1, min(most, tasks) + 1) if tasks % part == 0)


def _seconds(run: Callable[[], object], on: Episode) -> float:
    began = clock(on.query_x.device)
    run()
    return clock(on.query_x.device) - began


def _tasks_that_fit(run_one: Callable[[], object], on: Episode, ranks: Ranks) -> int:
    """How many times the memory that one task takes can be had by each rank, at least one task."""
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
    return max(1, int(USABLE * free / sharing / taken))


def _describe(
    purpose: Purpose,
    names: list[str],
    learner: Learner,
    meta: Params,
    sampler: EpisodeSampler,
    meta_batch: int,
    steps: int,
    device: torch.device,
    ranks: Ranks,
) -> dict[str, Any]:
    """Everything that the speed may depend on."""
    inner = getattr(learner, "inner", None)
    return {
        "purpose": purpose,
        "candidates": names,
        "learner": f"{type(learner).__module__}.{type(learner).__qualname__}",
        "order": getattr(inner, "order", None),
        "parameters": {name: list(value.shape) for name, value in meta.items()},
        "precision": str(next(iter(meta.values())).dtype),
        "images": list(sampler.image_shape),
        "task": asdict(sampler.spec),
        "meta_batch": meta_batch,
        "steps": steps,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "machine": platform.node(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "ranks": ranks.size,
        "versions": {name: version(name) for name in ("fewshot_km", "torch")},
        "engine": _engine_code(),
    }


@cache
def _engine_code() -> str:
    """A digest of the engine's source: other code may be faster or slower within one version, too."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _recall(key: dict[str, Any]) -> _Measured | None:
    try:
        known = json.loads(_file(key).read_text(encoding="utf-8"))
        return _Measured(**known["measured"]) if known["of"] == key else None
    except (OSError, ValueError, KeyError, TypeError):  # never measured, or not by this version
        return None


def _remember(key: dict[str, Any], measured: _Measured) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a measurement next time
        write_text(_file(key), json.dumps({"of": key, "measured": asdict(measured)}, indent=2) + "\n")


def _file(key: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_root() / "executions" / f"{key['purpose']}-{digest[:16]}.json"
