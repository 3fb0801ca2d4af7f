"""Lists of each split, written as LibFewShot, A Closer Look and easyfsl write them."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from fewshot_km.data.layouts.own_images import Found, LayoutChoice, find_classes
from fewshot_km.data.layouts.split_lists import find_list_files
from fewshot_km.errors import DataError
from tests.support.made_files import MadeTree

PARTS = {"train": ["ant", "bee"], "val": ["cat"], "test": ["dog", "eel"]}
CLASSES = [name for names in PARTS.values() for name in names]
FILES = {name: [f"images/{name}/{i}.png" for i in range(2)] for name in CLASSES}
IMAGES = dict.fromkeys((file for files in FILES.values() for file in files), b"")


def chosen(**options: str) -> LayoutChoice:
    return LayoutChoice(
        **{**dict.fromkeys(LayoutChoice.__dataclass_fields__, ""), "depth": "auto", "split": "auto", **options}
    )  # type: ignore[arg-type]


def find(files: Mapping[str, bytes], **options: str) -> Found:
    return find_classes(MadeTree(files), chosen(**options))


def libfewshot(split: str) -> tuple[str, str]:
    rows = [f"{name}/{i}.png, {name}\n" for name in PARTS[split] for i in range(2)]
    return f"{split}.csv", "filename    , label\n" + "".join(rows)


def closer_look(split: str) -> tuple[str, str]:
    """All classes are named in each list; labels are indices; paths are those of the machine that wrote it."""
    names = [f"/home/someone/zoo/{file}" for name in PARTS[split] for file in FILES[name]]
    labels = [CLASSES.index(name) for name in PARTS[split] for _ in FILES[name]]
    word = {"train": "base", "val": "val", "test": "novel"}[split]
    return f"filelists/{word}.json", json.dumps({"label_names": CLASSES, "image_names": names, "image_labels": labels})


def easyfsl(split: str) -> tuple[str, str]:
    roots = [f"./data/zoo/images/{name}" for name in PARTS[split]]
    return f"{split}.json", json.dumps({"class_names": PARTS[split], "class_roots": roots})


def easyfsl_table(split: str) -> tuple[str, str]:
    rows = [f"{name},{i}.png\n" for name in PARTS[split] for i in range(2)]
    return f"{split}.csv", "class_name,image_name\n" + "".join(rows)


def class_names(split: str) -> tuple[str, str]:
    return f"{split}.txt", "\r\n".join(["", *PARTS[split], ""])


def files_and_classes(split: str) -> tuple[str, str]:
    """In each list parted otherwise, as Places, ImageNet's old lists and people's own are."""
    parted = {"train": " ", "val": ", ", "test": "\t"}[split]
    return f"{split}.txt", "".join(f"{file}{parted}{name}\n" for name in PARTS[split] for file in FILES[name])


FORMS = [libfewshot, closer_look, easyfsl, easyfsl_table, class_names, files_and_classes]


def written(form: Callable[[str], tuple[str, str]], splits: Sequence[str] = tuple(PARTS)) -> dict[str, bytes]:
    return {name: text.encode() for name, text in map(form, splits)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("outer", ["", "zoo-2026/"])
def test_lists_beside_images_are_the_split(form: Callable[[str], tuple[str, str]], outer: str) -> None:
    lists = {f"{outer}{name}": text for name, text in written(form).items()}
    images = {f"{outer}{name}": b"" for name in (*IMAGES, "images/fox/0.png")}
    found = find(images | lists)
    assert found.lists == PARTS
    assert found.classes == {name: [f"{outer}{file}" for file in files] for name, files in FILES.items()}
    assert set(found.tables) == set(lists)
    assert found.how.startswith("files listed in ")
    assert find(images | lists, splits=min(lists)) == found


def test_two_sets_of_lists_are_asked_for_and_one_is_chosen() -> None:
    files = IMAGES | written(libfewshot) | written(closer_look)
    with pytest.raises(DataError, match=r'set splits = "filelists/base.json" or splits = "train.csv"'):
        find(files)
    assert set(find(files, splits="filelists/novel.json").tables) == set(written(closer_look))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "'base.json' should hold"),
        ("[]", "'base.json' should hold"),
        ("{", "'base.json' should hold"),
        ('{"image_names": ["images/ant/0.png"], "image_labels": [0, 0]}', "'base.json' should hold"),
        (
            '{"label_names": ["a"], "image_names": ["images/ant/0.png"], "image_labels": [1]}',
            "should hold .*IndexError",
        ),
        (
            '{"label_names": ["a"], "image_names": ["images/ant/0.png"], "image_labels": [-1]}',
            "should hold .*IndexError",
        ),
        ('{"image_names": ["ant/9.png"], "image_labels": [0]}', "entry 1: 'ant/9.png' is not there"),
        ('{"class_names": ["ant"], "class_roots": ["images/gnu"]}', "'images/gnu', for class 'ant', is no folder with"),
    ],
)
def test_lists_that_cannot_be_read_are_refused_with_a_way_out(text: str, says: str) -> None:
    lists = {"base.json": text.encode(), "val.json": b"{}", "novel.json": b"{}"}
    with pytest.raises(DataError, match=says):
        find(IMAGES | lists)
    assert find(IMAGES | lists, split="fractions").lists is None


def test_lists_of_the_same_classes_or_images_are_refused() -> None:
    lists = written(libfewshot)
    with pytest.raises(DataError, match=r"1 of 2 classes of train.csv are in test.csv too \(ant\): few-shot learning"):
        find(IMAGES | lists | {"test.csv": b"file,class\nant/0.png,ant\n"})
    with pytest.raises(DataError, match=r"'images/ant/0.png' is listed in train.csv and in test.csv"):
        find(IMAGES | lists | {"test.csv": b"file,class\nant/0.png,dog\n"})


def test_labels_without_names_are_numbers() -> None:
    lists = {
        f"{word}.json": json.dumps({"image_names": FILES[name], "image_labels": [7 + i, 7 + i]}).encode()
        for i, (word, name) in enumerate(zip(("base", "val", "novel"), CLASSES, strict=False))
    }
    assert find(IMAGES | lists).lists == {"train": ["class 7"], "val": ["class 8"], "test": ["class 9"]}


@pytest.mark.parametrize(
    ("names", "complete", "unclear"),
    [
        ("Train.csv VAL.csv test.csv", 1, 0),
        ("a/birds_train.csv a/birds_val.csv a/birds_test.csv", 1, 0),
        ("train.csv val.json test.csv", 0, 2),
        ("train.csv test.csv", 0, 2),
        ("train.csv base.csv val.csv test.csv", 0, 4),
        ("a/train.csv b/val.csv c/test.csv", 0, 0),
        ("train.csv labels.csv", 0, 0),
        ("train.txt val.txt test.txt", 1, 0),
        ("a/trainlist.txt a/vallist.txt a/testlist.txt", 1, 0),
        ("train.txt test.txt", 0, 0),
        ("train1.txt train2.txt val1.txt val2.txt test1.txt test2.txt", 0, 0),
        ("birds_train.txt birds_val.txt birds_test.txt", 0, 0),
    ],
)
def test_lists_are_known_by_their_names(names: str, complete: int, unclear: int) -> None:
    found = find_list_files(names.split())
    assert (len(found[0]), len(found[1])) == (complete, unclear)


def test_files_and_classes_in_texts_may_have_blanks_in_their_names() -> None:
    images = {f"my pictures/{i}.a.PNG": b"" for i in range(3)}
    lists = {f"{split}.txt": f"my pictures/{i}.a.PNG  golden retriever {i}\n".encode() for i, split in enumerate(PARTS)}
    found = find(images | lists)
    assert found.lists == {split: [f"golden retriever {i}"] for i, split in enumerate(PARTS)}
    assert found.classes == {f"golden retriever {i}": [f"my pictures/{i}.a.PNG"] for i in range(3)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'val.txt' has no lines"),
        ("cat\nimages/dog/0.png dog", r"'val.txt', line 1: 'cat' is no image file followed by its class"),
        ("images/cat/0.png cat\nimages/cat/1.png", r"line 2: 'images/cat/1.png' is no image file followed by its"),
        ("images/cat/0.png\nimages/cat/1.png", r"line 1: 'images/cat/0.png' is no image file followed by its class"),
        ("gnu", "'gnu', for class 'gnu', is no folder with images"),
        ("images/cat/9.png cat", r"line 1: 'images/cat/9.png' is not there"),
        ("images/cat/0.png cat\nimages/cat/0.png cat", "occurs twice"),
    ],
)
def test_texts_that_are_no_lists_are_refused_with_a_way_out(text: str, says: str) -> None:
    lists = written(class_names) | {"val.txt": text.encode()}
    with pytest.raises(DataError, match=says) as caught:
        find(IMAGES | lists)
    assert 'set split = "fractions" to pass these lists over' in str(caught.value)
    assert find(IMAGES | lists, split="fractions").lists is None


def test_texts_that_have_classes_in_two_splits_say_how_to_divide_them_anew() -> None:
    """As of data sets that were split for classifiers, each class in all of them."""
    lists = {
        f"{split}.txt": "".join(f"{FILES[n][i]} {n}\n" for n in CLASSES).encode()
        for i, split in enumerate(("train", "test"))
    } | {"val.txt": b"images/cat/0.png other"}
    with pytest.raises(DataError, match=r"5 of 5 classes of train.txt are in test.txt too .* split = \"fractions\""):
        find(IMAGES | lists)
