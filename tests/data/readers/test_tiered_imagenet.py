"""tieredImageNet from small files in every form in which it is given out, compared with the PNG files put in."""

import importlib
import io
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.data.layouts.published import check_complete
from fewshot_km.data.readers import tiered_labels
from fewshot_km.data.splits import SPLIT_NAMES, read_class_lists
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE
from fewshot_km.errors import DataError
from tests.support.made_files import Files, below, encoded, tarred, write, zipped
from tests.support.made_hdf5 import of_image_files
from tests.support.python2_pickles import python_2_pickle

module = importlib.import_module("fewshot_km.data.readers.tiered_imagenet")

# In the order in which the labels count them, which is no order; the crane is the bird, the maillot the tank suit
DESCRIBED = {
    "train": {"n03710721": "maillot", "n01532829": "house finch, linnet, Carpodacus mexicanus", "n02012849": "crane"},
    "val": {"n03337140": "file, file cabinet, filing cabinet", "n02099601": "golden retriever"},
    "test": {"n07753592": "banana", "n01440764": "tench, Tinca tinca"},
}
OTHERS = {"n03126707": "crane", "n03710637": "maillot", "n02113186": "Cardigan, Cardigan Welsh corgi"}
IMAGES = 3  # of each class


def pixels(wnid: str, position: int, width: int = 84, height: int = 84) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng([int(wnid[1:]), position]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def png(wnid: str, position: int) -> bytes:
    return encoded(pixels(wnid, position))


def pickled() -> dict[str, bytes]:
    files = {}
    for split, classes in DESCRIBED.items():
        wnids = list(classes)
        labels = np.array([0, *range(len(wnids)), *range(len(wnids)), *range(1, len(wnids))], np.int32)
        counted = dict.fromkeys(wnids, 0)
        images = []
        for label in labels:
            wnid = wnids[label]
            images.append(np.frombuffer(png(wnid, counted[wnid]), np.uint8).reshape(-1, 1))  # as OpenCV encodes
            counted[wnid] += 1
        assert set(counted.values()) == {IMAGES}
        content = {
            "label_specific": labels,
            "label_general": np.zeros(len(labels), np.int32),
            "label_specific_str": list(classes.values()),
            "label_general_str": ["device"],
        }
        files[f"{split}_images_png.pkl"] = python_2_pickle(images)
        files[f"{split}_labels.pkl"] = python_2_pickle(content)
    synsets = {wnid: text for classes in (*DESCRIBED.values(), OTHERS) for wnid, text in classes.items()}
    files["synsets.txt"] = "".join(f"{wnid}\n" for wnid in sorted(synsets)).encode()
    files["class_names.txt"] = "".join(f"{synsets[wnid]}\n" for wnid in sorted(synsets)).encode()
    return files


def arrays(compressed: bool = False) -> dict[str, bytes]:
    """As decompress in few-shot-ssl-public makes them of the PNG files: by OpenCV, which puts blue first."""
    found = {}
    for name, content in pickled().items():
        if name.endswith("_images_png.pkl"):
            images = [
                np.asarray(Image.open(io.BytesIO(png.tobytes()))) for png in pickle.loads(content, encoding="latin1")
            ]
            out = io.BytesIO()
            save = np.savez_compressed if compressed else np.savez
            save(out, images=np.stack(images)[..., [2, 1, 0]])
            found[name.replace("_images_png.pkl", "_images.npz")] = out.getvalue()
        else:
            found[name] = content
    return found


def flat() -> dict[str, bytes]:
    return {f"images/{name.rpartition('/')[2]}": content for name, content in split_folders().items()}


def tables() -> dict[str, bytes]:
    found = {}
    for split, classes in DESCRIBED.items():
        rows = [f"{wnid}_{i:04d}.png,{wnid}\n" for wnid in classes for i in range(IMAGES)]
        found[f"{split}.csv"] = ("filename,label\n" + "".join(rows)).encode()
    return found


def opaque() -> dict[str, bytes]:
    """Flat images whose names say nothing: only the tables know the classes."""
    files = {}
    for split, classes in DESCRIBED.items():
        rows = [(f"{split}{i}{wnid[:3]}{wnid[-2:]}.png", wnid, i) for wnid in classes for i in range(IMAGES)]
        files |= {f"images/{file}": png(wnid, i) for file, wnid, i in rows}
        lines = [f"images\\{file}; {wnid}\n" for file, wnid, _ in rows]
        files[f"{split}.csv"] = ("filename ; label\n" + "".join(lines)).encode()
    return files


def split_folders() -> dict[str, bytes]:
    return {
        f"{split}/{wnid}/{wnid}_{i:04d}.png": png(wnid, i)
        for split, classes in DESCRIBED.items()
        for wnid in classes
        for i in range(IMAGES)
    }


def ilsvrc() -> dict[str, bytes]:
    """All classes side by side, other ones among them, and validation images in folders of the same names."""
    wnids = [wnid for classes in (*DESCRIBED.values(), OTHERS) for wnid in classes]
    train = {f"train/{wnid}/{wnid}_{i}.JPEG": png(wnid, i) for wnid in wnids for i in range(IMAGES)}
    return train | {f"val/{wnid}/ILSVRC2012_val_0000000{i}.JPEG": png(wnid, 9) for wnid in wnids for i in range(2)}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return pickled()


def load(data_root: Path, allow_partial: bool = True) -> Dataset:
    return load_dataset("tiered-imagenet", data_root, {"allow_partial": allow_partial})


SHAPES: dict[str, tuple[Callable[[], Files], str]] = {
    "pickles": (pickled, "pickles in tiered-imagenet, 21 images of 84x84"),
    "pickles, deeper": (lambda: below("data/tiered", pickled()), "pickles in tiered-imagenet,"),
    "pickles, one by one": (
        lambda: {f"tiered-imagenet-{name}": content for name, content in pickled().items()},
        "pickles in tiered-imagenet,",
    ),
    "tar of pickles": (
        lambda: {"tiered-imagenet.tar": tarred(below("tiered-imagenet", pickled()), "")},
        "pickles in tiered-imagenet/tiered-imagenet.tar,",
    ),
    "tar.gz of pickles": (lambda: {"a.tar.gz": tarred(pickled())}, "pickles in tiered-imagenet/a.tar.gz,"),
    "zip of pickles": (lambda: {"a.zip": zipped(pickled())}, "pickles in tiered-imagenet/a.zip,"),
    "arrays": (arrays, "arrays in tiered-imagenet, 21 images of 84x84"),
    "compressed arrays": (lambda: arrays(compressed=True), "arrays in tiered-imagenet,"),
    "arrays fetched again": (
        lambda: {name.replace("_images.npz", "_images (1).npz"): content for name, content in arrays().items()},
        "arrays in tiered-imagenet,",
    ),
    "tar of arrays": (lambda: {"a.tar": tarred(below("tiered", arrays()), "")}, "arrays in tiered-imagenet/a.tar,"),
    "zip of arrays": (lambda: {"a.zip": zipped(arrays())}, "arrays in tiered-imagenet/a.zip,"),
    "images in one folder and csv": (
        lambda: flat() | tables(),
        "image files named in the csv files in tiered-imagenet",
    ),
    "images without names and csv": (opaque, "image files named in the csv files in tiered-imagenet"),
    "zip of images, csv beside": (
        lambda: tables() | {"images.zip": zipped(flat())},
        "image files named in the csv files in tiered-imagenet/images.zip",
    ),
    "images in one folder, no csv": (flat, "images split by the frozen class lists in tiered-imagenet"),
    "folders": (split_folders, "class folders under train/, val/ and test/ in tiered-imagenet, 21 images of 84x84"),
    "zip of folders": (lambda: {"a.zip": zipped(below("tiered", split_folders()))}, "class folders under train/"),
    "ILSVRC": (ilsvrc, "class folders of an ILSVRC train tree in tiered-imagenet,"),
    "tar of ILSVRC": (lambda: {"ILSVRC.tar": tarred(below("x/y", ilsvrc()), "")}, "ILSVRC train tree"),
    "classes alone": (
        lambda: {name.removeprefix("train/"): content for name, content in ilsvrc().items() if name[0] == "t"},
        "class folders of an ILSVRC train tree in tiered-imagenet,",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_images_that_were_put_in(shape: str, tmp_path: Path) -> None:
    make, said = SHAPES[shape]
    write(tmp_path / "tiered-imagenet", make())
    dataset = load(tmp_path)
    bank = dataset.bank
    assert bank.class_names == tuple(sorted(wnid for classes in DESCRIBED.values() for wnid in classes))
    assert bank.counts.tolist() == [IMAGES] * 7
    for c, wnid in enumerate(bank.class_names):
        for i in range(IMAGES):
            np.testing.assert_array_equal(bank.images[bank.starts[c] + i].transpose(1, 2, 0), pixels(wnid, i))
    for split, names in read_class_lists("tiered-imagenet").items():
        found = [bank.class_names[c] for c in dataset.splits[split].classes[:, 0]]
        assert found == [name for name in names if name in DESCRIBED[split]]
        assert len(found) == len(DESCRIBED[split])
    assert said in dataset.found
    assert dataset.partial == "7 of 608 classes, 21 of 779,165 images"


@pytest.mark.parametrize("folder", [".", "tieredImageNet", "tiered_imagenet"])
@pytest.mark.parametrize("shape", ["pickles", "pickles, one by one", "arrays", "folders", "classes alone"])
def test_it_is_found_however_its_folder_is_called(shape: str, folder: str, tmp_path: Path) -> None:
    write(tmp_path / folder, SHAPES[shape][0]())
    assert load(tmp_path).bank.counts.sum() == 21


def test_an_archive_in_the_data_root_is_found_by_its_name(files: Files, tmp_path: Path) -> None:
    write(tmp_path, {"tiered_imagenet.tar": tarred(files, "")})
    assert load(tmp_path).found == "pickles in tiered_imagenet.tar, 21 images of 84x84"


def test_arrays_and_pickles_are_one_data_set(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "a" / "tiered-imagenet", files)
    write(tmp_path / "b" / "tiered-imagenet", arrays())
    assert load(tmp_path / "a").digest == load(tmp_path / "b").digest


def test_larger_images_are_stretched(tmp_path: Path) -> None:
    wide = pixels("n01440764", 7, 150, 100)
    tree = ilsvrc() | {"train/n01440764/n01440764_7.JPEG": encoded(wide)}
    write(tmp_path / "tiered-imagenet", tree)
    dataset = load(tmp_path)
    expected = np.asarray(Image.fromarray(wide).resize((84, 84), Image.Resampling.LANCZOS))
    place = dataset.bank.starts[dataset.bank.class_names.index("n01440764") + 1] - 1
    np.testing.assert_array_equal(dataset.bank.images[place].transpose(1, 2, 0), expected)
    assert "22 images of 84x84 to 150x100, brought to 84x84" in dataset.found


def test_pickles_are_unpacked_one_at_a_time(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest has some gigabytes: none may still be held when the next is read."""

    class Images(list[object]):  # a plain list takes no weak reference
        held = 0

        def __init__(self, items: list[object]) -> None:
            super().__init__(items)
            Images.held += 1

        def __del__(self) -> None:
            Images.held -= 1

    real = module.load_pickle
    most = []

    def counting(data: io.BufferedReader, what: str) -> object:
        most.append(Images.held)
        content = real(data, what)
        return Images(content) if isinstance(content, list) else content

    for reader in (module, tiered_labels):
        monkeypatch.setattr(reader, "load_pickle", counting)
    write(tmp_path / "tiered-imagenet", files)
    load(tmp_path)
    assert most == [0] * 6


def test_the_second_load_reads_no_pickle(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    write(tmp_path / "tiered-imagenet", files)
    first = load(tmp_path)
    monkeypatch.setattr(module, "load_pickle", None)
    second = load(tmp_path)
    assert (second.digest, second.found, second.partial) == (first.digest, first.found, first.partial)


# What is not all there


@pytest.mark.parametrize("shape", ["pickles", "folders", "ILSVRC"])
def test_an_incomplete_set_is_refused(shape: str, tmp_path: Path) -> None:
    write(tmp_path / "tiered-imagenet", SHAPES[shape][0]())
    with pytest.raises(
        DataError, match=r"holds 7 of 608 classes, 21 of 779,165 images of tiered-imagenet\. Complete it"
    ):
        load(tmp_path, allow_partial=False)


def test_the_published_number_of_images_is_complete() -> None:
    # Ren et al.'s images in each split, spread over its classes
    published = {"train": 448_695, "val": 124_261, "test": 206_209}
    counts = {}
    for split, names in read_class_lists("tiered-imagenet").items():
        share, rest = divmod(published[split], len(names))
        counts[split] = {name: share + (i < rest) for i, name in enumerate(names)}
    assert check_complete(module.TIERED_IMAGENET, counts, "here", False) is None
    counts["val"]["n02099601"] -= 1
    assert (
        check_complete(module.TIERED_IMAGENET, counts, "here", True) == "608 of 608 classes, 779,164 of 779,165 images"
    )


def numbered(start_again: bool = False) -> dict[str, bytes]:
    """As MetaOptNet gives them out: arrays, and lists of numbers that go on from split to split (or start again)."""
    files, first = arrays(), 0
    for split, classes in DESCRIBED.items():
        content = pickle.loads(files[f"{split}_labels.pkl"], encoding="latin1")
        labels = [first + int(label) for label in content["label_specific"]]
        files[f"{split}_labels.pkl"] = pickle.dumps({"labels": labels}, 2)
        first = 0 if start_again else first + len(classes)
    return files


@pytest.mark.parametrize("start_again", [False, True])
@pytest.mark.parametrize("texts", [(), ("class_names.txt", "synsets.txt")], ids=["with texts", "without"])
def test_labels_without_names_are_numbered_in_each_split(
    texts: tuple[str, ...], start_again: bool, tmp_path: Path
) -> None:
    files = {name: content for name, content in numbered(start_again).items() if name not in texts}
    write(tmp_path / "tiered-imagenet", files)
    dataset = load(tmp_path)
    bank, first = dataset.bank, 0
    for split, classes in DESCRIBED.items():
        names = [bank.class_names[c] for c in dataset.splits[split].classes[:, 0]]
        assert names == [f"{split} {first + i}" for i in range(len(classes))]
        for name, wnid in zip(names, classes, strict=True):
            start = bank.starts[bank.class_names.index(name)]
            for i in range(IMAGES):
                np.testing.assert_array_equal(bank.images[start + i].transpose(1, 2, 0), pixels(wnid, i))
        first = 0 if start_again else first + len(classes)
    assert dataset.partial == "7 of 608 classes, 21 of 779,165 images"
    assert dataset.found == (
        "arrays in tiered-imagenet, 21 images of 84x84; the labels are numbers without names, so that classes are "
        'called "train 0" and so on, and names do not tell whether splits share classes'
    )
    with pytest.raises(DataError, match=r"allow_partial = true.*train has 3 of 351 classes, val has 2 of 97"):
        load(tmp_path, allow_partial=False)


@pytest.mark.parametrize("labels", [{"labels": [-1] * 6}, {"labels": ["a"] * 6}, {"labels": []}, {"labels": [[1]] * 6}])
def test_numbers_that_are_none_are_refused(labels: object, tmp_path: Path) -> None:
    write(tmp_path / "tiered-imagenet", numbered() | {"val_labels.pkl": pickle.dumps(labels)})
    with pytest.raises(DataError, match=r"'val_labels.pkl' should hold numbers of classes \[N\] as labels"):
        load(tmp_path)


def torchmeta() -> dict[str, bytes]:
    return of_image_files(
        {
            split: {text: [png(wnid, i) for i in range(IMAGES)] for wnid, text in classes.items()}
            for split, classes in DESCRIBED.items()
        }
    )


def test_torchmetas_files_give_the_images_by_description(tmp_path: Path) -> None:
    write(tmp_path / "tieredimagenet", torchmeta())
    dataset = load(tmp_path)
    for split, classes in DESCRIBED.items():
        names = [dataset.bank.class_names[c] for c in dataset.splits[split].classes[:, 0]]
        assert sorted(names) == sorted(classes.values())
        for wnid, text in classes.items():
            start = dataset.bank.starts[dataset.bank.class_names.index(text)]
            for i in range(IMAGES):
                np.testing.assert_array_equal(dataset.bank.images[start + i].transpose(1, 2, 0), pixels(wnid, i))
    assert dataset.found == (
        "torchmeta's HDF5 files in tieredimagenet, 21 images of 84x84; classes are called by their descriptions"
    )


def test_the_archive_beside_torchmetas_files_is_read_instead(files: Files, tmp_path: Path) -> None:
    write(tmp_path / "tieredimagenet", torchmeta() | {"tiered-imagenet.tar": tarred(below("a", files), "")})
    assert load(tmp_path).found == "pickles in tieredimagenet/tiered-imagenet.tar, 21 images of 84x84"


def test_torchmetas_splits_may_share_no_class(tmp_path: Path) -> None:
    shared = torchmeta()
    shared |= {f"val_{kind}": shared[f"test_{kind}"] for kind in ("data.hdf5", "labels.json")}
    write(tmp_path / "tieredimagenet", shared)
    with pytest.raises(DataError, match="it has class 'banana' in 2 splits"):
        load(tmp_path)


def test_numbers_of_classes_and_images_are_compared_with_the_published_ones() -> None:
    def counted(train: int, images: int) -> dict[str, dict[str, int]]:
        counts = {s: {f"{s} {i}": 1000 for i in range(n)} for s, n in (("train", train), ("val", 97), ("test", 160))}
        counts["test"]["test 0"] += images - sum(n for classes in counts.values() for n in classes.values())
        return counts

    published = module.TIERED_IMAGENET
    assert check_complete(published, counted(351, 779_165), "here", False, named=False) is None
    assert check_complete(published, counted(350, 779_164), "here", True, named=False) == (
        "607 of 608 classes, 779,164 of 779,165 images"
    )
    for train, images, said in [
        (352, 779_165, "here is not tiered-imagenet: it has 352 classes in train, not 351"),
        (351, 779_166, "here is not tiered-imagenet: it has 779,166 images, not 779,165"),
        (0, 779_165, "here holds 257 of 608 classes.* without any class of train it cannot be used"),
    ]:
        with pytest.raises(DataError, match=said):
            check_complete(published, counted(train, images), "here", True, named=False)


def without(*names: str) -> Callable[[Files], Files]:
    return lambda files: {name: content for name, content in files.items() if name not in names}


def npz_only(files: Files) -> Files:
    renamed = {re.sub(r"_images_png\.pkl$", "_images.npz", name): content for name, content in files.items()}
    return {name: content for name, content in renamed.items() if name != "val_labels.pkl"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("synsets.txt"), "lacks synsets.txt."),
        (without("synsets.txt", "class_names.txt"), "lacks class_names.txt, synsets.txt."),
        (without("val_labels.pkl"), "lacks val_labels.pkl."),
        (without("test_images_png.pkl"), "lacks test_images_png.pkl."),
        (
            npz_only,
            "lacks val_labels.pkl.",
        ),
        (
            lambda files: {("x/" if name == "synsets.txt" else "") + name: content for name, content in files.items()},
            "has its files in more than one folder.",
        ),
        (lambda _: {"readme.txt": b""}, "not found: looked in "),
    ],
    ids=["one text", "both texts", "labels", "images", "npz", "two folders", "nothing"],
)
def test_missing_files_are_asked_for(change: Callable[[Files], Files], says: str, files: Files, tmp_path: Path) -> None:
    write(tmp_path / "tiered-imagenet", change(files))
    with pytest.raises(DataError) as refusal:
        load(tmp_path)
    text = str(refusal.value)
    assert says in text
    for part in (
        "tieredImageNet not found",
        str(tmp_path / "tiered-imagenet"),
        "class_names.txt",
        "ILSVRC",
        "--data-root",
    ):
        assert part in text


def test_an_empty_data_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"not found: nothing in {re.escape(str(tmp_path))} is named for it"):
        load(tmp_path)


# What means nothing, or two things


def relabelled(split: str, described: list[str]) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        content = pickle.loads(files[f"{split}_labels.pkl"], encoding="latin1")
        return {**files, f"{split}_labels.pkl": python_2_pickle({**content, "label_specific_str": described})}

    return change


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        assert old in files[name]
        return {**files, name: files[name].replace(old, new)}

    return change


def spoilt(name: str, key: str, value: object) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        content = pickle.loads(files[name], encoding="latin1")
        return {**files, name: python_2_pickle({**content, key: value})}

    return change


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made",)


def broken_png(files: Files) -> Files:
    images = pickle.loads(files["val_images_png.pkl"], encoding="latin1")
    images[4] = images[4][:-30]
    return {**files, "val_images_png.pkl": python_2_pickle(images)}


def fewer_images(files: Files) -> Files:
    images = pickle.loads(files["test_images_png.pkl"], encoding="latin1")
    return {**files, "test_images_png.pkl": python_2_pickle(images[1:])}


def images_as(value: object) -> Callable[[Files], Files]:
    return lambda files: {**files, "val_images_png.pkl": pickle.dumps(value, 2)}


UNUSABLE: dict[str, tuple[Callable[[Files], Files], str]] = {
    "described alike": (relabelled("val", ["golden retriever"] * 2), r"'val_labels.pkl': 'golden retriever' means"),
    "two synsets described alike": (
        replaced("class_names.txt", b"banana", b"tench, Tinca tinca"),
        r"'test_labels.pkl': 'banana' is by class_names.txt and synsets.txt no class of split test",
    ),
    "ambiguous": (
        lambda f: replaced("class_names.txt", b"banana", b"fish")(
            replaced("class_names.txt", b"tench, Tinca tinca", b"fish")(relabelled("test", ["fish", "fish"])(f))
        ),
        r"'test_labels.pkl': 'fish' means more than one class of split test",
    ),
    "of another split": (relabelled("val", ["banana", "golden retriever"]), r"'banana' is by .* no class of split val"),
    "of no split": (
        relabelled("val", ["golden retriever", "Cardigan, Cardigan Welsh corgi"]),
        r"'Cardigan, Cardigan Welsh corgi' is by .* no class of split val",
    ),
    "lines": (replaced("synsets.txt", b"n01440764\n", b""), r"'class_names.txt' has 10 lines and 'synsets.txt' 9"),
    "labels beyond": (spoilt("train_labels.pkl", "label_specific", np.full(9, 3)), r"'train_labels.pkl' should hold"),
    "labels below": (spoilt("train_labels.pkl", "label_specific", np.full(9, -1)), r"'train_labels.pkl' should hold"),
    "no labels": (spoilt("train_labels.pkl", "label_specific", None), r"'train_labels.pkl' should hold numbers"),
    "labels of a table": (spoilt("val_labels.pkl", "label_specific", np.zeros((6, 1), int)), r"'val_labels.pkl' sho"),
    "descriptions of bytes": (
        lambda f: {**f, "val_labels.pkl": pickle.dumps(pickle.loads(f["val_labels.pkl"], encoding="bytes"))},
        r"'val_labels.pkl' should hold numbers of classes",
    ),
    "labels hostile": (
        lambda f: {**f, "val_labels.pkl": pickle.dumps(Hostile(), 2)},
        r"'val_labels.pkl' asks for \w+\.mkdir",
    ),
    "images hostile": (images_as(Hostile()), r"'val_images_png.pkl' asks for \w+\.mkdir"),
    "images cut short": (
        lambda f: {**f, "train_images_png.pkl": f["train_images_png.pkl"][:-99]},
        r"'train_images_png.pkl' is damaged or cut short",
    ),
    "one image broken": (broken_png, r"1 of 21 images cannot be read: 'val_images_png.pkl, image 4': "),
    "fewer images": (fewer_images, r"'test_images_png.pkl' has 5 images and its labels are 6"),
    "images no list": (images_as({"images": 1}), r"'val_images_png.pkl' should be a list of uint8 arrays"),
    "images decoded": (images_as([np.zeros((84, 84, 3))] * 6), r"'val_images_png.pkl' should be a list of uint8"),
}  # fmt: skip


def numbered_only(files: Files) -> Files:
    """As MetaOptNet gives the labels out: as numbers without names."""
    content = pickle.loads(files["train_labels.pkl"], encoding="latin1")
    return {**files, "train_labels.pkl": pickle.dumps({"labels": content["label_specific"].tolist()}, 2)}


def npz(name: str, **members: object) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        out = io.BytesIO()
        np.savez(out, **members)  # type: ignore[arg-type]
        return {**arrays(), name: out.getvalue()}

    return change


WEB_PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"
BLACK = np.zeros((6, 84, 84, 3), np.uint8)
UNUSABLE |= {
    "labels without names": (numbered_only, r"'train_labels.pkl' has numbers of classes and not their names"),
    "arrays of another size": (
        npz("val_images.npz", images=BLACK[:, :80]),
        r"'val_images.npz' should hold uint8 images \[N, 84, 84, 3\], not uint8 \[6, 80, 84, 3\]",
    ),
    "arrays of floats": (npz("val_images.npz", images=BLACK / 1.0), r"'val_images.npz' should hold uint8 images"),
    "arrays by columns": (
        npz("val_images.npz", images=np.asfortranarray(BLACK)),
        r"'val_images.npz' should hold uint8",
    ),
    "fewer in the array": (
        npz("val_images.npz", images=BLACK[1:]),
        r"'val_images.npz' has 5 images and its labels are 6",
    ),
    "more in the array": (
        npz("test_images.npz", images=np.zeros((7, 84, 84, 3), np.uint8)),
        r"has 7 images and its labels are 6",
    ),
    "another key": (npz("val_images.npz", pixels=BLACK), r"'val_images.npz' should hold an array called images"),
    "pickled array": (
        npz("val_images.npz", images=np.array([Hostile()] * 6)),
        r"'val_images.npz' should hold uint8 images",
    ),
    "array cut short": (
        lambda f: {**arrays(), "val_images.npz": arrays()["val_images.npz"][:-999]},
        r"'val_images.npz' is damaged",
    ),
    "web page for an array": (lambda f: {**arrays(), "val_images.npz": WEB_PAGE}, r"'val_images.npz' is a web page"),
    "web page for a pickle": (
        lambda f: {**f, "val_labels.pkl": WEB_PAGE},
        r"'val_labels.pkl' is a web page, not the data",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_refused_by_name(
    case: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    change, says = UNUSABLE[case]
    write(tmp_path / "tiered-imagenet", change(files))
    with pytest.raises(DataError, match=says) as refusal:
        load(tmp_path)
    assert str(tmp_path / "tiered-imagenet") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not any(tmp_path.glob("cache/*"))


@pytest.mark.parametrize(("name", "make"), [("a.tar.gz", tarred), ("a.zip", zipped)])
def test_a_damaged_archive_is_refused_by_name(
    name: str, make: Callable[[Files], bytes], files: Files, tmp_path: Path
) -> None:
    data = bytearray(make(files))
    data[len(data) // 3] ^= 255
    write(tmp_path / "tiered-imagenet", {name: bytes(data)})
    with pytest.raises(DataError, match=rf"{re.escape(name)}.* is damaged or cut short"):
        load(tmp_path)


def test_a_class_in_the_folder_of_another_split_is_refused(tmp_path: Path) -> None:
    tree = split_folders() | {"val/n01440764/a.png": png("n01440764", 0)}
    write(tmp_path / "tiered-imagenet", tree)
    with pytest.raises(DataError, match=r"n01440764 of val \(belongs to test\)"):
        load(tmp_path)


def test_the_splits_tell_the_published_ambiguous_names_apart() -> None:
    lists = read_class_lists("tiered-imagenet")
    every = {name for split in SPLIT_NAMES for name in lists[split]}
    assert {"n02012849", "n03710721"} <= set(lists["train"])
    assert not every & {"n03126707", "n03710637"}
