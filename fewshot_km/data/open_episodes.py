"""Test episodes that share no image, until the pool of images is used up: open intervals are computed over them.

A 95 % interval over episodes drawn with replacement speaks of the sampler on this pool of images; one over episodes
without a common image speaks of the data (Lafargue et al. 2024, arXiv 2409.02850).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fewshot_km.data.dataset import Dataset
from fewshot_km.data.episodes import NOT_AN_IMAGE, EpisodeSampler, Stream, TaskSpec, philox_words


class OpenEpisodeSampler(EpisodeSampler):
    """Draws all episodes of one split that share no image: `len()` of them, at least one.

    The images of each class are shuffled and cut into groups of shots + queries; an episode takes one group from each
    of `ways` classes. Of a class with several views, as rotations, an episode draws one view; an image is used in one
    view only. Raises DataError as EpisodeSampler does, and IndexError for an episode beyond the last.
    """

    def __init__(
        self, dataset: Dataset, split: str, spec: TaskSpec, stream: Stream, images: Tensor | None = None
    ) -> None:
        super().__init__(dataset, split, spec, stream, images)
        counts = self._counts[self._classes].min(axis=1)  # an image that is not there in each view is left out
        size = spec.shots + spec.queries
        rows, groups, views = _episodes(counts // size, spec.ways, self._classes.shape[1], self._key)
        columns = groups[..., None] * size + np.arange(size)
        images_of = _shuffled(counts, self._key)[rows[..., None], columns]
        self._ids = self._starts[self._classes[rows, views]][..., None] + images_of

    def __len__(self) -> int:
        return len(self._ids)

    def image_ids(self, indices: Sequence[int] | range) -> npt.NDArray[np.int64]:
        """Positions in the bank, int64 [T, N, K + Q]: the row is the label, the first K columns are the support."""
        ids: npt.NDArray[np.int64] = self._ids[np.asarray(indices, dtype=np.int64)]
        return ids


def _shuffled(counts: npt.NDArray[np.int64], key: int) -> npt.NDArray[np.int64]:
    """Shuffle the images of each class, int64 [classes, most images]; numbers beyond a class's images stand last."""
    most = int(counts.max())
    words = philox_words(key, 0, len(counts) * most).reshape(-1, most)
    return np.where(np.arange(most) < counts[:, None], words, NOT_AN_IMAGE).argsort(axis=1, kind="stable")


def _episodes(groups: npt.NDArray[np.int64], ways: int, views: int, key: int) -> npt.NDArray[np.int64]:
    """Choose class, group and view for each label of T episodes, int64 [3, T, ways]; T is as large as possible.

    Each episode takes the classes with the most groups left, ties at random: no other choice gives more episodes.
    """
    left = groups.copy()
    episodes: list[npt.NDArray[np.int64]] = []
    while np.count_nonzero(left) >= ways:
        words = philox_words(key, 1 + len(episodes), len(left) + 2 * ways)
        ties, of_labels, of_views = np.split(words, [len(left), len(left) + ways])
        rows = np.lexsort((ties, -left))[:ways][of_labels.argsort(kind="stable")]  # largest classes: of any label
        left[rows] -= 1
        episodes.append(np.stack([rows, left[rows], (of_views % np.uint64(views)).astype(np.int64)]))
    return np.stack(episodes, axis=1)
