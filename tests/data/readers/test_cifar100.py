"""CIFAR-FS and FC100 from small files in the form of CIFAR-100's own, compared with the rows that went into them."""

import dataclasses
import hashlib
import importlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.data.remote_files import FETCHABLE
from fewshot_km.data.splits import SPLIT_NAMES, read_class_lists
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE
from fewshot_km.errors import DataError
from tests.support.made_files import Files, below, tarred, write, zipped
from tests.support.made_hdf5 import of_arrays
from tests.support.python2_pickles import python_2_pickle

module = importlib.import_module("fewshot_km.data.readers.cifar100")

BOTH = ("cifar-fs", "fc100")
FINE_LABELS = sorted(name for names in read_class_lists("fc100").values() for name in names)  # CIFAR's own order
USED = ("apple", "aquarium_fish", "baby", "bed", "beetle", "bicycle", "cattle", "dinosaur", "woman")
PER_CLASS = {"train": 5, "test": 2}

Rows = npt.NDArray[np.uint8]


def half(name: str, used: tuple[str, ...] = USED) -> tuple[Rows, list[int]]:
    """Rows [N, 3072] and labels in mixed order."""
    random = np.random.default_rng(len(name) + ord(name[1]))
    labels = random.permutation(np.repeat([FINE_LABELS.index(n) for n in used], PER_CLASS[name])).tolist()
    return random.integers(0, 256, (len(labels), 3072), dtype=np.uint8), labels


def published_form(used: tuple[str, ...] = USED) -> dict[str, bytes]:
    files = {"meta": python_2_pickle({"fine_label_names": FINE_LABELS, "coarse_label_names": ["fish", "people"]})}
    for name in PER_CLASS:
        rows, labels = half(name, used)
        content = {
            "filenames": [f"leptodactylus_pentadactylus_s_{i:06d}.png" for i in range(len(labels))],
            "batch_label": f"{name}ing batch 1 of 1",
            "fine_labels": labels,
            "coarse_labels": [0] * len(labels),
            "data": rows,
        }
        files[name] = python_2_pickle(content)
    return files


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return published_form()


def load(name: str, data_root: Path, allow_partial: bool = True) -> Dataset:
    return load_dataset(name, data_root, {"allow_partial": allow_partial})


def names_in(dataset: Dataset, split: str) -> list[str]:
    return [dataset.bank.class_names[c] for c in dataset.splits[split].classes[:, 0]]


def test_the_files_are_such_as_python_2_wrote(files: Files) -> None:
    for content in files.values():
        assert b"_codecs" not in content
        assert content[:2] == b"\x80\x02"
    rows, labels = half("train")
    read = pickle.loads(files["train"], encoding="latin1")
    np.testing.assert_array_equal(read["data"], rows)
    assert read["fine_labels"] == labels
    with pytest.raises(UnicodeDecodeError):  # as for the real ones
        pickle.loads(files["train"])


