"""What a message says of a folder: enough to see what is wrong, and never a whole listing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.contents import describe_contents, describe_places
from tests.support.made_files import write, zipped

SYNSETS = [f"n0{i:07d}/{j}.JPEG" for i in range(25) for j in range(2)]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (SYNSETS, "25 folders n00000000, n00000001, n00000002, ...; 50 .jpeg"),
        ([f"mini/images/{i}.jpg" for i in range(1200)], "in mini/; 1 folder images; 1,200 .jpg"),
        (["train.pkl", "val.pkl", "readme"], "train.pkl, val.pkl; readme"),
        (["a/train.csv", "a/x.jpg"], "1 folder a; train.csv; x.jpg"),
        ([*(f"{i}.jpg" for i in range(9)), "a.csv", "b.txt", "c.md", "d.rst"], "9 .jpg; a.csv; b.txt; 2 other files"),
        ([], "empty"),
    ],
)
def test_folders_and_files_are_counted_and_some_named(names: list[str], said: str) -> None:
    assert describe_contents(names) == said


@given(st.lists(st.from_regex(r"([a-c]/){0,3}[a-e]{1,3}(\.(jpg|csv|tar\.gz))?", fullmatch=True), unique=True))
def test_any_names_are_described_in_few_words(names: list[str]) -> None:
    assert 0 < len(describe_contents(names)) < 300


def test_places_are_named_with_what_is_there(tmp_path: Path) -> None:
    assert (
        describe_places(tmp_path / "x", []) == f"nothing in {tmp_path / 'x'} is named for it (there is no such folder)"
    )
    assert describe_places(tmp_path, []) == f"nothing in {tmp_path} is named for it (it holds nothing)"
    write(tmp_path, {"b/1.png": b"", "a.txt": b"", ".hidden": b""})
    assert describe_places(tmp_path, []) == f"nothing in {tmp_path} is named for it (it holds a.txt, b)"


def test_a_page_among_the_files_is_called_one(tmp_path: Path) -> None:
    write(tmp_path / "a", {"data": b"<html>Sign in</html>", "other": b"abc"})
    (tmp_path / "b.zip").write_bytes(zipped({"data": b"<html>"}))
    said = describe_places(tmp_path, [open_tree(tmp_path / "a"), open_tree(tmp_path / "b.zip")])
    assert said == f"looked in {tmp_path / 'a'} (data, other; data is a web page), {tmp_path / 'b.zip'} (data)"


def test_folders_that_are_passed_over_are_named(tmp_path: Path) -> None:
    write(tmp_path, {f"n0{i}/1.jpg": b"" for i in range(1, 6)} | {"n00/1.jpg": b""})
    (tmp_path / "empty").mkdir()
    tree = open_tree(tmp_path, skip=lambda folder: folder != "n00")
    said = describe_places(tmp_path, [tree])
    assert said == (
        f"looked in {tmp_path} (1 folder n00; 1.jpg; 6 folders of other classes or empty: empty, n01, n02, ...)"
    )
