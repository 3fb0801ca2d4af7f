"""CIFAR-FS and FC100 as pickles of one split each, compared with the images that went into them."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.data.splits import read_class_lists
from fewshot_km.errors import DataError
from tests.support.made_files import Files, below, tarred, write, zipped
from tests.support.python2_pickles import python_2_pickle

PREFIX = {"cifar-fs": "CIFAR_FS", "fc100": "FC100"}
FINE_LABELS = sorted(name for names in read_class_lists("fc100").values() for name in names)  # CIFAR's own order
PER_CLASS = 3


def image(name: str, position: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng([FINE_LABELS.index(name), position]).integers(0, 256, (32, 32, 3), np.uint8)


def used(dataset: str) -> dict[str, list[str]]:
    return {split: names[::7] for split, names in read_class_lists(dataset).items()}


def made(dataset: str, named: bool = False) -> dict[str, bytes]:
    """In mixed order; the labels are CIFAR-100's, or any numbers where the file names them."""
    files = {}
    for split, names in used(dataset).items():
        rows = [(name, i) for i in range(PER_CLASS) for name in reversed(names)]
        number = {name: 900 - i for i, name in enumerate(names)} if named else {n: FINE_LABELS.index(n) for n in names}
        content: dict[str, object] = {
            "data": np.stack([image(*row) for row in rows]),
            "labels": [number[name] for name, _ in rows],
        }
        if named:
            content["catname2label"] = {name.replace("_", " "): n for name, n in number.items()}
        files[f"{PREFIX[dataset]}_{split}.pickle"] = python_2_pickle(content)
    return files


def load(name: str, data_root: Path, allow_partial: bool = True) -> Dataset:
    return load_dataset(name, data_root, {"allow_partial": allow_partial})


LAYOUTS: dict[str, Callable[[str, Files], Files]] = {
    "its own folder": lambda name, files: below(name, files),
    "another spelling": lambda name, files: below(PREFIX[name], files),
    "the data root": lambda _, files: files,
    "a zip": lambda name, files: {f"{PREFIX[name]}.zip": zipped(below("data", files))},
    "a tar in the folder of CIFAR-100": lambda name, files: {"cifar-100/x.tar": tarred(files, "")},
    "lower case, .pkl": lambda name, files: {
        f"{name}/{file.lower().replace('.pickle', '.pkl')}": content for file, content in files.items()
    },
    "fetched again": lambda name, files: {
        f"{name}/{file.replace('.pickle', ' (1).pickle')}": content for file, content in files.items()
    },
}


@pytest.mark.parametrize("name", PREFIX)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("named", [False, True])
def test_every_image_is_in_its_class_and_its_split(layout: str, named: bool, name: str, tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS[layout](name, made(name, named)))
    dataset = load(name, tmp_path)
    bank = dataset.bank
    for split, names in used(name).items():
        assert [bank.class_names[c] for c in dataset.splits[split].classes[:, 0]] == names
    assert bank.image_shape == (3, 32, 32)
    for c, class_name in enumerate(bank.class_names):
        for i in range(PER_CLASS):
            stored = bank.images[bank.starts[c] + i].transpose(1, 2, 0)
            np.testing.assert_array_equal(stored, image(class_name, i))
    classes = sum(map(len, used(name).values()))
    assert dataset.partial == f"{classes} of 100 classes, {PER_CLASS * classes} of 60,000 images"
    assert dataset.found.startswith("pickles of one split each in ")


def test_one_data_sets_files_are_not_the_others(tmp_path: Path) -> None:
    write(tmp_path / "cifar-100", made("fc100"))
    with pytest.raises(
        DataError, match=r"CIFAR-100 not found: looked in .*FC100_test\.pickle.*CIFAR_FS_\{train,val,test\}"
    ):
        load("cifar-fs", tmp_path)


def test_cifars_own_files_come_first(tmp_path: Path) -> None:
    write(tmp_path / "cifar-100-python", made("fc100") | {"train": b"", "test": b"", "meta": b""})
    with pytest.raises(DataError, match=r"'(train|meta|test)' is damaged"):
        load("fc100", tmp_path)


def test_an_incomplete_set_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "fc100", made("fc100"))
    with pytest.raises(DataError, match=r"holds 15 of 100 classes, 45 of 60,000 images of fc100"):
        load("fc100", tmp_path, allow_partial=False)


def changed(**values: object) -> Callable[[bytes], bytes]:
    return lambda content: python_2_pickle(pickle.loads(content, encoding="latin1") | values)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("made",)


UNUSABLE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "web page": (lambda _: b"<!DOCTYPE html><html>", "is a web page"),
    "hostile": (lambda _: pickle.dumps(Hostile()), "asks for builtins.print"),
    "cut short": (lambda content: content[:-99], "is damaged or cut short"),
    "no dict": (lambda _: pickle.dumps([1]), "should hold uint8 images"),
    "floats": (changed(data=np.zeros((27, 32, 32, 3))), "should hold uint8 images"),
    "another shape": (changed(data=np.zeros((27, 3, 32, 32), np.uint8)), "should hold uint8 images"),
    "labels of text": (changed(labels=["a"] * 27), "should hold uint8 images"),
    "labels beyond": (changed(labels=[100] * 27), "should hold uint8 images"),
    "numbers of another kind": (changed(labels=list(range(27))), r"is not fc100: .*bear of train \(belongs to val\)"),
    "names of another kind": (changed(catname2label=3), "should hold uint8 images"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_refused_by_name(case: str, tmp_path: Path) -> None:
    change, says = UNUSABLE[case]
    files = made("fc100")
    count = len(pickle.loads(files["FC100_train.pickle"], encoding="latin1")["labels"])
    assert count == 27
    write(tmp_path / "fc100", files | {"FC100_train.pickle": change(files["FC100_train.pickle"])})
    with pytest.raises(DataError, match=says) as refusal:
        load("fc100", tmp_path)
    assert str(tmp_path / "fc100") in str(refusal.value)
    assert "\n" not in str(refusal.value)