@pytest.mark.parametrize("name", BOTH)
def test_images_of_a_class_are_those_of_train_and_then_of_test(name: str, files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cifar-100-python", files)
    bank = load(name, tmp_path).bank
    assert bank.class_names == USED
    for c, class_name in enumerate(USED):
        rows = []
        for part in PER_CLASS:
            pixels, labels = half(part)
            rows += [row for row, label in zip(pixels, labels, strict=True) if FINE_LABELS[label] == class_name]
        images = bank.images[bank.starts[c] : bank.starts[c + 1]]
        assert images.shape == (7, 3, 32, 32)
        for image, row in zip(images, rows, strict=True):
            for channel in range(3):  # R, G and B one after another, each line by line
                plane = row[1024 * channel : 1024 * (channel + 1)]
                np.testing.assert_array_equal(image[channel], [plane[32 * y : 32 * (y + 1)] for y in range(32)])


@pytest.mark.parametrize("name", BOTH)
def test_splits_are_the_frozen_ones(name: str, files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cifar-100-python", files)
    dataset = load(name, tmp_path)
    for split, names in read_class_lists(name).items():
        assert names_in(dataset, split) == [n for n in names if n in USED]
    assert dataset.partial == "9 of 100 classes, 63 of 60,000 images"


LAYOUTS: dict[str, Callable[[Files], Files]] = {
    "the published archive": lambda files: {"cifar-100-python.tar.gz": tarred(below("cifar-100-python", files))},
    "its folder": lambda files: below("cifar-100-python", files),
    "its folder in another": lambda files: below("CIFAR100/cifar-100-python", files),
    "files in a folder": lambda files: below("CIFAR_FS", files),
    "an archive in a folder": lambda files: {"cifar-100/any.tar.gz": tarred(below("cifar-100-python", files))},
    "a zip": lambda files: {"fc100/x.zip": zipped(files)},
    "beside other things": lambda files: {"cifar100/readme.txt": b"x", **below("cifar100/deep/er", files)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_and_archives_give_the_same(layout: str, files: Files, tmp_path: Path) -> None:
    write(tmp_path / "a", LAYOUTS[layout](files))
    write(tmp_path / "b" / "cifar-100-python", files)
    read = load("fc100", tmp_path / "a")
    assert read.digest == load("fc100", tmp_path / "b").digest
    assert read.found.startswith("pickles in ")
    assert str(tmp_path) not in read.found


def test_a_data_root_may_be_the_folder_itself(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cifar-100-python", files)
    assert load("fc100", tmp_path / "cifar-100-python").digest == load("fc100", tmp_path).digest


@pytest.mark.parametrize("name", BOTH)
def test_it_is_found_where_fetch_puts_it(name: str, files: Files, tmp_path: Path) -> None:
    (remote,) = FETCHABLE[name]
    for i, place in enumerate(remote.places(tmp_path)):
        write(place.parent, {place.name: tarred(below("cifar-100-python", files))})
        assert load(name, tmp_path).bank.class_names == USED, i
        place.unlink()


def test_both_share_one_bank_and_the_second_load_reads_no_pickle(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    write(tmp_path / "data" / "cifar-100-python", files)
    first = {name: load(name, tmp_path / "data") for name in BOTH}
    assert first["cifar-fs"].bank.digest == first["fc100"].bank.digest
    assert first["cifar-fs"].digest != first["fc100"].digest
    assert [p.name[:9] for p in (tmp_path / "cache").glob("*.npy")] == ["cifar100-"]
    monkeypatch.setattr(module, "load_pickle", None)
    for name in BOTH:
        again = load(name, tmp_path / "data")
        assert (again.digest, again.partial, again.found) == (
            first[name].digest,
            first[name].partial,
            first[name].found,
        )


# What is not the published data set


def torchmeta() -> dict[str, npt.NDArray[np.uint8]]:
    """Superclass/class -> images, those of train before those of test; made-up superclasses."""
    halves = [half(part) for part in PER_CLASS]
    rows = np.concatenate([rows for rows, _ in halves])
    labels = np.concatenate([labels for _, labels in halves])
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {f"super{i % 2}/{name}": images[labels == FINE_LABELS.index(name)] for i, name in enumerate(USED)}


@pytest.mark.parametrize("name", BOTH)
def test_torchmetas_file_is_the_same_data_set(name: str, files: Files, tmp_path: Path) -> None:
    write(tmp_path / "a" / "cifar-100-python", files)
    write(tmp_path / "b" / "cifar100", {"data.hdf5": of_arrays(torchmeta())})
    dataset = load(name, tmp_path / "b")
    assert dataset.digest == load(name, tmp_path / "a").digest
    assert dataset.found == "torchmeta's HDF5 file in cifar100, 63 images of 32x32"
    with pytest.raises(DataError, match="holds 9 of 100 classes"):
        load(name, tmp_path / "b", allow_partial=False)


def test_torchmetas_file_has_a_class_once_and_known_ones_only(tmp_path: Path) -> None:
    arrays = torchmeta()
    for wrong, says in [
        ("other/apple", "has class 'apple' in two superclasses"),
        ("other/lynx", r"lynx .*\(unknown\)"),
    ]:
        write(tmp_path / "cifar100", {"data.hdf5": of_arrays(arrays | {wrong: arrays["super0/apple"]})})
        with pytest.raises(DataError, match=says):
            load("cifar-fs", tmp_path)


def test_an_incomplete_set_is_refused(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "cifar-100-python", files)
    with pytest.raises(DataError, match=r"holds 9 of 100 classes, 63 of 60,000 images of fc100\. .*allow_partial"):
        load("fc100", tmp_path, allow_partial=False)


def test_a_split_without_classes_cannot_be_used(tmp_path: Path) -> None:
    train = read_class_lists("fc100")["train"][:3]
    write(tmp_path / "cifar-100-python", published_form(tuple(train)))
    with pytest.raises(DataError, match="without any class of val and test it cannot be used"):
        load("fc100", tmp_path)


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """All classes, and as many images as are published for the time of a test."""
    everything = published_form(tuple(FINE_LABELS))
    for constant in ("CIFAR_FS", "FC100"):
        smaller = dataclasses.replace(getattr(module, constant), images_per_class=7, images=700)
        monkeypatch.setattr(module, constant, smaller)
    write(tmp_path / "cifar-100-python", everything)
    return everything


@pytest.mark.parametrize("name", BOTH)
def test_the_published_files_are_known_by_their_md5(
    name: str, complete: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, content in complete.items():
        monkeypatch.setitem(module.MEMBERS, file, hashlib.md5(content, usedforsecurity=False).hexdigest())
    dataset = load(name, tmp_path, allow_partial=False)
    assert dataset.partial is None
    assert {split: len(names_in(dataset, split)) for split in SPLIT_NAMES} == {
        split: len(names) for split, names in read_class_lists(name).items()
    }


@pytest.mark.parametrize("name", BOTH)
def test_as_many_images_in_other_files_are_refused_or_said_to_be_others(
    name: str, complete: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("train", "meta"):
        monkeypatch.setitem(module.MEMBERS, file, hashlib.md5(complete[file], usedforsecurity=False).hexdigest())
    with pytest.raises(DataError, match=r"not the published ones \(their MD5 differs\): test\. Run .*allow_partial"):
        load(name, tmp_path, allow_partial=False)
    assert load(name, tmp_path).partial == "not the published files"


# Damage


def changed(part: str, key: str, value: object) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        content = pickle.loads(files[part], encoding="latin1")
        return {**files, part: python_2_pickle({**content, key: value})}

    return change


def repickled(files: Files) -> Files:
    """As Python 3 does who reads Python 2's strings as bytes."""
    return {name: pickle.dumps(pickle.loads(content, encoding="bytes")) for name, content in files.items()}


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made",)


UNUSABLE: dict[str, tuple[Callable[[Files], Files], str]] = {
    "cut short": (lambda files: {**files, "train": files["train"][:-3000]}, r"'train' is damaged or cut short"),
    "hostile": (lambda files: {**files, "meta": pickle.dumps(Hostile(), 2)}, r"'meta' asks for \w+\.mkdir"),
    "no dict": (lambda files: {**files, "test": pickle.dumps([1])}, r"'test' should hold uint8 images \[N, 3072\]"),
    "another shape": (changed("train", "data", np.zeros((45, 3071), np.uint8)), r"'train' should hold uint8 images"),
    "floats": (changed("test", "data", np.zeros((18, 3072))), r"'test' should hold uint8 images"),
    "fewer labels": (changed("test", "fine_labels", [0] * 17), r"'test' should hold uint8 images"),
    "no labels": (changed("test", "fine_labels", []), r"'test' should hold uint8 images"),
    "labels beyond": (changed("train", "fine_labels", [100] * 45), r"'train' should hold .* 100 classes' numbers"),
    "labels below": (changed("train", "fine_labels", [-1] * 45), r"'train' should hold .* 100 classes' numbers"),
    "labels not whole": (changed("train", "fine_labels", [0.5] * 45), r"'train' should hold .* 100 classes' numbers"),
    "no names": (changed("meta", "fine_label_names", "abc"), r"'meta' should hold the names of the classes"),
    "a name twice": (changed("meta", "fine_label_names", [*FINE_LABELS[:99], "apple"]), r"'meta' names a class twice"),
    "unknown names": (
        changed("meta", "fine_label_names", [f"c{i}" for i in range(100)]),
        r"c0 of no split \(unknown\)",
    ),
    "keys of bytes": (repickled, r"'meta' should hold the names of the classes as fine_label_names"),
    "no test": (lambda files: {n: c for n, c in files.items() if n != "test"}, r"CIFAR-100 not found: looked in "),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_refused_by_name(case: str, files: Files, tmp_path: Path) -> None:
    change, says = UNUSABLE[case]
    write(tmp_path / "cifar-100-python", change(files))
    with pytest.raises(DataError, match=says) as refusal:
        load("cifar-fs", tmp_path)
    assert str(tmp_path / "cifar-100-python") in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_archive_cut_short_is_refused_by_name(files: Files, tmp_path: Path) -> None:
    write(tmp_path, {"cifar-100-python.tar.gz": tarred(files)[:-5000]})
    with pytest.raises(DataError, match=r"cifar-100-python\.tar\.gz is damaged or cut short"):
        load("cifar-fs", tmp_path)


def test_nothing_there_says_where_it_was_looked_for_and_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load("fc100", tmp_path)
    for part in ("CIFAR-100 not found", str(tmp_path), "fewshot-km data fetch fc100", "cifar-100-python.tar.gz"):
        assert part in str(refusal.value)
