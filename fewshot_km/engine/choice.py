"""Which execution is used, and for how many tasks at once: decided here, by a short measurement that is remembered.

The fastest way depends on network, ways, shots and machine, and no rule that we tried told it in advance: on a CPU
batching tasks pays for networks of strided convolutions and costs for pooled ones; a GPU wants as many tasks at once as
its memory holds. So each candidate runs one meta-batch a few times, on all ranks together as training will.
"""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from fewshot_km.datasets.storage import cache_root, write_text
from fewshot_km.engine.engine import Engine
from fewshot_km.engine.executions import EXECUTIONS
from fewshot_km.engine.memory import free_bytes, keep_freed_memory, peak_bytes
from fewshot_km.engine.ranks import Ranks
from fewshot_km.episodes import Episode, EpisodeSampler
from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import Learner, Params

AUTO = "auto"
REPEATS = 3  # after one run to warm up; the fastest counts, as noise only adds
WORTH_IT = 0.95  # a later execution of the list must take less than this part of an earlier one's time
USABLE = 0.5  # of the free memory: fragmentation, and whatever else is started meanwhile
MOST_TASKS = 16  # at once: MAML's largest meta-batch; testing reports its progress after each chunk

Purpose = Literal["training", "testing"]


@dataclass(frozen=True)
class Choice:
    """What was chosen for one purpose, and the seconds per meta-batch of each candidate that ran."""

    execution: str
    task_chunk: int
    seconds: dict[str, float]


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
    execution: str = AUTO,
    task_chunk: int | None = None,
    on_choice: Callable[[Purpose, Choice], None] = lambda *_: None,
) -> Engine:
    """The engine for a learner on these tasks; `on_choice` hears of what was measured anew.

    `execution` names one of EXECUTIONS instead of measuring, `task_chunk` the tasks at once on each rank. Raises
    ConfigError for another name. All ranks decide the same, as rank 0 measured.
    """
    check_execution(execution)
    device = next(iter(meta.values())).device
    if device.type == "cpu":
        keep_freed_memory()

    def choose(purpose: Purpose, sampler: EpisodeSampler, steps: int) -> Choice:
        names = [execution] if execution != AUTO else list(EXECUTIONS)
        key = _describe(purpose, names, learner, meta, sampler, meta_batch, steps, device, ranks)
        known: Choice | None = ranks.from_first(_recall(key) if ranks.first else None)
        if known is not None:
            return known
        episode = sampler.draw(ranks.share(range(max(meta_batch, ranks.size))))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # whether measured or recalled
            measured = _measure(purpose, names, learner, meta, episode, steps, ranks)
        choice: Choice = ranks.from_first(measured)
        if ranks.first:
            _remember(key, choice)
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
) -> Choice:
    """Run each candidate on the tasks of one meta-batch; one that fails, as vmap may for a learner, is left out."""
    best: tuple[str, int] | None = None
    seconds: dict[str, float] = {}
    for name in names:
        run = EXECUTIONS[name].outer_gradient if purpose == "training" else EXECUTIONS[name].count_correct
        try:
            fit = _tasks_that_fit(partial(run, learner, meta, episode[:1], steps), episode, ranks)
            chunk = min(MOST_TASKS, fit)
            part = episode[:chunk]
            run(learner, meta, part, steps)
            fastest = min(_seconds(partial(run, learner, meta, part, steps), part) for _ in range(REPEATS))
        except Exception:
            if len(names) == 1 or name == "plain":
                raise
            continue
        seconds[name] = fastest / len(part) * len(episode)
        if best is None or seconds[name] < WORTH_IT * seconds[best[0]]:
            best = (name, chunk)
    assert best is not None  # plain is there, or was the only one asked for
    return Choice(*best, {name: round(value, 4) for name, value in seconds.items()})


def _seconds(run: Callable[[], object], on: Episode) -> float:
    def now() -> float:
        if on.query_x.is_cuda:
            torch.cuda.synchronize(on.query_x.device)
        return time.perf_counter()

    began = now()
    run()
    return now() - began


def _tasks_that_fit(run_one: Callable[[], object], on: Episode, ranks: Ranks) -> int:
    """How many times the memory that one task takes can be had by each rank, at least one task."""
    device = on.query_x.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run_one()
        taken = torch.cuda.max_memory_allocated(device) - before
    else:
        earlier = peak_bytes()
        run_one()
        taken = (peak_bytes() or 0) - (earlier or 0)  # nothing, where this process has held more before
    free = free_bytes(device)
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
        "ranks": ranks.size,
        "versions": {name: version(name) for name in ("fewshot_km", "torch")},
    }


def _recall(key: dict[str, Any]) -> Choice | None:
    try:
        known = json.loads(_file(key).read_text(encoding="utf-8"))
        return Choice(**known["choice"]) if known["measured"] == key else None
    except (OSError, ValueError, KeyError, TypeError):  # never measured, or not by this version
        return None


def _remember(key: dict[str, Any], choice: Choice) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a measurement next time
        write_text(_file(key), json.dumps({"measured": key, "choice": asdict(choice)}, indent=2) + "\n")


def _file(key: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_root() / "executions" / f"{key['purpose']}-{digest[:16]}.json"
