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

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.dataset import Dataset
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
    """The tensors of T tasks. The images of a task stand in random order, so that their places tell nothing.

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
class Presented:
    """The images of T episodes, as positions in the bank, and their labels, in the order in which a learner gets them.

    support_ids, support_y  int64 [T, N*K]: positions in the bank, labels 0..N-1
    query_ids, query_y      int64 [T, N*Q]
    """

    support_ids: npt.NDArray[np.int64]
    support_y: npt.NDArray[np.int64]
    query_ids: npt.NDArray[np.int64]
    query_y: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """An endless sequence of episodes: `name` keeps training, validation and test apart, `seed` picks one of many."""

    name: str
    seed: int


class EpisodeSampler:
    """Draws the episodes of one split, task spec and stream.

    `images` is the uint8 tensor of the bank on the device that computes; samplers of one bank can share it. Without it
    the bank itself is read on the CPU, and may be larger than memory. Raises DataError where the split has fewer
    classes than ways, or a class fewer images than shots + queries.
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
        self._order_key = stream_key(split, spec, Stream(f"{stream.name}/order", stream.seed))
        self._images = bank_tensor(dataset.bank) if images is None else images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self._images.shape
        return channels, height, width

    def image_ids(self, indices: Sequence[int] | range) -> npt.NDArray[np.int64]:
        """Positions in the bank, int64 [T, N, K + Q]: the row is the label, the first K columns are the support."""
        return draw_image_ids(self._classes, self._starts, self._counts, self.spec, self._key, indices)

    def orders(self, indices: Sequence[int] | range) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Random orders of the episodes' support images, int64 [T, N*K], and query images, int64 [T, N*Q].

        Support image p of an episode is number `order[p]` of its support images in `image_ids`, row by row; likewise
        for query images. A learner that looks at places instead of images is thus at chance.
        """
        supports = self.spec.ways * self.spec.shots
        count = supports + self.spec.ways * self.spec.queries
        words = np.stack([philox_words(self._order_key, index, count) for index in indices])
        return words[:, :supports].argsort(axis=1, kind="stable"), words[:, supports:].argsort(axis=1, kind="stable")

    def present(self, indices: Sequence[int] | range) -> Presented:
        """List images and labels of the episodes in the order of `orders`."""
        ids, shots = self.image_ids(indices), self.spec.shots
        of_support, of_query = self.orders(indices)
        return Presented(
            np.take_along_axis(ids[:, :, :shots].reshape(len(ids), -1), of_support, axis=1),
            of_support // shots,
            np.take_along_axis(ids[:, :, shots:].reshape(len(ids), -1), of_query, axis=1),
            of_query // self.spec.queries,
        )

    def draw(self, indices: Sequence[int] | range) -> Episode:
        """Gather the episodes with the given indices from the bank, by one indexed read."""
        shown = self.present(indices)
        ids = np.concatenate([shown.support_ids.ravel(), shown.query_ids.ravel()])
        labels = np.concatenate([shown.support_y.ravel(), shown.query_y.ravel()])
        flat = torch.from_numpy(np.stack([ids, labels]))
        if self._images.is_cuda:  # from pinned memory, the copy need not wait for what the device is doing
            flat = flat.pin_memory().to(self._images.device, non_blocking=True)
        images = self._images.index_select(0, flat[0]).to(torch.float32).div_(255)
        count = shown.support_ids.size
        return Episode(
            support_x=images[:count].reshape(*shown.support_ids.shape, *images.shape[1:]),
            support_y=flat[1, :count].reshape(shown.support_ids.shape),
            query_x=images[count:].reshape(*shown.query_ids.shape, *images.shape[1:]),
            query_y=flat[1, count:].reshape(shown.query_ids.shape),
        )


def bank_tensor(bank: ImageBank) -> Tensor:
    """The images of a bank as a tensor, uint8 [M, C, H, W], over the same memory or file: never write to it."""
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
    """Draw T episodes as positions in the bank, int64 [T, N, K + Q], without replacement within a class.

    Classes and images are ordered by raw 64-bit words of the counter-based generator Philox, which numpy keeps stable
    for ever (its Generator methods may change). The N smallest words choose the classes, in the order of labels, and
    the K + Q smallest words of a class choose its images.
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
    """Find the positions of the `count` smallest words along the last axis, in rising order of the words."""
    if count < words.shape[-1]:
        candidates = np.argpartition(words, count - 1, axis=-1)[..., :count]
    else:
        candidates = np.broadcast_to(np.arange(words.shape[-1]), words.shape)
    ranks = np.take_along_axis(words, candidates, axis=-1).argsort(axis=-1, kind="stable")
    return np.take_along_axis(candidates, ranks, axis=-1)


def stream_key(split: str, spec: TaskSpec, stream: Stream) -> int:
    """The 128-bit Philox key of a stream: a hash of everything that names it."""
    name = f"{stream.name}/{stream.seed}/{split}/{spec.ways}/{spec.shots}/{spec.queries}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")


def _check_task_fits(dataset: Dataset, split: str, spec: TaskSpec) -> None:
    classes = dataset.splits[split].classes
    if len(classes) < spec.ways:
        raise DataError(
            f"{spec} needs {spec.ways} classes; split '{split}' of '{dataset.name}' has {len(classes)}: lower "
            "the ways, or give the split more of the classes (one's own images: option fractions)"
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
