"""What decides where folders, tables and lists are there together; and the small inputs of what people have."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.data.files.contents import describe_passed_over
from fewshot_km.errors import DataError
from tests.data.layouts.test_split_lists import FILES, IMAGES, PARTS, find, libfewshot, written
from tests.support.made_files import MadeTree

IN_FOLDERS = {f"{split}/{name}/{i}.png": b"" for split, names in PARTS.items() for name in names for i in range(2)}
TABLE = "file,class,Split\n" + "".join(
    f"{file},{name},{word}\n"
    for (split, names), word in zip(PARTS.items(), ("Base", "dev", "NOVEL"), strict=True)
    for name in names
    for file in FILES[name]
)


def listing(split: str) -> tuple[str, str]:
    rows = [f"{split}/{name}/{i}.png,{name}\n" for name in PARTS[split] for i in range(2)]
    return f"{split}.csv", "file,class\n" + "".join(rows)


def test_folders_and_lists_that_agree_are_one_split() -> None:
    found = find(IN_FOLDERS | written(listing))
    assert found.lists == PARTS
    assert found.how == "class folders under train/, val/ and test/"
    assert set(found.tables) == set(written(listing))


def test_folders_and_lists_that_disagree_are_asked_for() -> None:
    moved = {
        "train.csv": listing("train")[1].encode() + b"test/dog/0.png,dog\n",
        "test.csv": b"file,class\ntest/eel/0.png,eel\n",
    }
    files = IN_FOLDERS | written(listing) | moved
    with pytest.raises(
        DataError, match=r"'test/dog/0.png' is in test by its folder and in train by train.csv: set split"
    ):
        find(files)
    with pytest.raises(DataError, match="by its folder"):
        find(files | {"test.csv": b"file,class\ntest/dog/1.png,dog\n"})  # a class of two lists, besides
    assert find(files, split="folders").lists == PARTS
    assert find(files, split="lists").lists == {"train": ["ant", "bee", "dog"], "val": ["cat"], "test": ["eel"]}


def test_lists_decide_where_folders_are_not_clear_and_not_where_they_cannot_be_read() -> None:
    assert find(IMAGES | {"masks/ant/0.png": b""} | written(libfewshot)).lists == PARTS
    unreadable = {f"{split}.json": b'{"annotations": []}' for split in PARTS}
    found = find(IN_FOLDERS | unreadable)
    assert (found.lists, found.tables) == (PARTS, ())


def test_lists_for_only_two_splits_are_refused_or_passed_over_on_request() -> None:
    files = IMAGES | written(libfewshot, ["train", "test"])
    with pytest.raises(
        DataError, match=r"test.csv, train.csv look like lists of splits, but there is not one for each"
    ):
        find(files)
    assert find(files, split="fractions").lists is None


def test_a_table_has_splits_of_any_name_and_case_and_may_be_told_to_ignore_them() -> None:
    found = find(IMAGES | {"t.csv": TABLE.encode()}, table="t.csv")
    assert found.lists == PARTS
    assert find(IMAGES | {"t.csv": TABLE.encode()}, table="t.csv", split="fractions").lists is None
    twice = TABLE.replace("0.png,ant,Base", "0.png,ant,novel")
    with pytest.raises(
        DataError, match=r"class 'ant' is in 'novel' and in 'Base': few-shot .*set split = \"fractions\""
    ):
        find(IMAGES | {"t.csv": twice.encode()}, table="t.csv")


def test_within_and_skip_choose_among_the_files_of_tables_too() -> None:
    files = IMAGES | {f"masks/{name}": b"" for name in IMAGES} | {"t.csv": b"file,class\n1.png,ant\n"}
    files = {name.replace("/1.png", "/1.jpg") if "ant" not in name else name: data for name, data in files.items()}
    with pytest.raises(DataError, match=r"may be images/ant/1.png or masks/images/ant/1.png"):
        find(files, table="t.csv")
    assert find(files, table="t.csv", within="masks").classes == {"ant": ["masks/images/ant/1.png"]}
    assert find(files, table="t.csv", skip="masks/*").classes == {"ant": ["images/ant/1.png"]}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "folders"}, 'split = "folders", but none are named for splits'),
        ({"split": "lists"}, 'split = "lists", but there are no lists'),
        ({"split": "lists", "table": "t.csv"}, r'split = "lists" and table = "t.csv" contradict each other'),
        ({"split": "fractions", "splits": "s.json"}, r'split = "fractions" and splits = "s.json" contradict'),
    ],
)
def test_options_that_ask_for_what_is_not_there_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        find(IMAGES | {"t.csv": TABLE.encode()}, **options)


def test_a_json_file_of_classes_may_use_any_words_for_splits() -> None:
    lists = b'{"base": ["ant"], "Validation": ["bee"], "novel": ["cat"]}'
    assert find(IMAGES | {"s.json": lists}, splits="s.json").lists == {
        "train": ["ant"],
        "val": ["bee"],
        "test": ["cat"],
    }


parts = st.sampled_from(["ant", "bee", "docs", "train", "é"])
stems = st.sampled_from(
    ["0.png", "1.JPG", "2.heic", "notes.txt", "t.csv", "README", "x.y", "z.w", "train.txt", "a.b", "c.d", "e.f", "g.h"]
)


@given(
    st.sets(st.builds(lambda folders, file: "/".join([*folders, file]), st.lists(parts, max_size=3), stems)), st.data()
)
def test_every_file_is_read_or_counted_as_passed_over(names: set[str], data: Any) -> None:
    images = sorted(name for name in names if name.endswith(("png", "JPG")))
    read = data.draw(st.sets(st.sampled_from(images))) if images else set()
    said = describe_passed_over(MadeTree(dict.fromkeys(names, b"")), read)
    counts = re.sub(r"\([^)]*\)|\d+ folders? without images", "", said)
    assert len(read) + sum(map(int, re.findall(r"(?:^| )(\d+) ", counts))) == len(names)


SCRIPT = Path(__file__).parents[4] / "shared" / "cases" / "make_data_cases.py"


def test_the_inputs_that_people_sent_are_read_rightly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not SCRIPT.is_file():
        pytest.skip(f"{SCRIPT.name}, which makes them, is not beside this checkout")
    made = runpy.run_path(str(SCRIPT))
    split = {name: s for s, names in made["PARTS"].items() for name in names}

    def load(case: str, path: str, **options: Any) -> Dataset:
        if not (tmp_path / case).exists():
            made[case](tmp_path / case)
        return load_dataset("folder", tmp_path / case, {"path": path, "size": 8, **options})

    def splits(dataset: Dataset) -> dict[str, str]:
        rows = {s: dataset.splits[s].classes[:, 0] for s in made["PARTS"]}
        return {dataset.bank.class_names[c]: s for s, classes in rows.items() for c in classes}

    monkeypatch.setattr(sys, "argv", ["make_data_cases.py", str(tmp_path)])
    with pytest.raises(DataError, match=r'12 of 12 classes of train/ are in test/ too .* split = "fractions"'):
        load("same_classes_in_two_parts", "animals")
    assert load("same_classes_in_two_parts", "animals", split="fractions").bank.counts.tolist() == [6] * 12
    assert splits(load("parts_by_other_names", "capitals")) == splits(load("parts_by_other_names", "novel")) == split
    assert splits(load("three_tables", "mine")) == split
    with pytest.raises(DataError, match=r'within = "images", as 001.Bird, 002.Bird, 003.Bird, ... are in images, seg'):
        load("masks_beside_pictures", "birds")
    assert load("masks_beside_pictures", "birds", within="images").bank.counts.tolist() == [8] * 12
    with pytest.raises(DataError, match=r"depth = 1 makes 12 classes \(ant, .*depth = 2 makes 24 classes \(ant/s1, "):
        load("folders_within_classes", "sessions")
    assert load("folders_within_classes", "sessions", depth=1).bank.counts.tolist() == [8] * 12
    found = load("passed_over", "phone").found
    assert found.endswith("passed over: 8 .heic, 8 folders without images (ant, bee, cat, ...)")
    for table in ("semicolons", "backslashes", "other_columns"):
        assert load("odd_tables", "tables", table=f"{table}.csv").bank.class_names == tuple(made["NAMES"])
