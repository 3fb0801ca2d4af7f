"""From an image bank to episodes: episode i of a stream is a pure function of (split, task spec, stream, i).

Nothing is remembered between episodes, so any process can draw any episode: every learner of a grid sees the same
ones, and a run can be cut into shards or go on after a stop without replaying what came before.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fewshot_km.datasets.bank import ImageBank
from fewshot_km.datasets.base import Dataset
from fewshot_km.errors import DataError


@dataclass(frozen=True)
class TaskSpec:
    """An n-way k-shot problem: classes per task, support images per class, query images per class."""

    ways: int
    shots: int
    queries: int

    def __str__(self) -> str:
        return f"{self.ways}-way {self.shots}-shot"


@dataclass(frozen=True)
class Episode:
    """The tensors of T tasks.

    support_x float32 [T, N*K, C, H, W], 0 to 1     support_y int64 [T, N*K], 0..N-1
    query_x   float32 [T, N*Q, C, H, W], 0 to 1     query_y   int64 [T, N*Q], 0..N-1
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    def __len__(self) -> int:
        return len(self.support_x)

    def __getitem__(self, tasks: slice) -> "Episode":
        return Episode(self.support_x[tasks], self.support_y[tasks], self.query_x[tasks], self.query_y[tasks])


@dataclass(frozen=True)
class Stream:
    """An endless sequence of episodes: `name` keeps training, validation and test apart, `seed` picks one of many."""

    name: str
    seed: int


class EpisodeSampler:
    """Draws the episodes of one split, task spec and stream.

    `images` is the bank's uint8 tensor on the device that computes, where episodes become float; samplers of one bank
    can share it. Without it the bank itself is read, which may be larger than memory, on the CPU. Raises
    DataError where the split has fewer classes than ways, or a class fewer images than shots + queries.
    """

    def __init__(
        self, dataset: Dataset, split: str, spec: TaskSpec, stream: Stream, images: Tensor | None = None
    ) -> None:
        _check_task_fits(dataset, split, spec)  # before memory is taken for it
        self.spec = spec
        self._classes = dataset.splits[split].classes
        self._starts = dataset.bank.starts
        self._counts = dataset.bank.counts
        self._key = stream_key(split, spec, stream)
        self._images = bank_tensor(dataset.bank) if images is None else images
        self._labels = {
            count: torch.arange(spec.ways, device=self._images.device).repeat_interleave(count)
            for count in (spec.shots, spec.queries)
        }

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self._images.shape
        return channels, height, width

    def image_ids(self, indices: Sequence[int] | range) -> npt.NDArray[np.int64]:
        """Bank positions of the episodes, int64 [T, N, K + Q]: row = label, the first K columns are the support."""
        return draw_image_ids(self._classes, self._starts, self._counts, self.spec, self._key, indices)

    def draw(self, indices: Sequence[int] | range) -> Episode:
        """The episodes with the given indices, gathered from the bank by one indexed read."""
        ids = self.image_ids(indices)
        tasks, shots = len(ids), self.spec.shots
        support, query = ids[:, :, :shots].reshape(tasks, -1), ids[:, :, shots:].reshape(tasks, -1)
        flat = torch.from_numpy(np.concatenate([support.ravel(), query.ravel()]))
        if self._images.is_cuda:  # from pinned memory, the copy need not wait for what the device is doing
            flat = flat.pin_memory().to(self._images.device, non_blocking=True)
        images = self._images.index_select(0, flat).to(torch.float32).div_(255)
        return Episode(
            support_x=images[: support.size].reshape(*support.shape, *images.shape[1:]),
            support_y=self._labels[shots].expand(tasks, -1),
            query_x=images[support.size :].reshape(*query.shape, *images.shape[1:]),
            query_y=self._labels[self.spec.queries].expand(tasks, -1),
        )


def bank_tensor(bank: ImageBank) -> Tensor:
    """The bank's images as a tensor over the same memory, uint8 [M, C, H, W], to be read only: it may be a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(bank.images)


def draw_image_ids(
    classes: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    spec: TaskSpec,
    key: int,
    indices: Sequence[int] | range,
) -> npt.NDArray[np.int64]:
    """Bank positions of T episodes, int64 [T, N, K + Q], without replacement within a class.

    Uses the raw 64-bit words of the counter-based generator Philox, which numpy keeps stable for ever (its Generator
    methods may change), and orders things by them: the N smallest words name the classes in label order, the K + Q
    smallest of a class name its images.
    """
    rows, views = classes.shape
    most = int(counts[classes].max())
    words = np.stack([philox_words(key, index, rows + spec.ways + spec.ways * most) for index in indices])
    of_rows, of_views, of_images = np.split(words, [rows, rows + spec.ways], axis=1)
    chosen = _smallest(of_rows, spec.ways)
    drawn = classes[chosen, (of_views % np.uint64(views)).astype(np.int64)]
    order = of_images.reshape(-1, spec.ways, most)
    available = counts[drawn]
    if int(available.min()) < most:
        order = np.where(np.arange(most) < available[..., None], order, NOT_AN_IMAGE)
    return starts[drawn][..., None] + _smallest(order, spec.shots + spec.queries)


NOT_AN_IMAGE = np.iinfo(np.uint64).max  # sorts last


def philox_words(key: int, index: int, count: int) -> npt.NDArray[np.uint64]:
    """The first raw words of episode `index`, uint64 [count]; the low 64 counter bits run within an episode."""
    return np.asarray(np.random.Philox(key=key, counter=index << 64).random_raw(count), dtype=np.uint64)


def _smallest(words: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.int64]:
    """Positions of the `count` smallest words along the last axis, in rising order of the words."""
    if count < words.shape[-1]:
        candidates = np.argpartition(words, count - 1, axis=-1)[..., :count]
    else:
        candidates = np.broadcast_to(np.arange(words.shape[-1]), words.shape)
    ranks = np.take_along_axis(words, candidates, axis=-1).argsort(axis=-1, kind="stable")
    return np.take_along_axis(candidates, ranks, axis=-1)


def stream_key(split: str, spec: TaskSpec, stream: Stream) -> int:
    """A 128-bit Philox key from everything that names a stream."""
    name = f"{stream.name}/{stream.seed}/{split}/{spec.ways}/{spec.shots}/{spec.queries}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")


def _check_task_fits(dataset: Dataset, split: str, spec: TaskSpec) -> None:
    classes = dataset.splits[split].classes
    if len(classes) < spec.ways:
        raise DataError(
            f"{spec} needs {spec.ways} classes; split '{split}' of '{dataset.name}' has {len(classes)}: lower the ways"
        )
    counts = dataset.bank.counts[classes]
    needed = spec.shots + spec.queries
    if int(counts.min()) < needed:
        poorest = int(classes.flat[int(counts.argmin())])
        raise DataError(
            f"{spec} with {spec.queries} queries needs {needed} images a class; class "
            f"'{dataset.bank.class_names[poorest]}' of '{dataset.name}' has {int(counts.min())}: "
            "lower the shots or the queries"
        )
