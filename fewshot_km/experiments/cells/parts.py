"""What a cell is made of: its learner and its episodes."""

from dataclasses import dataclass

import torch

from fewshot_km.data import Dataset
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec, bank_tensor
from fewshot_km.data.open_episodes import OpenEpisodeSampler
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.store.frozen_episodes import frozen_open, frozen_test, spec_of_test
from fewshot_km.learners import InnerLoop, Learner, Params, build_learner
from fewshot_km.learners.modes import evaluating
from fewshot_km.models import Network, build_network

VALIDATION_STREAM = Stream("validation", 0)  # one for all seeds: they are selected on the same episodes


@dataclass(frozen=True)
class Streams:
    """The samplers of one cell."""

    train: EpisodeSampler
    validation: EpisodeSampler
    test: EpisodeSampler
    open: OpenEpisodeSampler


def make_learner(config: CellConfig, dataset: Dataset) -> Learner:
    """The learner of a cell on its network; raises ConfigError for options whose values do not work."""

    def make_network() -> Network:
        network = config.network
        return build_network(network.name, network.options, dataset.bank.image_shape, config.task.ways)

    inner = InnerLoop(lr=config.inner.lr, order=config.inner.order)
    return build_learner(config.learner.name, config.learner.options, make_network, inner)


def make_streams(config: CellConfig, dataset: Dataset, device: torch.device) -> Streams:
    """The training, validation and test episodes of a cell; raises DataError where the classes do not suffice."""
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
    """Numbers and bytes of one task's delta: what must be stored for a task beside the meta-parameters."""
    episode = sampler.draw([0])
    with evaluating(learner):
        delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
    return (
        sum(value.numel() for value in delta.values()),
        sum(value.numel() * value.element_size() for value in delta.values()),
    )
