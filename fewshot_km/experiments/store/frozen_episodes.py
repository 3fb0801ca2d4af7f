"""The test episodes of a task, which are the same for everyone, and their digest."""

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from fewshot_km.data import Dataset
from fewshot_km.data.episodes import EpisodeSampler, Presented, Stream, TaskSpec
from fewshot_km.data.open_episodes import OpenEpisodeSampler
from fewshot_km.experiments.settings.cell_settings import CellConfig

DIGITS = 16  # of SHA-256, in hexadecimal: short enough to stand on every line of a file


def frozen_test(config: CellConfig, dataset: Dataset, images: Tensor | None = None) -> EpisodeSampler:
    """The test episodes of a cell, without end; raises DataError where the classes do not suffice."""
    return EpisodeSampler(dataset, "test", spec_of_test(config), Stream("test", config.test.stream), images)


def frozen_open(config: CellConfig, dataset: Dataset, images: Tensor | None = None) -> OpenEpisodeSampler:
    """Test episodes of the same kind that share no image; raises DataError where the classes do not suffice."""
    return OpenEpisodeSampler(dataset, "test", spec_of_test(config), Stream("test-open", config.test.stream), images)


def spec_of_test(config: CellConfig) -> TaskSpec:
    """Ways, shots and queries at validation and test."""
    return TaskSpec(config.task.ways, config.task.shots, config.task.test_queries)


def episodes_digest(dataset_digest: str, spec: TaskSpec, shown: Presented) -> str:
    """Digest of these episodes in this order: 16 hexadecimal digits.

    They begin the SHA-256 of the data set's digest and the ways, shots and queries as text, each followed by a line
    feed, and, as little-endian 64-bit integers, the ids of every episode's images (support, then query) and after all
    of them their labels.
    """
    header = "".join(f"{part}\n" for part in (dataset_digest, spec.ways, spec.shots, spec.queries))
    content = (values.astype("<i8").tobytes() for values in _rows(shown))
    return hashlib.sha256(header.encode() + b"".join(content)).hexdigest()[:DIGITS]


def digest_of_test(config: CellConfig, dataset: Dataset) -> str:
    """Digest of the episodes that a cell is tested on: accuracies can be compared only where it agrees."""
    sampler = frozen_test(config, dataset)
    return episodes_digest(dataset.digest, sampler.spec, sampler.present(range(config.test.episodes)))


def episodes_frame(dataset: Dataset, spec: TaskSpec, shown: Presented) -> pd.DataFrame:
    """Make a row for each image of these episodes, in the order of learners' inputs; `episodes` is their digest.

    A column `file` names the image's file, where the data set came as files.
    """
    bank, (ids, labels) = dataset.bank, _rows(shown)
    episodes, images = ids.shape
    owners = np.searchsorted(bank.starts, ids.ravel(), side="right") - 1
    roles = np.where(np.arange(images) < spec.ways * spec.shots, "support", "query")
    frame = pd.DataFrame(
        {
            "episodes": episodes_digest(dataset.digest, spec, shown),
            "episode": np.arange(episodes).repeat(images),
            "label": labels.ravel(),
            "role": np.tile(roles, episodes),
            "class_name": np.array(bank.class_names, dtype=object)[owners],
            "image": ids.ravel() - bank.starts[owners],
        }
    )
    files = bank.file_names()
    return frame if files is None else frame.assign(file=np.array(files, dtype=object)[ids.ravel()])


def _rows(shown: Presented) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids and labels of all images of each episode, int64 [T, N*K + N*Q]: support, then query."""
    return np.hstack([shown.support_ids, shown.query_ids]), np.hstack([shown.support_y, shown.query_y])
