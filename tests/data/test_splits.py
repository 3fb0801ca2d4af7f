"""Frozen splits: no class in two of them, and a digest that knows every change."""

import numpy as np
import pytest

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.splits import SPLIT_NAMES, make_splits, read_class_lists
from fewshot_km.errors import DataError, UnknownNameError


@pytest.fixture(scope="module")
def bank() -> ImageBank:
    return ImageBank.from_classes("abcdef", [np.zeros((2, 1, 4, 4), np.uint8)] * 6)


def rows(train: str, val: str, test: str) -> dict[str, list[list[str]]]:
    """'ab cd' -> two classes of two views each."""
    return {s: [list(r) for r in text.split()] for s, text in zip(SPLIT_NAMES, (train, val, test), strict=True)}


def test_rows_are_classes_and_columns_views(bank: ImageBank) -> None:
    splits = make_splits(bank, rows("ba dc", "e", "f"))
    assert list(splits) == ["train", "val", "test"]
    assert splits["train"].classes.tolist() == [[1, 0], [3, 2]]
    assert splits["train"].classes.dtype == np.int64
    assert splits["val"].classes.tolist() == [[4]]
    assert [splits[s].name for s in SPLIT_NAMES] == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("views", "complaint"),
    [
        (rows("a b", "c", "b"), "class 'b' stands in split 'train' and again in 'test'"),
        (rows("a b a", "c", "d"), "class 'a' stands in split 'train' and again in 'train'"),
        (rows("ab", "ca", "d"), "class 'a' stands in split 'train' and again in 'val'"),
        (rows("a b", "", "d"), "split 'val' has no classes"),
        (rows("a", "b", "c x y"), "2 classes are missing from the images: x, y"),
        (rows("abc d", "e", "f"), "split 'train': every class must have the same number of views"),
    ],
)
def test_what_is_no_split_is_refused(bank: ImageBank, views: dict[str, list[list[str]]], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        make_splits(bank, views)


def test_the_digest_knows_every_change(bank: ImageBank) -> None:
    variants = [rows(train, "e", "f") for train in ("a b c d", "a b d c", "ab cd", "abcd", "a b c")]
    digests = [make_splits(bank, variant)["train"].digest for variant in variants]
    assert len(set(digests)) == len(variants)
    assert make_splits(bank, rows("a b c d", "e", "f"))["train"].digest == digests[0]


def test_lists_that_are_not_shipped_are_named() -> None:
    with pytest.raises(UnknownNameError, match="no class lists called 'quickdraw'"):
        read_class_lists("quickdraw")
