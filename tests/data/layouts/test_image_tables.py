"""Tables of image files: the same rows, however they are written; and the file that is meant, where several fit."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.layouts.image_tables import by_name, read_table, read_tables
from fewshot_km.errors import DataError
from tests.support.made_files import write

ROWS = st.lists(
    st.tuples(
        st.from_regex(r"([a-z0-9]{1,4}/){0,2}[a-z0-9_]{1,9}\.jpg", fullmatch=True),
        st.from_regex(r"n[0-9]{8}", fullmatch=True),
    ),
    max_size=5,
)


def table(folder: Path, content: bytes) -> FileTree:
    write(folder, {"train.csv": content})
    return open_tree(folder)


@given(
    rows=ROWS,
    columns=st.sampled_from([("filename", "label"), ("image_name", "class_name")]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    blanks=st.sampled_from(["", " ", "    "]),
    newline=st.sampled_from(["\n", "\r\n", "\n\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    swapped=st.booleans(),
    numbered=st.booleans(),
    backslashes=st.booleans(),
)
def test_rows_are_the_same_however_they_are_written(
    rows: list[tuple[str, str]],
    columns: tuple[str, str],
    delimiter: str,
    blanks: str,
    newline: str,
    mark: str,
    swapped: bool,
    numbered: bool,
    backslashes: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lines = [list(columns), *([file.replace("/", "\\") if backslashes else file, label] for file, label in rows)]
    text = mark
    for i, cells in enumerate(lines):
        cells = cells[::-1] if swapped else cells
        cells = [str(i - 1) if i else "", *cells] if numbered else cells  # pandas' index has no name
        text += f"{blanks}{delimiter}{blanks}".join(cells) + blanks + newline
    assert read_table(table(tmp_path_factory.mktemp("t"), text.encode()), "train.csv") == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"file,class\n", r"no csv file with the columns filename and label or image_name and .*'file, class'"),
        (b"", "no csv file with the columns"),
        (b"filename,label\na.jpg,n1\nb.jpg\n", "line 3 has 1 cells and should have 2"),
        (b"filename,label\n\xff,n1\n", "is no csv file: UnicodeDecodeError"),
        (b'filename,label\n"a.jpg,n1\n', "is no csv file: Error"),
        (b"<!doctype html><html>", "is a web page, not the data"),
    ],
)  # fmt: skip
def test_what_is_no_such_table_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"'train\.csv'.*{said}") as caught:
        read_table(table(tmp_path, content), "train.csv")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_header_of_any_length_is_cut(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_table(table(tmp_path, b"x" * 99_999), "train.csv")
    assert len(str(caught.value)) < 500


def test_tables_of_the_first_tree_that_has_all_count(tmp_path: Path) -> None:
    files = {f"{split}.csv": f"filename,label\n{split}.jpg,n1\n".encode() for split in ("train", "val", "test")}
    write(tmp_path / "a", {"train.csv": files["train.csv"]})
    write(tmp_path / "b" / "deep", files)
    trees = [open_tree(tmp_path / "a"), open_tree(tmp_path / "b")]
    assert read_tables(trees) == {split: [(f"{split}.jpg", "n1")] for split in ("train", "val", "test")}
    assert read_tables(trees[:1]) == {}


def listed(file: str, names: list[str]) -> list[str] | None:
    found = by_name({"train": [(file, "n1")]}, names)
    return found and list(found["train"]["n1"])


@pytest.mark.parametrize(
    ("file", "names", "meant"),
    [
        ("a.jpg", ["x/a.jpg"], "x/a.jpg"),
        ("n1/a.jpg", ["elsewhere/a.jpg"], "elsewhere/a.jpg"),
        ("/home/me/images/n1/a.jpg", ["images/n1/a.jpg", "images/n2/a.jpg"], "images/n1/a.jpg"),
        ("images/a.jpg", ["images/a.jpg", "masks/a.jpg"], "images/a.jpg"),
        ("a.jpg", ["images/n1/a.jpg", "images/n2/a.jpg"], "images/n1/a.jpg"),
        ("a.jpg", ["xn1/a.jpg", "n1/a.jpg"], "n1/a.jpg"),
    ],
)
def test_of_several_files_the_one_that_is_meant_is_taken(file: str, names: list[str], meant: str) -> None:
    assert listed(file, names) == listed(file, names[::-1]) == [meant]


def test_what_is_not_there_is_left_out() -> None:
    assert listed("b.jpg", ["a.jpg"]) is None
