"""Frozen class splits: which classes meta-training, validation and test may draw."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations

import numpy as np
import numpy.typing as npt

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.files.names import sort_key
from fewshot_km.errors import DataError, UnknownNameError
from fewshot_km.text import counted

SPLIT_NAMES = ("train", "val", "test")

TAKE_VALIDATION = "validation = 0.2"  # the option that takes classes of training for validation where there are none
JOIN_SPLITS = 'split = "fractions"'  # the option of one's own images that makes classes of the union
WHY_DISJOINT = "few-shot learning is tested on classes that training has not seen, so splits must share none"

ClassLists = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Split:
    """The classes of one split.

    name    train, val or test
    classes int64 [G, V]: positions of classes in the bank. The V columns are views of one class, as MAML's rotated
            characters; V = 1 for one view. An episode draws different rows, and one column for each of them
    digest  SHA-256 of the class names, rows and columns in order
    """

    name: str
    classes: npt.NDArray[np.int64]
    digest: str


def make_splits(bank: ImageBank, views: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, Split]:
    """Make splits from names: split -> one row for each class, with the names of its views in the bank.

    Raises DataError where a split is empty or ragged, two splits share a class, or the bank lacks one.
    """
    names = {split: [name for row in views[split] for name in row] for split in SPLIT_NAMES}
    check_lists(names)
    splits = {}
    for split_name in SPLIT_NAMES:
        rows = [list(row) for row in views[split_name]]
        if len({len(row) for row in rows}) > 1:
            raise DataError(f"split '{split_name}': every class must have the same number of views")
        classes = bank.class_index(names[split_name]).reshape(len(rows), -1)
        text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        splits[split_name] = Split(split_name, classes, hashlib.sha256(text.encode()).hexdigest())
    return splits


def check_disjoint(where: str, lists: ClassLists, called: Mapping[str, str]) -> None:
    """Raise DataError where two splits share classes; `called`: split -> where its classes were found."""
    for one, other in combinations(SPLIT_NAMES, 2):
        there = set(lists[other])
        shared = [name for name in lists[one] if name in there]
        if shared:
            shown = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
            raise DataError(
                f"{where}: {len(shared)} of {len(lists[one])} classes of {called[one]} are in {called[other]} too "
                f"({shown}): {WHY_DISJOINT}. Keep each class in one of them; or set {JOIN_SPLITS}, which makes one "
                "class of each name and divides these anew"
            )


def advise_validation(missing: Sequence[str]) -> str:
    """Say which option gives val its classes, where no other split is missing; else ""."""
    return f"to take some of train's classes for it, set {TAKE_VALIDATION}; or " if list(missing) == ["val"] else ""


def check_lists(lists: ClassLists) -> None:
    """Raise DataError where a split is empty, or a class stands in two."""
    owner: dict[str, str] = {}
    for split in SPLIT_NAMES:
        if not lists[split]:
            raise DataError(f"split '{split}' has no classes")
        for name in lists[split]:
            if name in owner:
                raise DataError(f"class '{name}' stands in split '{owner[name]}' and again in '{split}'")
            owner[name] = split


def read_class_lists(name: str) -> dict[str, list[str]]:
    """Read the shipped class_lists/<name>.json: split name -> class names. Raises UnknownNameError without it."""
    file = files("fewshot_km.data") / "class_lists" / f"{name}.json"
    if not file.is_file():
        raise UnknownNameError(f"the package ships no class lists called '{name}'")
    lists = json.loads(file.read_text(encoding="utf-8"))
    return {split: list(lists[split]) for split in SPLIT_NAMES}


def split_classes(names: Sequence[str], fractions: Sequence[float], seed: int) -> ClassLists:
    """Divide classes by fractions, in the order of the SHA-256 of "<seed>/<name>": only names and seed decide.

    Counts are rounded by largest remainder, with at least one class a split. Raises DataError where that cannot be.
    """
    if len(fractions) != len(SPLIT_NAMES) or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise DataError(f"fractions {list(fractions)}: give three, for train, val and test, that add up to 1")
    if len(names) < len(SPLIT_NAMES):
        raise DataError(
            f"{len(names)} class{'es' if len(names) != 1 else ''} ({', '.join(names)}) cannot be split into train, val "
            f"and test: {WHY_DISJOINT}. Add classes: each split needs one at least, and as many as an episode has ways"
        )
    exact = [fraction * len(names) for fraction in fractions]
    counts = [max(1, math.floor(share)) for share in exact]
    while sum(counts) != len(names):
        step = 1 if sum(counts) < len(names) else -1
        able = [i for i in range(len(counts)) if step > 0 or counts[i] > 1]
        counts[max(able, key=lambda i: step * (exact[i] - counts[i]))] += step
    ordered = _drawn(names, seed)
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return {
        split: sorted(ordered[end - count : end], key=sort_key)
        for split, count, end in zip(SPLIT_NAMES, counts, ends, strict=True)
    }


def take_validation(where: str, lists: ClassLists, fraction: float, seed: int) -> ClassLists:
    """Move a fraction of train's classes to the empty val: the last ones in the order of split_classes.

    Their number is rounded, and each of the two keeps at least one. Raises DataError where train has fewer than two.
    """
    names = lists["train"]
    if len(names) < 2:
        there = counted(len(names), "class", "classes")
        raise DataError(f"{where}: validation = {fraction:g}, but train has {there} and none to spare: add some")
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    ordered = _drawn(names, seed)
    return {
        "train": sorted(ordered[:-count], key=sort_key),
        "val": sorted(ordered[-count:], key=sort_key),
        "test": lists["test"],
    }


def _drawn(names: Sequence[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
