"""Tables of image files: the same rows, however they are written; and the file that is meant, where several fit."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.layouts.image_files import by_name, by_synset, read_tables, synset_of
from fewshot_km.data.layouts.published import Published
from fewshot_km.errors import DataError
from tests.support.made_files import write

ROWS = st.lists(
    st.tuples(
        st.from_regex(r"([a-z0-9]{1,4}/){0,2}[a-z0-9_]{1,9}\.jpg", fullmatch=True),
        st.from_regex(r"n[0-9]{8}", fullmatch=True),
    ),
    min_size=1,
    max_size=5,
)


def rows_of(tree: FileTree) -> list[tuple[str, str]]:
    return list(read_tables([tree])["train"])


def table(folder: Path, content: bytes) -> FileTree:
    write(folder, {f"{split}.csv": content for split in ("train", "val", "test")})
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
    assert rows_of(table(tmp_path_factory.mktemp("t"), text.encode())) == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"file,kind\n", "needs a first line with the columns file and class; it has file, kind"),
        (b"", "needs a first line with the columns file and class; it has none"),
        (b"filename,label\na.jpg,n1\nb.jpg\n", "line 3: the class is missing"),
        (b"filename,label\n", "has no rows"),
        (b"filename,label\n\xff,n1\n", "is not UTF-8 text"),
        (b'filename,label\n"a.jpg,n1\n', "is no csv file: Error"),
        (b"<!doctype html><html>", "is a web page, not the data"),
    ],
)  # fmt: skip
def test_what_is_no_such_table_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"'train\.csv'.*{said}") as caught:
        rows_of(table(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_header_of_any_length_is_cut(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(table(tmp_path, b"x" * 99_999))
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


MINI = Published("mini-imagenet", "mini-ImageNet", "made 1", 60_000, 600)
TRAIN, VAL, OTHER = "n01532829", "n01855672", "n01440764"


@pytest.mark.parametrize(
    ("name", "synset"),
    [
        ("n0153282900000005.jpg", "n01532829"),
        ("n01532829_54.JPEG", "n01532829"),
        ("n01532829", "n01532829"),
        ("n0153282", None),
        ("xn01532829", None),
        ("n\u06610\u0661532829.jpg", None),  # digits, but not WordNet's
    ],
)
def test_a_name_begins_with_a_wordnet_id_or_does_not(name: str, synset: str | None) -> None:
    assert synset_of(name) == synset


def found(*names: str) -> object:
    return by_synset(MINI, names)


def test_classes_fall_into_the_frozen_splits() -> None:
    assert found(f"a/{TRAIN}/1.jpg", f"b/{VAL}/2.jpg", f"c/{OTHER}/3.jpg", f"{TRAIN}/notes.txt") == {
        "train": {TRAIN: [f"a/{TRAIN}/1.jpg"]},
        "val": {VAL: [f"b/{VAL}/2.jpg"]},
    }
    assert found(f"images/{VAL}00000001.jpg", f"{TRAIN}_7.JPEG") == {
        "val": {VAL: [f"images/{VAL}00000001.jpg"]},
        "train": {TRAIN: [f"{TRAIN}_7.JPEG"]},
    }
    assert found(f"{OTHER}/1.jpg", "images/1.jpg") is None


def test_a_folder_stands_over_a_files_own_name() -> None:
    assert found(f"{TRAIN}/{VAL}_1.JPEG") == {"train": {TRAIN: [f"{TRAIN}/{VAL}_1.JPEG"]}}


def test_of_two_folders_of_a_class_the_fullest_counts() -> None:
    names = [f"train/{TRAIN}/{i}.jpg" for i in range(3)]
    for order in ([*names, f"val/{TRAIN}/9.jpg"], [f"val/{TRAIN}/9.jpg", *names]):
        assert found(*order) == {"train": {TRAIN: names}}
