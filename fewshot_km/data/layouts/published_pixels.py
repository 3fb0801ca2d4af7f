"""Published data sets whose images are given out as arrays of pixels, which need no decoding."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from fewshot_km.data.cache import Prepared, write_bank
from fewshot_km.data.layouts.published import Published, check_complete
from fewshot_km.data.splits import SPLIT_NAMES

Counts = Mapping[str, Mapping[str, int]]
"""Split -> class -> images."""

Pixels = Iterable[tuple[str, int, npt.NDArray[np.uint8]]]
"""Class, position within it, image uint8 [H, W, 3]; in any order."""


def prepare_pixels(
    published: Published, where: str, counts: Counts, pixels: Pixels, size: int, found: str, allow_partial: bool
) -> Prepared:
    """A bank of square images, classes by name; raises DataError where a part is missing and may not be.

    `where` names the files in errors, `found` what was recognised and where for the record.
    """
    partial = check_complete(published, counts, where, allow_partial)
    sizes = {name: count for classes in counts.values() for name, count in classes.items()}
    names = sorted(sizes)
    first = dict(zip(names, np.cumsum([0] + [sizes[n] for n in names]).tolist(), strict=False))

    def images() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for name, position, image in pixels:
            yield first[name] + position, image.transpose(2, 0, 1)

    bank = write_bank(published.name, names, [sizes[n] for n in names], (3, size, size), images())
    lists = {split: sorted(counts.get(split, {})) for split in SPLIT_NAMES}
    return Prepared(bank, lists, f"{found}, {sum(sizes.values()):,} images of {size}x{size}", partial)
