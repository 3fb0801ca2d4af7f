"""What one cell does: build its learner and episodes, meta-train, select on validation, test once, be analysed."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.accel.choice import by_rule, choose_engine
from fewshot_km.data import Dataset
from fewshot_km.data.episodes import EpisodeSampler
from fewshot_km.experiments.cells.parts import Streams, delta_size, make_learner, make_streams
from fewshot_km.experiments.cells.probe import adaptation_seconds, analyse
from fewshot_km.experiments.events.event import BackendChosen, Compiling, Emit, EpisodesTested
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.settings.plugin_use import check_sources
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.learners import Learner, Params
from fewshot_km.learners.contract_checks import check_learner, initial_meta
from fewshot_km.training.devices import allow_tf32
from fewshot_km.training.engine import Engine
from fewshot_km.training.evaluation import evaluate
from fewshot_km.training.outer_loop import MetaTraining, OuterLoop, TrainingState, meta_train
from fewshot_km.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class CellResult:
    """Training, the accuracy of every test episode float64 [episodes], what else the trained learner was asked.

    `summary` are the numbers that sum it up.
    """

    training: MetaTraining
    accuracies: npt.NDArray[np.float64]
    analysis: Analysis
    summary: dict[str, Any]
    backends: dict[str, Any]


@dataclass(frozen=True)
class Compute:
    """What a cell is computed with; it decides about time and rounding, never about what is computed.

    backend   that the user asked for, for training and testing; AUTO: another one may be used
    tuned       backends for training and testing that were found to be faster here (see tuning.py)
    task_chunk  see `choose_engine`
    tf32        see `allow_tf32`
    """

    device: torch.device
    ranks: Ranks = ALONE
    backend: str = AUTO  # a fixed rule decides: the same bytes today and tomorrow
    tuned: tuple[str, str] | None = None
    task_chunk: int | None = None  # None: what memory allows
    tf32: bool = False  # 10 bits of a product's factors instead of 23: only who asks for it


@dataclass(frozen=True)
class Start:
    """What a cell goes on from: the state of its training, and `how` it was run, as `backends_of` says it."""

    state: TrainingState
    how: Mapping[str, Any]


class Keeper(Protocol):
    """Keeps what a cell can go on from, and says when the run is to end, by raising StoppedRun."""

    def keeping(self, how: Callable[[], Mapping[str, Any]], /) -> AbstractContextManager[None]:
        """Around all that is long: `how` is kept with each state."""

    def pause(self, state: Callable[[], TrainingState]) -> None:
        """Between iterations; see `meta_train`."""

    def save(self) -> None:
        """Keep the state of the last pause now."""

    def check(self) -> None:
        """Where nothing new is to be kept."""


class KeepsNothing:
    """For the ranks that write nothing."""

    def keeping(self, _: Callable[[], Mapping[str, Any]]) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def pause(self, state: Callable[[], TrainingState]) -> None:
        """Nothing."""

    def save(self) -> None:
        """Nothing."""

    def check(self) -> None:
        """Nothing."""


def run_cell(
    config: CellConfig,
    dataset: Dataset,
    compute: Compute,
    emit: Emit,
    keeper: Keeper,
    start: Start | None = None,
) -> CellResult:
    """Meta-train, from `start` if any, select on validation, test once, analyse; raises CellError.

    All ranks must call it with one config and one start.
    """
    check_sources(config)
    allow_tf32(compute.tf32)
    torch.manual_seed(config.seed)  # for networks that draw random numbers of their own
    learner = make_learner(config, dataset)
    streams = make_streams(config, dataset, compute.device)
    state = (start.state if start else TrainingState.before(initial_meta(learner, config.seed))).to(compute.device)
    train, test = streams.train.draw([0]), streams.validation.draw([0])
    check_learner(learner, state.meta, train, test, steps=(config.inner.train_steps, config.inner.test_steps))
    engine = _engine(config, learner, streams, state, compute, emit, start)

    def accuracies_of(
        meta: Params, sampler: EpisodeSampler, episodes: int, on_batch: Callable[[int], None]
    ) -> npt.NDArray[np.float64]:
        return evaluate(engine, meta, sampler, episodes=episodes, steps=config.inner.test_steps, on_batch=on_batch)

    outer = OuterLoop(
        lr=config.outer.lr,
        meta_batch=config.outer.meta_batch,
        iterations=config.outer.iterations,
        steps=config.inner.train_steps,
        clip_value=None if config.outer.clip_value == "none" else config.outer.clip_value,
        validate_every=config.validation.every,
        patience=None if config.validation.patience == "none" else config.validation.patience,
        seed=config.seed,
    )

    def validate(current: Params) -> float:
        episodes = config.validation.episodes
        return float(accuracies_of(current, streams.validation, episodes, lambda _: keeper.check()).mean())

    def tested(episodes: int) -> None:
        keeper.check()
        emit(EpisodesTested(episodes))

    with keeper.keeping(lambda: backends_of(engine)):
        training = meta_train(engine, state, streams.train, validate, outer, emit, keeper.pause)
        keeper.save()
        torch.manual_seed(config.seed)
        clock = time.monotonic()
        accuracies = accuracies_of(training.meta, streams.test, config.test.episodes, tested)
        test_seconds = time.monotonic() - clock
        analysis = analyse(config, engine, training.meta, streams, keeper.check)
        adapting = adaptation_seconds(config, engine, training.meta, streams, keeper.check)
    delta_numbers, delta_bytes = delta_size(learner, training.meta, streams.validation)
    summary = {
        "test_accuracy": float(accuracies.mean()),
        "test_episodes": len(accuracies),
        "best_val_accuracy": training.best_val_accuracy,
        "best_iteration": training.best_iteration,
        "iterations": training.history[-1].iteration,
        "adapted_parameters": delta_numbers,
        "bytes_per_task": delta_bytes,
        "meta_parameters": sum(value.numel() for value in training.meta.values()),
        "train_seconds": training.history[-1].seconds,
        "test_seconds": round(test_seconds, 2),
        "adaptation_seconds": adapting,
    }
    return CellResult(training, accuracies, analysis, summary, backends_of(engine))


def backends_of(engine: Engine) -> dict[str, Any]:
    """The backends in use, which decide how numbers are rounded."""
    names = ("training", "testing", "training_chunk", "testing_chunk")
    return {name: getattr(engine, name) for name in names}


def _engine(
    config: CellConfig,
    learner: Learner,
    streams: Streams,
    state: TrainingState,
    compute: Compute,
    emit: Emit,
    start: Start | None,
) -> Engine:
    """As the training began, so that it goes on to the same bits; else as asked for, as tuned, or by the rule."""
    if start and compute.backend == AUTO and {start.how["training"], start.how["testing"]} <= set(BACKENDS):
        chunks = [compute.task_chunk or start.how[name] for name in ("training_chunk", "testing_chunk")]
        return Engine(learner, start.how["training"], start.how["testing"], chunks[0], chunks[1], compute.ranks)
    training, testing = (compute.backend, compute.backend)
    if compute.tuned and compute.backend == AUTO:
        training, testing = compute.tuned
        for purpose, name in (("training", training), ("testing", testing)):
            if name != by_rule(compute.device):
                emit(BackendChosen(purpose, name, "as `fewshot-km tune` found"))
    return choose_engine(
        learner,
        state.meta,
        streams.train,
        streams.validation,
        meta_batch=config.outer.meta_batch,
        train_steps=config.inner.train_steps,
        test_steps=config.inner.test_steps,
        ranks=compute.ranks,
        training=training,
        testing=testing,
        task_chunk=compute.task_chunk,
        on_compiling=lambda seconds: emit(Compiling(seconds)),
        on_choice=lambda purpose, choice: emit(BackendChosen(purpose, choice.backend, choice.why)),
    )
