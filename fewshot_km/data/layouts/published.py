"""Published data sets of image files: is everything there, and in the split where it belongs?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import TypeVar

from fewshot_km.data.files.trees import sort_key
from fewshot_km.data.splits import SPLIT_NAMES, read_class_lists
from fewshot_km.errors import DataError

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

EXAMPLES = 3  # of what is missing: they tell which part it is, and a hundred names would hide how to mend it

V = TypeVar("V")

SplitFiles = Mapping[str, Mapping[str, Sequence[str]]]
"""Split name -> class name -> names of its image files, in order."""


@dataclass(frozen=True)
class Published:
    """A data set as it was published.

    name             as in grids; its frozen class lists are shipped under this name
    images_per_class None where classes differ
    images           of all classes together
    """

    name: str
    images_per_class: int | None
    images: int

    @cached_property
    def lists(self) -> dict[str, list[str]]:
        """The frozen class lists."""
        return read_class_lists(self.name)

    @cached_property
    def owner(self) -> dict[str, str]:
        """Class name -> its split."""
        return {name: split for split, names in self.lists.items() for name in names}

    def is_other_synset(self, folder: str) -> bool:
        """Whether a folder is named for an ImageNet class that is none of these: a thousand of them are a long walk."""
        name = folder.rpartition("/")[2]
        return re.fullmatch("n[0-9]{8}", name) is not None and name not in self.owner


def check_complete(
    published: Published, counts: Mapping[str, Mapping[str, int]], where: str, partial: bool
) -> str | None:
    """Compare what was found, split -> class -> images, with what was published; None where it is all there.

    Otherwise returns "n of m classes, i of j images" where `partial` sets are allowed. Raises DataError with examples
    of what is missing where they are not, and always for classes that belong elsewhere, or a split left without any.
    """
    owner = published.owner
    strange = [
        f"{name} of {split}" + (f" (belongs to {owner[name]})" if name in owner else " (unknown)")
        for split, classes in counts.items()
        for name in classes
        if owner.get(name) != split
    ]
    if strange:
        raise DataError(
            f"{where} is not {published.name}: its class lists are frozen, and these are in the wrong split or not in "
            f"it at all: {', '.join(strange[:10])}{', ...' if len(strange) > 10 else ''}"
        )
    missing = {s: [n for n in names if not counts.get(s, {}).get(n)] for s, names in published.lists.items()}
    of_classes = {name: images for classes in counts.values() for name, images in classes.items() if images}
    total = sum(of_classes.values())
    short, each = [], published.images_per_class
    if each:
        short = [f"{n} has {i} of {each} images" for n, i in sorted(of_classes.items()) if i != each]
    if total == published.images and not short and not any(missing.values()):
        return None
    found = f"{len(of_classes)} of {len(owner)} classes, {total:,} of {published.images:,} images"
    empty = [split for split in SPLIT_NAMES if len(missing[split]) == len(published.lists[split])]
    if partial and not empty:
        return found
    lacking = [
        f"{split} lacks {name}"
        for names in zip_longest(*missing.values())
        for split, name in zip(missing, names, strict=True)
        if name
    ]
    shown = ", ".join([*lacking, *short][:EXAMPLES])
    raise DataError(
        f"{where} holds {found} of {published.name}. Complete it"
        + (
            f"; without any class of {' and '.join(empty)} it cannot be used"
            if empty
            else f", or {how_to_allow(published)}"
        )
        + (f". For example, {shown}" if shown else "")
    )


def check_numbers(
    published: Published, counts: Mapping[str, Mapping[str, int]], where: str, partial: bool
) -> str | None:
    """As check_complete, of classes that do not have the names of the frozen lists: how many there are must do.

    Always raises DataError where splits share a name, or have more classes than were published, or none.
    """
    every = [name for split in SPLIT_NAMES for name in counts[split]]
    twice = sorted({name for name in every if every.count(name) > 1}) if len(set(every)) < len(every) else []
    if twice:
        raise DataError(f"{where} is not {published.name}: splits share {len(twice)} classes, as {twice[0]!r}")
    wrong = [
        f"{split} has {len(counts[split])} of {len(published.lists[split])} classes"
        for split in SPLIT_NAMES
        if len(counts[split]) != len(published.lists[split])
    ]
    impossible = [s for s in SPLIT_NAMES if not 0 < len(counts[s]) <= len(published.lists[s])]
    total = sum(images for classes in counts.values() for images in classes.values())
    if not wrong and total == published.images:
        return None
    classes = sum(map(len, counts.values()))
    found = f"{classes} of {len(published.owner)} classes, {total:,} of {published.images:,} images"
    if partial and not impossible and total <= published.images:
        return found
    advice = "" if impossible else f", or {how_to_allow(published)}"
    shown = f": {', '.join(wrong)}" if wrong else ""
    raise DataError(f"{where} holds {found} of {published.name}{shown}. Fetch all its files again{advice}")


def how_to_allow(published: Published) -> str:
    """What to do where something else than the published data set is wanted."""
    return (
        "allow a partial set, which every result will then say: "
        f'dataset = {{ name = "{published.name}", allow_partial = true }} in a grid, '
        "--option allow_partial=true for `data` commands"
    )


def split_folders(names: Sequence[str], suffixes: frozenset[str]) -> SplitFiles | None:
    """Image files under train/, val/ (or validation/) and test/, each with a folder a class; None where it is not so.

    The three may lie deeper, but all in one folder.
    """
    parents: dict[str, dict[str, dict[str, list[str]]]] = {}
    for name in images_among(names, suffixes):
        parts = name.split("/")
        for depth, part in enumerate(parts[:-2]):
            if part in SPLIT_FOLDERS:
                classes = parents.setdefault("/".join(parts[:depth]), {}).setdefault(SPLIT_FOLDERS[part], {})
                classes.setdefault(parts[depth + 1], []).append(name)
                break
    complete = [found for found in parents.values() if set(found) == set(SPLIT_NAMES)]
    return complete[0] if len(complete) == 1 else None


def class_folders(names: Sequence[str], suffixes: frozenset[str]) -> dict[str, list[str]]:
    """Image files by the name of their folder; where folders elsewhere have the same name, those of the fullest.

    ILSVRC's validation images, 50 a class, often lie in folders named as those of its training images.
    """
    folders: dict[str, list[str]] = {}
    for name in images_among(names, suffixes):
        if "/" in name:
            folders.setdefault(name.rpartition("/")[0], []).append(name)
    classes: dict[str, list[str]] = {}
    for folder, files in folders.items():
        name = folder.rpartition("/")[2]
        classes[name] = max(classes.get(name, []), files, key=len)
    return classes


def in_splits(published: Published, classes: Mapping[str, V]) -> dict[str, dict[str, V]]:
    """What belongs to each class, by split; that of unknown classes under "no split", for check_complete to refuse."""
    owner = published.owner
    splits: dict[str, dict[str, V]] = {}
    for name, value in classes.items():
        splits.setdefault(owner.get(name, "no split"), {})[name] = value
    return splits


def images_among(names: Sequence[str], suffixes: frozenset[str]) -> list[str]:
    """The names that end as image files do."""
    return [name for name in names if f".{name.rpartition('.')[2].lower()}" in suffixes]


def merged(files: SplitFiles) -> dict[str, Sequence[str]]:
    """All splits' classes together."""
    return {name: members for classes in files.values() for name, members in classes.items()}


def count_images(files: SplitFiles) -> dict[str, dict[str, int]]:
    """Images of each class of each split."""
    return {split: {name: len(members) for name, members in classes.items()} for split, classes in files.items()}


def class_names(files: SplitFiles) -> dict[str, list[str]]:
    """The classes of each split, in order."""
    return {split: sorted(files[split], key=sort_key) for split in SPLIT_NAMES}
