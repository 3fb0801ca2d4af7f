"""Frozen class splits: which classes meta-training, validation and test may draw."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from fewshot_km.datasets.bank import ImageBank
from fewshot_km.errors import DataError, UnknownNameError

SPLIT_NAMES = ("train", "val", "test")

ClassLists = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Split:
    """The classes of one split.

    name    train, val or test
    classes int64 [G, V]: bank classes. An episode draws distinct rows and then one of the V columns of each row, so
            the columns are views of one class (MAML's rotated characters); V = 1 where a class has one view
    digest  SHA-256 of the class names, rows and columns in order
    """

    name: str
    classes: npt.NDArray[np.int64]
    digest: str


def make_splits(bank: ImageBank, views: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, Split]:
    """Splits from names: per split one row per class, one bank class name per view of it.

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
    """The class lists shipped with the package as class_lists/<name>.json: split name -> class names."""
    file = files("fewshot_km.datasets") / "class_lists" / f"{name}.json"
    if not file.is_file():
        raise UnknownNameError(f"the package ships no class lists called '{name}'")
    lists = json.loads(file.read_text(encoding="utf-8"))
    return {split: list(lists[split]) for split in SPLIT_NAMES}
