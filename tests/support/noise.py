"""Episodes of noise in float64, where the order of sums cannot hide a mistake."""

from dataclasses import replace

import numpy as np

from fewshot_km.data import Dataset, ImageBank
from fewshot_km.data.episodes import Episode, EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.splits import Split


def noise_dataset() -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 1, 28, 28), dtype=np.uint8)
    bank = ImageBank.from_classes([str(c) for c in range(8)], pixels)
    return Dataset("noise", bank, {"train": Split("train", np.arange(8)[:, None], "")})


def noise_sampler() -> EpisodeSampler:
    return EpisodeSampler(noise_dataset(), "train", TaskSpec(3, 1, 2), Stream("train", 0))


class DoubleSampler(EpisodeSampler):
    """The same episodes in float64."""

    def __init__(self, sampler: EpisodeSampler) -> None:
        self.__dict__ = sampler.__dict__

    def draw(self, indices: object) -> Episode:
        episode = super().draw(indices)  # type: ignore[arg-type]
        return replace(episode, support_x=episode.support_x.double(), query_x=episode.query_x.double())
