"""Published data sets: found in one of their layouts, checked to be all there, and made into banks."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.cache import Prepared, announce, prepare, write_bank
from fewshot_km.data.dataset import Dataset
from fewshot_km.data.files.contents import describe_places
from fewshot_km.data.files.locating import place_name
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.splits import SPLIT_NAMES, read_class_lists
from fewshot_km.errors import DataError

EXAMPLES = 3  # of what is missing: they tell which part it is, and a hundred names would hide how to mend it

V = TypeVar("V")

Counts = Mapping[str, Mapping[str, int]]
"""Split -> class -> number of its images."""

Pixels = Iterable[tuple[str, int, npt.NDArray[np.uint8]]]
"""Class, position within it, image uint8 [H, W, 3]; in any order."""


@dataclass(frozen=True)
class Published:
    """A data set as it was published.

    name             as in grids; its frozen class lists are shipped under this name
    title            as in papers
    recipe           how files become pixels: change it with the reading, older caches are then left alone
    images           of all classes together
    images_per_class None where classes differ
    label            what files in the cache are called; the name by default
    """

    name: str
    title: str
    recipe: str
    images: int
    images_per_class: int | None = None
    label: str = ""

    @cached_property
    def lists(self) -> dict[str, list[str]]:
        """The frozen class lists."""
        return read_class_lists(self.name)

    @cached_property
    def owner(self) -> dict[str, str]:
        """Class name -> its split."""
        return {name: split for split, names in self.lists.items() for name in names}

    def in_splits(self, classes: Mapping[str, V]) -> dict[str, dict[str, V]]:
        """Put what belongs to each class into its split; unknown classes into "no split", which is refused later."""
        splits: dict[str, dict[str, V]] = {}
        for name, value in classes.items():
            splits.setdefault(self.owner.get(name, "no split"), {})[name] = value
        return splits


@dataclass(frozen=True)
class Layout:
    """The files of a published data set, in one of the layouts in which it is given out.

    kind    what was recognised, for people
    counts  split -> class -> images
    build   reads all images into a bank; also returns what was done, for people
    named   whether classes have the names of the frozen lists; otherwise only their numbers can be checked
    note    what people should know besides
    altered files that are not the published ones by their checksum
    """

    kind: str
    counts: Counts
    build: Callable[[], tuple[ImageBank, str]]
    named: bool = True
    note: str = ""
    altered: Sequence[str] = ()


FindLayout = Callable[[FileTree], Layout | None]
"""Looks for one kind of layout in a folder or archive; raises DataError where its files are damaged."""


def load_published(
    published: Published,
    data_root: Path,
    trees: Sequence[FileTree],
    layouts: Sequence[FindLayout],
    allow_partial: bool,
    advice: str,
) -> Dataset:
    """Load the first layout that is found in the trees; says on standard error what it was.

    `advice` says where to get the files and where to put them. Raises DataError where there is no layout, or its files
    are damaged, incomplete or altered.
    """

    def read() -> Prepared:
        for find in layouts:
            for tree in trees:
                if layout := find(tree):
                    partial = _check(published, layout, tree, allow_partial)
                    bank, done = layout.build()
                    lists = {split: sorted(layout.counts.get(split, {})) for split in SPLIT_NAMES}
                    found = f"{layout.kind} in {place_name(tree, data_root)}, {done}"
                    found += f"; {layout.note}" if layout.note else ""
                    return Prepared(bank, lists, found, partial)
        raise DataError(
            f"{published.title} not found: {describe_places(data_root, trees)}. {advice}; "
            "--data-root names another data root"
        )

    recipe = f"{published.recipe}, {published.name}, partial {allow_partial}"
    return announce(published.name, prepare(published.label or published.name, recipe, trees, read))


def _check(published: Published, layout: Layout, tree: FileTree, allow_partial: bool) -> str | None:
    partial = check_complete(published, layout.counts, f"{tree} ({layout.kind})", allow_partial, layout.named)
    if partial or not layout.altered:
        return partial
    if not allow_partial:
        raise DataError(
            f"{tree} has as many images as {published.title}, but these files are not the published ones (their MD5 "
            f"differs): {', '.join(sorted(layout.altered))}. Run `fewshot-km data fetch {published.name}`, or "
            f"{_how_to_allow(published)}"
        )
    return "not the published files"


def check_complete(
    published: Published, counts: Counts, where: str, allow_partial: bool, named: bool = True
) -> str | None:
    """Compare what was found with what was published; returns None where it is all there.

    Otherwise returns "n of m classes, i of j images" where a partial set is allowed, and raises DataError with examples
    of what is missing where it is not. Always raises DataError for classes that belong elsewhere, and for a split
    without any. Where classes are not `named` as in the frozen lists, their numbers are compared.
    """
    lists, owner = published.lists, published.owner
    strange = [*_misplaced(counts, owner)] if named else [*_impossible(published, counts)]
    if strange:
        why = "its class lists are frozen, and these are in the wrong split or not in it at all:" if named else "it has"
        shown = ", ".join(strange[:10]) + (", ..." if len(strange) > 10 else "")
        raise DataError(f"{where} is not {published.name}: {why} {shown}")
    of_classes = {name: images for classes in counts.values() for name, images in classes.items() if images}
    total, each = sum(of_classes.values()), published.images_per_class
    missing = {s: [n for n in names if not counts.get(s, {}).get(n)] for s, names in lists.items() if named}
    lacking = [
        f"{split} lacks {name}"
        for names in zip_longest(*missing.values())
        for split, name in zip(missing, names, strict=True)
        if name
    ]
    sizes = {split: len(counts.get(split, {})) for split in SPLIT_NAMES}
    lacking += [f"{s} has {n} of {len(lists[s])} classes" for s, n in sizes.items() if not named and n != len(lists[s])]
    lacking += [f"{n} has {i} of {each} images" for n, i in sorted(of_classes.items()) if each and i != each]
    if total == published.images and not lacking:
        return None
    found = f"{len(of_classes)} of {len(owner)} classes, {total:,} of {published.images:,} images"
    empty = [split for split in SPLIT_NAMES if not any(counts.get(split, {}).values())]
    if allow_partial and not empty:
        return found
    mend = f"; without any class of {' and '.join(empty)} it cannot be used" if empty else ""
    mend = mend or f", or {_how_to_allow(published)}"
    shown = f". For example, {', '.join(lacking[:EXAMPLES])}" if lacking else ""
    raise DataError(f"{where} holds {found} of {published.name}. Complete it{mend}{shown}")


def _misplaced(counts: Counts, owner: Mapping[str, str]) -> Iterator[str]:
    for split, classes in counts.items():
        for name in classes:
            if owner.get(name) != split:
                yield f"{name} of {split} " + (f"(belongs to {owner[name]})" if name in owner else "(unknown)")


def _impossible(published: Published, counts: Counts) -> Iterator[str]:
    for name, times in Counter(chain.from_iterable(counts.values())).items():
        if times > 1:
            yield f"class {name!r} in {times} splits"
    for split, classes in counts.items():
        if len(classes) > len(published.lists[split]):
            yield f"{len(classes)} classes in {split}, not {len(published.lists[split])}"
    total = sum(sum(classes.values()) for classes in counts.values())
    if total > published.images:
        yield f"{total:,} images, not {published.images:,}"


def _how_to_allow(published: Published) -> str:
    return (
        "allow a partial set, which every result will then say: "
        f'dataset = {{ name = "{published.name}", allow_partial = true }} in a grid, '
        "--option allow_partial=true for `data` commands"
    )


def all_classes(counts: Mapping[str, Mapping[str, V]]) -> dict[str, V]:
    """What belongs to each class, of all splits together, by class name."""
    together = {name: value for classes in counts.values() for name, value in classes.items()}
    return {name: together[name] for name in sorted(together)}


def first_places(sizes: Mapping[str, int]) -> dict[str, int]:
    """Class -> the place in the bank of its first image, where classes stand in this order."""
    return dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))


def bank_from_pixels(label: str, counts: Counts, pixels: Pixels, size: int) -> tuple[ImageBank, str]:
    """Write square images, which need no decoding, into a bank; classes by name. Returns the bank and what was done."""
    sizes = all_classes(counts)
    first = first_places(sizes)
    images = ((first[name] + position, image.transpose(2, 0, 1)) for name, position, image in pixels)
    bank = write_bank(label, list(sizes), list(sizes.values()), (3, size, size), images)
    return bank, f"{sum(sizes.values()):,} images of {size}x{size}"
