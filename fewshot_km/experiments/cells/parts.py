"""What a cell is made of: its learner, its episodes, the engine that runs them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.accel.choice import Wanted, Work, by_rule, choose_engine
from fewshot_km.data import Dataset
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec, bank_tensor
from fewshot_km.data.open_episodes import OpenEpisodeSampler
from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.events.event import BackendChosen, Compiling, Emit
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.settings.plugin_use import check_sources
from fewshot_km.experiments.settings.run_settings import RunSettings
from fewshot_km.experiments.store.frozen_episodes import frozen_open, frozen_test, spec_of_test
from fewshot_km.learners import InnerLoop, Learner, Params, build_learner
from fewshot_km.learners.contract_checks import check_contract, initial_meta
from fewshot_km.learners.modes import evaluating
from fewshot_km.models import Network, build_network
from fewshot_km.training.devices import allow_tf32
from fewshot_km.training.engine import Engine
from fewshot_km.training.ranks import Ranks

VALIDATION_STREAM = Stream("validation", 0)  # one for all seeds: they are selected on the same episodes


@dataclass(frozen=True)
class Streams:
    """The samplers of one cell."""

    train: EpisodeSampler
    validation: EpisodeSampler
    test: EpisodeSampler
    open: OpenEpisodeSampler


@dataclass(frozen=True)
class Parts:
    """What the stages of a cell work with.

    weights  the learner's initial meta-parameters
    pause    called where a stage can be left, with a function that returns the cell's state then; it may keep that
             state, and may raise StoppedRun
    check    called where nothing new is to be kept; it may raise StoppedRun
    """

    config: CellConfig
    engine: Engine
    streams: Streams
    weights: Params
    pause: Callable[[Callable[[], CellState]], None] = lambda _: None
    check: Callable[..., None] = lambda *_: None

    @property
    def backends(self) -> dict[str, Any]:
        """The backends in use, which decide how numbers are rounded."""
        return {
            "training": self.engine.training.name,
            "testing": self.engine.testing.name,
            "training_chunk": self.engine.training_chunk,
            "testing_chunk": self.engine.testing_chunk,
        }


def make_parts(
    config: CellConfig,
    dataset: Dataset,
    settings: RunSettings,
    ranks: Ranks,
    emit: Emit,
    tuned: tuple[str, str] | None = None,
    before: Mapping[str, Any] | None = None,
) -> Parts:
    """Build a cell, on all ranks alike.

    `tuned` names backends for training and testing that were found to be faster here; `before` are the backends that
    the cell began with. Raises ContractError for a learner that breaks its contract on the first episodes.
    """
    check_sources(config)
    allow_tf32(settings.tf32)
    torch.manual_seed(config.seed)  # for networks that draw random numbers of their own
    learner = make_learner(config, dataset)
    streams = make_streams(config, dataset, ranks.device)
    weights = {name: value.to(ranks.device) for name, value in initial_meta(learner, config.seed).items()}
    train, test = streams.train.draw([0]), streams.validation.draw([0])
    check_contract(learner, weights, train, test, steps=(config.inner.train_steps, config.inner.test_steps))
    if before and settings.backend == AUTO and {before["training"], before["testing"]} <= set(BACKENDS):
        chunks = [settings.task_chunk or before[name] for name in ("training_chunk", "testing_chunk")]
        training, testing = BACKENDS[before["training"]], BACKENDS[before["testing"]]
        engine = Engine(learner, training, testing, chunks[0], chunks[1], ranks)  # to the same bits
        return Parts(config, engine, streams, weights)
    wanted = Wanted(settings.backend, settings.backend, settings.task_chunk)
    if tuned and settings.backend == AUTO:
        wanted = Wanted(*tuned, settings.task_chunk)
        for purpose, name in zip(("training", "testing"), tuned, strict=True):
            if name != by_rule(ranks.device):
                emit(BackendChosen(purpose, name, "as `fewshot-km tune` found"))
    inner = config.inner
    engine = choose_engine(
        learner,
        weights,
        Work(streams.train, streams.validation, inner.train_steps, inner.test_steps, config.outer.meta_batch),
        wanted,
        ranks,
        on_compiling=lambda seconds: emit(Compiling(seconds)),
        on_choice=lambda purpose, choice: emit(BackendChosen(purpose, choice.backend, choice.why)),
    )
    return Parts(config, engine, streams, weights)


def make_learner(config: CellConfig, dataset: Dataset) -> Learner:
    """Build the learner of a cell on its network; raises ConfigError for options whose values do not work."""

    def make_network() -> Network:
        network = config.network
        return build_network(network.name, network.options, dataset.bank.image_shape, config.task.ways)

    inner = InnerLoop(lr=config.inner.lr, order=config.inner.order)
    return build_learner(config.learner.name, config.learner.options, make_network, inner)


def make_streams(config: CellConfig, dataset: Dataset, device: torch.device) -> Streams:
    """Make the episodes of a cell; raises DataError where the classes do not suffice."""
    task = config.task
    train = TaskSpec(task.ways, task.shots, task.train_queries)
    images = bank_tensor(dataset.bank).to(device)  # once for all of them
    return Streams(
        EpisodeSampler(dataset, "train", train, Stream("train", config.seed), images),
        EpisodeSampler(dataset, "val", spec_of_test(config), VALIDATION_STREAM, images),
        frozen_test(config, dataset, images),
        frozen_open(config, dataset, images),
    )


@torch.no_grad()
def delta_size(learner: Learner, meta: Params, sampler: EpisodeSampler) -> tuple[int, int]:
    """Count the numbers and bytes of one task's delta, which must be stored beside the meta-parameters."""
    episode = sampler.draw([0])
    with evaluating(learner):
        delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
    return (
        sum(value.numel() for value in delta.values()),
        sum(value.numel() * value.element_size() for value in delta.values()),
    )
