"""Tables as pandas and spreadsheets write them, and the files that their names mean."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.layouts.class_tables import FileFinder, Row, classes_of, read_table
from fewshot_km.errors import DataError

cells = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="\\/"), min_size=1)
files = st.lists(cells.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map("/".join)


@given(
    st.lists(st.tuples(files, cells), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["file", "filename", "File Name", "image_path", "Image"]),
    st.sampled_from(["class", "label", "Class_Name", "category"]),
    st.booleans(),
)
def test_every_dialect_holds_the_same_rows(
    rows: list[tuple[str, str]], delimiter: str, file: str, label: str, with_backslashes: bool
) -> None:
    written = [name.replace("/", "\\") if with_backslashes else name for name, _ in rows]
    table = pd.DataFrame({"size": range(len(rows)), label: [name for _, name in rows], file: written})
    read = read_table(table.to_csv(sep=delimiter, index=delimiter == ";"), "t.csv")
    assert [(row.file, row.label) for row in read] == rows


def test_headers_and_cells_may_be_padded() -> None:
    assert read_table("filename    , label , split\nant/0.png , ant ,train \n\n", "t") == [
        Row("line 2", "ant/0.png", "ant", "train")
    ]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (
            "a;b\n1;2\n",
            {},
            "it has a, b. Name columns that are called otherwise with the options file_column and class_",
        ),
        ("file;b\n1;2\n", {}, "it has file, b. Name columns that are called otherwise with the option class_column"),
        ("", {}, "it has none"),
        ("file,class\n", {}, "t has no rows"),
        ("filename,path,class\n1,2,3\n", {}, "t: set file_column to filename or path"),
        ("file,label,category\n1,2,3\n", {}, "t: set class_column to label or category"),
        ("file,class\n1,2\n", {"class_column": "breed"}, "with the option class_column"),
        ('file,class\n"1,2\n', {}, "t is no csv file"),
        ("file,class\n1,\n", {}, "t, line 2: the class is missing"),
        ("file,class\n ,2\n", {}, "t, line 2: the file is missing"),
    ],
)
def test_what_is_no_such_table_is_one_error(text: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(DataError, match=says.replace(".", r"\.")):
        read_table(text, "t", **options)


def test_columns_of_other_names_are_named() -> None:
    assert read_table("Bild\tArt\n1\tAmsel\n", "t", "Bild", "Art") == [Row("line 2", "1", "Amsel")]
    assert read_table("file,class,breed\n1,2,3\n", "t", class_column="breed") == [Row("line 2", "1", "3")]


TREE = ["images/ant/0.png", "images/bee/0.png", "lists/own.png", "masks/ant/0.png", "images/ant/only.png"]


@pytest.mark.parametrize(
    ("file", "folder", "label", "meant"),
    [
        ("images/ant/0.png", "", "", "images/ant/0.png"),
        ("images/ant/0.png", "lists", "", "images/ant/0.png"),
        ("own.png", "lists", "", "lists/own.png"),
        ("ant/0.png", "", "", "images/ant/0.png"),  # from images/, as LibFewShot has it, though there is a mask
        ("only.png", "", "", "images/ant/only.png"),
        ("0.png", "", "bee", "images/bee/0.png"),  # as easyfsl has it
        ("/made/zoo/masks/ant/0.png", "", "", "masks/ant/0.png"),  # absolute, in this tree
        ("/home/someone/zoo/images/ant/0.png", "", "", "images/ant/0.png"),  # from another machine
        ("C:/zoo/images/ant/0.png", "", "", "images/ant/0.png"),
        ("../images/ant/0.png", "lists", "", "images/ant/0.png"),
        ("data/zoo/images/bee/0.png", "", "", "images/bee/0.png"),
        ("0.png", "", "", None),
        ("0.png", "", "ant", None),
        ("cat/0.png", "", "", None),
        ("images/ant/1.png", "", "", None),
    ],
)
def test_a_name_means_one_file_or_none(file: str, folder: str, label: str, meant: str | None) -> None:
    found = FileFinder(Path("/made/zoo"), TREE).find(file, folder, label)
    assert (found == [meant]) if meant else len(found) != 1


def test_a_relative_name_is_never_a_file_outside_of_its_folder() -> None:
    finder = FileFinder(Path("/made"), ["0.png", "ant/1.png"])
    assert finder.find("bee/0.png") == []
    assert finder.find("/elsewhere/bee/0.png") == ["0.png"]


def test_the_longest_path_at_the_end_of_a_name_is_meant() -> None:
    finder = FileFinder(Path("/made"), ["ant/0.png", "masks/ant/0.png"])
    assert finder.find("/elsewhere/masks/ant/0.png") == ["masks/ant/0.png"]
    assert finder.find("/elsewhere/images/ant/0.png") == ["ant/0.png"]


def test_absolute_names_lead_into_folders_by_either_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    finder = FileFinder(tmp_path / "link", ["a/0.png", "b/0.png"])
    for folder in ("real", "link"):
        assert finder.find(f"{tmp_path}/{folder}/b/0.png") == ["b/0.png"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["0.png"], r"t, line 0: '0.png' may be images/ant/0.png or images/bee/0.png or masks/ant/0.png: write its"),
        (["ant/7.png", "ant/8.png", "only.png"], r"t, line 0: 'ant/7.png' is not there, and 1 more are not"),
        (["only.png", "ant/only.png"], "t, line 1: 'images/ant/only.png' occurs twice: it is in line 0 already"),
    ],
)
def test_files_that_are_not_clear_are_refused(names: list[str], says: str) -> None:
    rows = [Row(f"line {i}", name, f"class {i}") for i, name in enumerate(names)]
    with pytest.raises(DataError, match=says):
        classes_of("t", rows, FileFinder(Path("/made"), TREE), "")
