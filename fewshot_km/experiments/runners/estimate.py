"""Estimate the time, parameters and memory of cells from a few iterations of each kind."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from fewshot_km.accel.choice import Wanted, Work, choose_engine
from fewshot_km.errors import PluginError, describe_error
from fewshot_km.experiments.cells.parts import delta_size, make_learner, make_streams
from fewshot_km.experiments.cells.probe import steps_asked
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.runners.worker_setup import WorkerSetup
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.plugins.boundary import plugin_code
from fewshot_km.training.memory import peak_bytes

ITERATIONS = 3  # measured after one to warm up; the fastest counts, as noise only adds


@dataclass(frozen=True)
class Estimate:
    """A cell's seconds of training (those that are left) and of what comes after; the memory of all ranks in bytes."""

    cell: Cell
    iterations_left: int
    train_seconds: float
    test_seconds: float
    meta_parameters: int
    adapted_parameters: int
    peak_bytes: int | None


def estimate(
    cells: Sequence[Cell], setup: WorkerSetup, ranks: int, on_kind: Callable[[Cell], None] = lambda _: None
) -> list[Estimate]:
    """An estimate for every cell; cells of one task and learner are measured once, in a process of their own.

    Each rank is taken to be as fast as one alone; training is measured without compiling, which may make it faster.
    """
    measured: dict[tuple[str, str], _Measured] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:  # so that peaks do not add up
        for cell in cells:
            kind = (cell.task, cell.learner)
            if kind not in measured:
                on_kind(cell)
                try:
                    measured[kind] = pool.submit(_measure_guarded, setup, cell, ranks).result()
                except BrokenProcessPool as error:
                    raise PluginError(
                        f"{cell}: the process that measured it ended without a word: a plug-in ended it, or it was "
                        "killed, as where memory runs out: lower outer.meta_batch or --task-chunk, or make the network "
                        "smaller"
                    ) from error
    return [_for_cell(cell, measured[cell.task, cell.learner], setup, ranks) for cell in cells]


@dataclass(frozen=True)
class _Measured:
    iteration_seconds: float
    episode_seconds: float
    open_episodes: int
    meta_parameters: int
    adapted_parameters: int
    peak_bytes: int | None


def _for_cell(cell: Cell, measured: _Measured, setup: WorkerSetup, ranks: int) -> Estimate:
    config = cell.config
    kept = setup.store.unfinished(cell).look()
    left = config.outer.iterations - (kept.iteration if kept else 0)
    validations = -(-left // config.validation.every)
    episodes = validations * config.validation.episodes
    steps = sum(steps_asked(config)) / config.inner.test_steps  # of the analysis, on validation episodes
    tested = config.test.episodes + measured.open_episodes + steps * config.validation.episodes
    return Estimate(
        cell,
        left,
        left * measured.iteration_seconds + episodes * measured.episode_seconds,
        tested * measured.episode_seconds,
        measured.meta_parameters,
        measured.adapted_parameters,
        measured.peak_bytes and measured.peak_bytes * ranks,
    )


def _measure_guarded(setup: WorkerSetup, cell: Cell, ranks: int) -> _Measured:
    """Raises PluginError for whatever a learner raises."""
    with plugin_code(lambda error: PluginError(f"{cell}: cannot be measured: {describe_error(error)}")):
        return _measure(setup, cell, ranks)


def _measure(setup: WorkerSetup, cell: Cell, ranks: int) -> _Measured:
    """Measure rank 0's share of the tasks."""
    config = cell.config
    with setup.opened(Stop(), lambda *_: None) as worker:
        dataset = worker.dataset(config.task.dataset)
        device = worker.group.ranks.device
        learner = make_learner(config, dataset)
        streams = make_streams(config, dataset, device)
        meta = {name: value.to(device) for name, value in learner.init(config.seed).items()}
        share = range(0, config.outer.meta_batch, ranks)
        inner, backend = config.inner, setup.settings.backend
        work = Work(streams.train, streams.validation, inner.train_steps, inner.test_steps, len(share))
        engine = choose_engine(learner, meta, work, Wanted(backend, backend, setup.settings.task_chunk))

        def train() -> None:
            engine.outer_step(meta, streams.train, range(len(share)), steps=config.inner.train_steps).loss.item()

        def test() -> None:
            engine.count_correct(meta, streams.validation, len(share), steps=config.inner.test_steps).cpu()

        adapted, _ = delta_size(learner, meta, streams.validation)
        return _Measured(
            _fastest(train),
            _fastest(test) / len(share) / ranks,
            min(len(streams.open), config.test.episodes),
            sum(value.numel() for value in meta.values()),
            adapted,
            peak_bytes(),
        )


def _fastest(run: Callable[[], None]) -> float:
    run()
    seconds = []
    for _ in range(ITERATIONS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
