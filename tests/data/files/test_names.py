"""A copy is known by its name, and stands in for the file only where that is not there."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.files.names import by_original_name, find_together, original_name

STEMS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
ENDINGS = st.sampled_from(["", ".pkl", ".csv", ".npz", ".tar.gz", ".zip"])
MARKS = st.sampled_from([" (1)", "(2)", " (12)", " - Copy", " - Copy (3)", " copy", " copy 2", " (copy)"])
FOLDERS = st.sampled_from(["", "data/", "data (1)/", "a - Copy/b/"])


@given(FOLDERS, STEMS, MARKS, ENDINGS)
def test_the_mark_of_a_copy_is_taken_off_its_name_alone(folder: str, stem: str, mark: str, ending: str) -> None:
    assert original_name(f"{folder}{stem}{mark}{ending}") == f"{folder}{stem}{ending}"
    first = PurePosixPath(ending).stem if ending.count(".") > 1 else ""
    assert original_name(f"{folder}{stem}{first}{mark}{ending.removeprefix(first)}") == f"{folder}{stem}{ending}"


@given(FOLDERS, STEMS, ENDINGS)
def test_another_name_is_left_as_it_is(folder: str, stem: str, ending: str) -> None:
    assert original_name(folder + stem + ending) == folder + stem + ending


@pytest.mark.parametrize(
    "name", ["a (b).pkl", "copy.pkl", "(1)/a.pkl", "a (1) b.pkl", "photocopy.pkl", "a (1) [x].pkl"]
)
def test_what_only_looks_like_a_mark_stays(name: str) -> None:
    assert original_name(name) == name


def test_a_file_comes_before_its_copies_in_whatever_order() -> None:
    names = ["a (1).pkl", "a (2).pkl", "a.pkl"]
    for order in (names, names[::-1]):
        assert by_original_name(order) == {"a.pkl": "a.pkl"}
    assert by_original_name(names[:2]) == {"a.pkl": "a (1).pkl"}


def test_files_are_found_together_or_not_at_all() -> None:
    assert find_together(["x/a", "x/b (1)", "y/a", "y/b"], ["a", "b"]) == {"a": "x/a", "b": "x/b (1)"}
    assert find_together(["x/a", "y/b"], ["a", "b"]) is None
    assert find_together(["b", "a"], ["a", "b"]) == {"a": "a", "b": "b"}
