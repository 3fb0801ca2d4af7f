"""The test episodes of a task, which are the same for everyone, and the digest by which one tells that they are."""

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from fewshot_km.datasets import Dataset
from fewshot_km.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.grid.config import CellConfig
from fewshot_km.open_episodes import OpenEpisodeSampler

DIGITS = 16  # of SHA-256, in hexadecimal: short enough to stand on every line of a file


def frozen_test(config: CellConfig, dataset: Dataset, images: Tensor | None = None) -> EpisodeSampler:
    """The test episodes of a cell, without end; raises DataError where the classes do not suffice."""
    return EpisodeSampler(dataset, "test", spec_of_test(config), Stream("test", config.test.stream), images)


def frozen_open(config: CellConfig, dataset: Dataset, images: Tensor | None = None) -> OpenEpisodeSampler:
    """Test episodes of the same kind that share no image; raises DataError where the classes do not suffice."""
    return OpenEpisodeSampler(dataset, "test", spec_of_test(config), Stream("test-open", config.test.stream), images)


def spec_of_test(config: CellConfig) -> TaskSpec:
    """The task as it is posed at validation and test."""
    return TaskSpec(config.task.ways, config.task.shots, config.task.test_queries)


def episodes_digest(dataset_digest: str, spec: TaskSpec, ids: npt.NDArray[np.int64]) -> str:
    """Of episodes with these image ids [T, N, K + Q], in this order: 16 hexadecimal digits.

    They begin the SHA-256 of the data set's digest and the ways, shots and queries as text, each followed by a line
    feed, and the ids as little-endian 64-bit integers.
    """
    header = "".join(f"{part}\n" for part in (dataset_digest, spec.ways, spec.shots, spec.queries))
    return hashlib.sha256(header.encode() + ids.astype("<i8").tobytes()).hexdigest()[:DIGITS]


def digest_of_test(config: CellConfig, dataset: Dataset) -> str:
    """Of the episodes that a cell is tested on: accuracies can be compared only where it agrees."""
    sampler = frozen_test(config, dataset)
    return episodes_digest(dataset.digest, sampler.spec, sampler.image_ids(range(config.test.episodes)))


def episodes_frame(dataset: Dataset, spec: TaskSpec, ids: npt.NDArray[np.int64]) -> pd.DataFrame:
    """A row for each image of episodes with these ids [T, N, K + Q], in this order; `episodes` is their digest."""
    bank, (episodes, labels, columns) = dataset.bank, ids.shape
    owners = np.searchsorted(bank.starts, ids.ravel(), side="right") - 1
    of_label = np.where(np.arange(columns) < spec.shots, "support", "query")
    return pd.DataFrame(
        {
            "episodes": episodes_digest(dataset.digest, spec, ids),
            "episode": np.arange(episodes).repeat(labels * columns),
            "label": np.tile(np.arange(labels).repeat(columns), episodes),
            "role": np.tile(of_label, episodes * labels),
            "class_name": np.array(bank.class_names, dtype=object)[owners],
            "image": ids.ravel() - bank.starts[owners],
        }
    )
