"""mini-ImageNet in every shape: each must give the same bank, to the byte, made here from the images themselves."""

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fewshot_km.data import Dataset, ImageBank, load_dataset
from fewshot_km.data.files.trees import FolderTree
from fewshot_km.data.layouts.image_files import read_tables
from fewshot_km.data.layouts.published import check_complete
from fewshot_km.data.readers.mini_imagenet import MINI_IMAGENET, _position
from fewshot_km.data.splits import read_class_lists
from fewshot_km.errors import DataError
from tests.conftest import SHARED_DATA
from tests.support.made_files import below, encoded, tarred, write, zipped

Pixels = npt.NDArray[np.uint8]

# two classes of each split, by the official lists; positions in ILSVRC's folders as csv files number them
CLASSES = {
    "train": ["n01532829", "n13133613"],
    "val": ["n01855672", "n09256479"],
    "test": ["n01930112", "n07613480"],
}
POSITIONS = [1, 3, 4]
ILSVRC_NUMBERS = [7, 12, 100, 1098, 20002]  # of the files in a class's folder: sorted as text, 7 would come last


def draw(wnid: str, position: int, width: int = 84, height: int = 84) -> Pixels:
    """Noise that tells every image from every other."""
    return np.random.default_rng([int(wnid[1:]), position]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_name(wnid: str, position: int) -> str:
    return f"{wnid}{position:08d}.jpg"


def expected_bank() -> ImageBank:
    names = sorted(name for names in CLASSES.values() for name in names)
    return ImageBank.from_classes(names, [np.stack([draw(n, p).transpose(2, 0, 1) for p in POSITIONS]) for n in names])


def tables() -> dict[str, bytes]:
    return {
        f"{split}.csv": "".join(
            ["filename,label\n", *(f"{file_name(n, p)},{n}\n" for n in names for p in POSITIONS)]
        ).encode()
        for split, names in CLASSES.items()
    }


def flat() -> dict[str, bytes]:
    images = {
        f"images/{file_name(n, p)}": encoded(draw(n, p)) for names in CLASSES.values() for n in names for p in POSITIONS
    }
    return tables() | images


def class_folders(val: str = "val") -> dict[str, bytes]:
    return {
        f"{val if split == 'val' else split}/{n}/{file_name(n, p)}": encoded(draw(n, p))
        for split, names in CLASSES.items()
        for n in names
        for p in POSITIONS
    }


def numbered(name: str) -> str:
    """n01532829/n0153282900000003.jpg -> n01532829/n01532829_3.jpg, as ILSVRC calls its own."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file[:9]}_{int(file[9:17])}.jpg"


def ilsvrc(folder: str) -> dict[str, bytes]:
    """All of each class's images, and some of a class that is not in mini-ImageNet."""
    images = {
        f"{folder}/{n}/{n}_{number}.JPEG": encoded(draw(n, i + 1))
        for names in [*CLASSES.values(), ["n01440764"]]
        for n in names
        for i, number in enumerate(ILSVRC_NUMBERS)
    }
    return tables() | images


def cache_pickles(val: str, protocol: int) -> dict[str, bytes]:
    """As in few-shot-ssl-public: rows of a class need not lie together."""
    found = {}
    for split, names in CLASSES.items():
        rows = [(n, p) for p in POSITIONS for n in names]
        content = {
            "image_data": np.stack([draw(n, p) for n, p in rows]),
            "class_dict": {n: [i for i, (of, _) in enumerate(rows) if of == n] for n in names},
        }
        found[f"mini-imagenet-cache-{val if split == 'val' else split}.pkl"] = pickle.dumps(content, protocol)
    return found


def category_pickles() -> dict[str, bytes]:
    """As in MetaOptNet: labels go on from split to split, and some training images lie apart, held out."""
    found = {}
    label = {n: i for i, n in enumerate(n for names in CLASSES.values() for n in names)}
    for split, names in CLASSES.items():
        rows = [(n, p) for n in reversed(names) for p in POSITIONS]
        content = {
            "data": np.stack([draw(n, p) for n, p in rows]),
            "labels": [label[n] for n, _ in rows],
            "catname2label": {n: label[n] for n in names},
            "label2catname": {label[n]: n for n in names},
        }
        name = "train_phase_train" if split == "train" else split
        found[f"miniImageNet_category_split_{name}.pickle"] = pickle.dumps(content, 2)
        if split == "train":
            held_out = {**content, "data": 255 - content["data"]}  # type: ignore[operator]
            found["miniImageNet_category_split_train_phase_val.pickle"] = pickle.dumps(held_out, 2)
    return found


def unsplit(folder: str = "") -> dict[str, bytes]:
    """All classes side by side, and one that is not in mini-ImageNet."""
    known = {f"{folder}{name.partition('/')[2]}": content for name, content in class_folders().items()}
    return known | {f"{folder}n01440764/n0144076400000001.jpg": encoded(draw("n01440764", 1))}


def in_one_folder() -> dict[str, bytes]:
    return {f"images/{name.rpartition('/')[2]}": content for name, content in unsplit().items()}


def train_and_test_alone() -> dict[str, bytes]:
    """The classes of validation among those of training: the frozen lists must know better."""
    return {name.replace("val/", "train/"): content for name, content in class_folders().items()}


def rewritten(header: str, row: str) -> dict[str, bytes]:
    """The same tables, from what every line of the official ones holds."""
    return {
        f"{split}.csv": "".join(
            [header, *(row.format(file=file_name(n, p), label=n) for n in names for p in POSITIONS)]
        ).encode()
        for split, names in CLASSES.items()
    }


def easyfsl() -> dict[str, bytes]:
    """Its columns, ILSVRC's names, and its order of the rows, which is none."""
    images = {
        f"{n}/{n}_{7 * p}.JPEG": encoded(draw(n, p)) for names in CLASSES.values() for n in names for p in (1, 3, 4, 9)
    }
    listed = {
        f"{split}.csv": "".join(
            ["class_name,image_name\n", *(f"{n},{n}_{7 * p}.JPEG\n" for p in POSITIONS for n in names)]
        ).encode()
        for split, names in CLASSES.items()
    }
    return images | listed


def same_names_in_every_class() -> dict[str, bytes]:
    """Only the listed folder tells one 1.png from the next; copies of others lie beside."""
    classes = [n for names in CLASSES.values() for n in names]
    images = {f"images/{n}/{p}.png": encoded(draw(n, p)) for n in classes for p in POSITIONS}
    others = {f"thumbnails/{n}/{p}.png": encoded(draw(n, 50 + p)) for n in classes for p in POSITIONS}
    listed = {
        f"{split}.csv": "".join(
            ["filename,label\n", *(f"images/{n}/{p}.png,{n}\n" for n in names for p in POSITIONS)]
        ).encode()
        for split, names in CLASSES.items()
    }
    return images | others | listed


def torchmeta() -> dict[str, bytes]:
    """As torchmeta/datasets/miniimagenet.py writes them."""
    found = {}
    for split, names in CLASSES.items():
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            group = file.create_group("datasets")
            for n in reversed(names):
                group.create_dataset(n, data=np.stack([draw(n, p) for p in POSITIONS]))
        found[f"{split}_data.hdf5"] = out.getvalue()
        found[f"{split}_labels.json"] = json.dumps(names).encode()
    return found


def again(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a folder as a browser names them when it fetches them for a second time."""
    return {f"{Path(name).stem} (1){Path(name).suffix}": content for name, content in files.items()}


BY_LISTS = "images split by the frozen class lists in mini-imagenet"
BY_CSV = "image files named in the csv files in mini-imagenet"
SHAPES: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "pickles": (lambda: cache_pickles("val", 4), "pickles in mini-imagenet"),
    "pickles, validation, protocol 2": (lambda: cache_pickles("validation", 2), "pickles in mini-imagenet"),
    "the other pickles": (category_pickles, "pickles in mini-imagenet"),
    "images and csv": (flat, "image files named in the csv files in mini-imagenet"),
    "images in class folders and csv": (
        lambda: tables() | below("images", {k.partition("/")[2]: v for k, v in class_folders().items()}),
        "image files named in the csv files in mini-imagenet",
    ),
    "class folders": (class_folders, "class folders under train/, val/ and test/ in mini-imagenet"),
    "class folders, validation": (lambda: class_folders("validation"), "class folders under"),
    "ILSVRC": (lambda: ilsvrc("ILSVRC/Data/CLS-LOC/train"), "ILSVRC train tree, images numbered in the csv files,"),
    "ILSVRC with its validation images": (
        lambda: (
            ilsvrc("train") | {f"val/n01532829/ILSVRC2012_val_0000000{i}.JPEG": encoded(draw("n1", i)) for i in (1, 2)}
        ),
        "ILSVRC train tree",
    ),
    "class folders of numbered images, csv beside": (
        lambda: tables() | {numbered(k): v for k, v in class_folders().items()},
        "class folders under train/, val/ and test/ in mini-imagenet",
    ),
    "ILSVRC beside": (lambda: ilsvrc("train"), "ILSVRC train tree"),
    "zip of images and csv": (
        lambda: {"miniImagenet.zip": zipped(below("mini", flat()))},
        "image files named in the csv files in mini-imagenet/miniImagenet.zip",
    ),
    "zip of images, csv beside": (
        lambda: tables() | {"images.zip": zipped({k: v for k, v in flat().items() if k.startswith("images/")})},
        "image files named in the csv files in mini-imagenet/images.zip",
    ),
    "tar of images and csv": (lambda: {"a.tar": tarred(flat(), "")}, "image files named in the csv files"),
    "tar.gz of class folders": (lambda: {"a.tar.gz": tarred(class_folders(), "gz")}, "class folders under"),
    "zip of class folders": (lambda: {"a.zip": zipped(below("x/y", class_folders()))}, "class folders under"),
    "class folders without a split": (unsplit, BY_LISTS),
    "class folders without a split, deeper": (lambda: unsplit("data/images/"), BY_LISTS),
    "zip of class folders without a split": (lambda: {"a.zip": zipped(unsplit())}, f"{BY_LISTS}/a.zip"),
    "images in one folder, no csv": (in_one_folder, BY_LISTS),
    "class folders, no val/": (train_and_test_alone, BY_LISTS),
    "csv that names none": (
        lambda: unsplit() | rewritten("filename,label\n", "other-{file},{label}\n"),
        "images, named by none of the csv files, split by the frozen class lists in mini-imagenet",
    ),
    "csv with folders and blanks": (
        lambda: unsplit("images/") | rewritten("filename    , label\n", "{label}/{file} , {label}\n"),
        BY_CSV,
    ),
    "csv with backslashes": (lambda: unsplit() | rewritten("filename,label\n", "{label}\\{file},{label}\n"), BY_CSV),
    "csv with semicolons, a mark and CRLF": (
        lambda: in_one_folder() | rewritten("\ufefflabel;index;filename\r\n", "{label};1;{file}\r\n"),
        BY_CSV,
    ),
    "easyfsl's csv": (easyfsl, BY_CSV),
    "one name in every class": (same_names_in_every_class, BY_CSV),
    "torchmeta": (torchmeta, "torchmeta's HDF5 files in mini-imagenet, 18 images of 84x84"),
    "zip of torchmeta": (lambda: {"a.zip": zipped(below("miniimagenet", torchmeta()))}, "torchmeta's HDF5 files in"),
    "pickles fetched again": (lambda: again(cache_pickles("val", 4)), "pickles in mini-imagenet"),
    "csv fetched again": (lambda: again(tables()) | in_one_folder(), BY_CSV),
    "zip fetched again": (lambda: again({"mini.zip": zipped(flat())}), f"{BY_CSV}/mini (1).zip"),
    "tar.gz fetched again": (lambda: {"mini.tar (1).gz": tarred(flat())}, f"{BY_CSV}/mini.tar (1).gz"),
    "tar.xz of pickles": (lambda: {"a.txz": tarred(cache_pickles("val", 4), "xz")}, "pickles in mini-imagenet/a.txz"),
}


def load(data_root: Path, allow_partial: bool = True) -> Dataset:
    return load_dataset("mini-imagenet", data_root, {"allow_partial": allow_partial})


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_bank_and_is_said_aloud(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = SHAPES[shape]
    write(tmp_path / "mini-imagenet", make())
    dataset = load(tmp_path)
    assert dataset.bank.digest == expected_bank().digest
    assert np.array_equal(dataset.bank.images, expected_bank().images)
    for split, names in CLASSES.items():
        assert [dataset.bank.class_names[c] for c in dataset.splits[split].classes[:, 0]] == names
    assert dataset.partial == "6 of 100 classes, 18 of 60,000 images"
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("mini-imagenet: ") and "; " in line
    ]
    assert said in line
    assert "partial: 6 of 100 classes" in line


@pytest.mark.parametrize("folder", [".", "miniImagenet", "mini_imagenet", "MiniImageNet", "mini-imagenet (1)"])
@pytest.mark.parametrize("shape", ["images and csv", "class folders without a split", "torchmeta"])
def test_it_is_found_however_its_folder_is_called(shape: str, folder: str, tmp_path: Path) -> None:
    write(tmp_path / folder, SHAPES[shape][0]())
    assert load(tmp_path).bank.digest == expected_bank().digest


def test_a_file_comes_before_its_copies(tmp_path: Path) -> None:
    other = {name: content[:-99] for name, content in cache_pickles("val", 4).items()}
    for folder in ("a", "z"):  # wherever the copies lie
        copies = below(f"mini-imagenet/{folder}", again(other))
        write(tmp_path / folder, copies | below("mini-imagenet/m", cache_pickles("val", 4)))
        assert load(tmp_path / folder).bank.digest == expected_bank().digest


def test_an_archive_in_the_data_root_is_found_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, {"mini-imagenet-84.zip": zipped(class_folders()), "other.zip": b"not looked at"})
    assert load(tmp_path).bank.digest == expected_bank().digest


def test_original_images_are_resized_as_in_mamls_code(tmp_path: Path) -> None:
    files = {f"{split}/{n}/a.png": encoded(draw(n, 1, 100, 60)) for split, names in CLASSES.items() for n in names}
    write(tmp_path, files)
    dataset = load(tmp_path)
    for c, name in enumerate(dataset.bank.class_names):
        resized = Image.fromarray(draw(name, 1, width=100, height=60)).resize(
            (84, 84), resample=Image.Resampling.LANCZOS
        )
        assert np.array_equal(dataset.bank.images[c], np.asarray(resized).transpose(2, 0, 1))
    assert "6 images of 100x60, brought to 84x84" in dataset.found


def test_the_order_in_which_folders_are_listed_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    class Shuffled:
        def __init__(self, path: object) -> None:
            with real(path) as entries:  # type: ignore[call-overload]
                self.entries = list(entries)
            random.shuffle(self.entries)

        def __enter__(self) -> object:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    digests = set()
    for shape in ("images and csv", "class folders", "ILSVRC"):
        for attempt in range(3):
            root = tmp_path / f"{shape}{attempt}"
            write(root / "mini-imagenet", SHAPES[shape][0]())
            random.seed(attempt)
            with monkeypatch.context() as patch:
                patch.setattr(os, "scandir", Shuffled)
                digests.add(load(root).digest)
    assert len(digests) == 1


# What is not all there


def test_an_incomplete_set_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "mini-imagenet", class_folders())
    with pytest.raises(DataError, match=r"holds 6 of 100 classes, 18 of 60,000 images of mini-imagenet") as caught:
        load(tmp_path, allow_partial=False)
    text = str(caught.value)
    examples = text.partition(". For example, ")[2].split(", ")
    assert [example.partition(" lacks ")[0] for example in examples] == ["train", "val", "test"]
    for example in examples:
        split, _, name = example.partition(" lacks ")
        assert name in set(read_class_lists("mini-imagenet")[split]) - set(CLASSES[split])
    assert "allow_partial = true" in text.partition(". For example, ")[0]
    assert len(text) < 500


def complete() -> dict[str, dict[str, int]]:
    return {split: dict.fromkeys(names, 600) for split, names in read_class_lists("mini-imagenet").items()}


def test_a_complete_set_is_complete() -> None:
    assert check_complete(MINI_IMAGENET, complete(), "here", False) is None
    assert check_complete(MINI_IMAGENET, complete(), "here", True) is None


def test_one_missing_image_makes_a_set_partial() -> None:
    counts = complete()
    counts["val"]["n01855672"] = 599
    assert check_complete(MINI_IMAGENET, counts, "here", True) == "100 of 100 classes, 59,999 of 60,000 images"
    with pytest.raises(DataError, match=r"For example, n01855672 has 599 of 600 images$"):
        check_complete(MINI_IMAGENET, counts, "here", False)


def test_images_moved_between_classes_are_noticed() -> None:
    counts = complete()
    counts["val"]["n01855672"], counts["val"]["n09256479"] = 599, 601
    with pytest.raises(DataError, match=r"n01855672 has 599 of 600 images, n09256479 has 601 of 600 images"):
        check_complete(MINI_IMAGENET, counts, "here", False)


@pytest.mark.parametrize("allow_partial", [False, True])
def test_a_class_of_another_split_is_refused_in_any_case(allow_partial: bool, tmp_path: Path) -> None:
    files = class_folders()
    files["train/n01930112/a.jpg"] = files[f"test/n01930112/{file_name('n01930112', 1)}"]
    write(tmp_path, files)
    with pytest.raises(DataError, match=r"is not mini-imagenet.*n01930112 of train \(belongs to test\)"):
        load(tmp_path, allow_partial)


def test_a_class_of_another_data_set_is_refused(tmp_path: Path) -> None:
    files = {name.replace("n01532829", "tench"): content for name, content in class_folders().items()}
    write(tmp_path, files)
    with pytest.raises(DataError, match=r"tench of train \(unknown\)"):
        load(tmp_path)


def test_a_split_without_classes_cannot_be_used(tmp_path: Path) -> None:
    files = {n: c for n, c in flat().items() if not any(w in n for w in CLASSES["val"])}
    write(tmp_path, files)
    with pytest.raises(DataError, match="without any class of val it cannot be used"):
        load(tmp_path)


# What is wrong


def test_nothing_there_says_where_it_was_looked_for_and_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mini-ImageNet not found: .*train\.csv, val\.csv and test\.csv.*--data-root"):
        load(tmp_path)
    (tmp_path / "miniImageNet").mkdir()
    with pytest.raises(DataError, match=r"looked in .*miniImageNet \(empty\)"):
        load(tmp_path)


def test_what_was_seen_instead_is_said(tmp_path: Path) -> None:
    files = {f"{animal}/{i}.png": b"" for animal in ("ant", "bee", "cat", "dog") for i in range(5)}
    write(tmp_path / "mini-imagenet", files)
    with pytest.raises(DataError, match=r"mini-imagenet \(4 folders ant, bee, cat, \.\.\.; 20 \.png\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "mini-imagenet-cache-test.pkl", "mini-imagenet.tar.gz", "train.csv", "train_data.hdf5",
        "train/n01532829/n0153282900000001.jpg",
    ],
)  # fmt: skip
def test_a_web_page_is_called_one(name: str, tmp_path: Path) -> None:
    made = torchmeta() if name.endswith(".hdf5") else {} if name.endswith(".gz") else tables() | class_folders()
    page = b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"
    write(tmp_path / "mini-imagenet", made | {name: page})
    with pytest.raises(DataError, match=rf"mini-imagenet.*{name}'?:? (it )?is a web page") as caught:
        load(tmp_path)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"image_data": np.zeros((3, 84, 84), np.uint8), "class_dict": {"n01532829": [0]}}, "should hold uint8 images"),
        ({"image_data": np.zeros((3, 84, 84, 3)), "class_dict": {"n01532829": [0]}}, "should hold uint8 images"),
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n01532829": [3]}}, "should hold"),
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n01532829": [-1]}}, "should hold"),
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n01532829": []}}, "should hold"),
        ({"image_data": np.zeros((3, 84, 84, 3), np.uint8)}, "class_dict"),
        ([1, 2], "should hold"),
        ({"data": np.zeros((3, 84, 84, 3), np.uint8), "labels": ["a"], "catname2label": {}}, "should hold"),
        (print, "asks for builtins.print"),
    ],
)
def test_a_wrong_pickle_is_refused_by_name(content: object, says: str, tmp_path: Path) -> None:
    write(tmp_path, cache_pickles("val", 4) | {"mini-imagenet-cache-train.pkl": pickle.dumps(content)})
    with pytest.raises(DataError, match=rf"mini-imagenet-cache-train\.pkl.*{says}"):
        load(tmp_path)


def test_a_table_without_its_columns_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, flat() | {"val.csv": b"file,kind\na.jpg,n01855672\n"})
    with pytest.raises(DataError, match=r"'val\.csv' needs a first line with the columns file and class.*file, kind"):
        load(tmp_path)


# The real things


@pytest.fixture
def real_folder() -> Path:
    folder = SHARED_DATA / "mini-imagenet"
    if not (folder / "train.csv").is_file():
        pytest.skip(f"mini-ImageNet's csv files are not at {folder}")
    return folder


def test_the_official_csv_files_number_600_images_of_each_class(real_folder: Path) -> None:
    tree = FolderTree(real_folder)
    tables = read_tables([tree])
    for split, count in (("train", 64), ("val", 16), ("test", 20)):
        rows = tables[split]
        assert len(rows) == count * 600
        assert {wnid for _, wnid in rows} == set(read_class_lists("mini-imagenet")[split])
        positions = [(wnid, _position(file, wnid)) for file, wnid in rows]
        assert len(set(positions)) == len(rows)
        assert all(1 <= position <= 1300 for _, position in positions)  # no class of ILSVRC has more images


@pytest.mark.slow
def test_real_images_are_read_from_their_archive(real_folder: Path) -> None:
    (archive,) = real_folder.glob("*.zip")
    dataset = load(real_folder.parent)
    assert dataset.partial == "25 of 100 classes, 13,750 of 60,000 images"
    assert [len(dataset.splits[split].classes) for split in ("train", "val", "test")] == [14, 6, 5]
    with zipfile.ZipFile(archive) as members:
        names = sorted(name for name in members.namelist() if "/n02129165/" in name and name.endswith(".JPEG"))
        lions = dataset.bank.class_names.index("n02129165")
        for i in (0, 17, 549):
            image = (
                Image.open(io.BytesIO(members.read(names[i]))).convert("RGB").resize((84, 84), Image.Resampling.LANCZOS)
            )
            stored = dataset.bank.images[dataset.bank.starts[lions] + i]
            assert np.array_equal(stored, np.asarray(image).transpose(2, 0, 1))
