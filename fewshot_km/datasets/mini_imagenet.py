"""mini-ImageNet in every shape in which people have it; Ravi & Larochelle's classes, 84x84 as in MAML's code."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fewshot_km.datasets.bank_cache import Prepared, announce, bank_from_files, prepare, write_bank
from fewshot_km.datasets.base import DATASETS, Dataset
from fewshot_km.datasets.file_trees import FileTree
from fewshot_km.datasets.image_files import ImageForm, image_suffixes
from fewshot_km.datasets.locating import find_trees, place_name
from fewshot_km.datasets.published import (
    Published,
    SplitFiles,
    check_complete,
    class_folders,
    class_names,
    count_images,
    folder_of,
    images_among,
    merged,
    split_folders,
)
from fewshot_km.datasets.safe_pickle import load_pickle
from fewshot_km.datasets.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error

MINI_IMAGENET = Published("mini-imagenet", 600, 60_000)
FORM = ImageForm(84)  # MAML's code resizes with Lanczos, the ratio of the sides not kept
RECIPE = f"mini-imagenet 1: {FORM}"  # change it with the reading: older caches are then left alone

PICKLES = re.compile(
    r"(?:mini-imagenet-cache-(train|val|validation|test)|miniImageNet_category_split_(train_phase_train|val|test))"
    r"\.(?:pkl|pickle)"
)
CSV_LIMIT = 1 << 26  # bytes; the largest has 1.2 million
CSV_FILES = {split: f"{split}.csv" for split in SPLIT_NAMES}

SHAPES = (
    "the pickles mini-imagenet-cache-{train,val,test}.pkl or miniImageNet_category_split_*.pickle; "
    "train.csv, val.csv and test.csv with a folder images/ or an ILSVRC train tree; "
    "folders train/, val/ and test/ of class folders; or a zip or tar archive of these"
)


@DATASETS.register("mini-imagenet")
def mini_imagenet(data_root: Path, *, allow_partial: bool = False) -> Dataset:
    """mini-ImageNet: 64/16/20 classes of Ravi & Larochelle, 84x84; from pickles, images + csv, class folders, archives.

    `allow_partial`: whether classes or images may be missing; off because accuracies are then comparable to nothing.
    Raises DataError where it is not found, damaged or incomplete.
    """
    trees = find_trees(data_root, "mini-imagenet", _belongs, MINI_IMAGENET.is_other_synset)
    recipe = f"{RECIPE}, partial {allow_partial}"
    return announce(
        "mini-imagenet", prepare("mini-imagenet", recipe, trees, lambda: _read(data_root, trees, allow_partial))
    )


def _belongs(name: str) -> bool:
    return name in (*CSV_FILES.values(), *SPLIT_NAMES) or PICKLES.fullmatch(name) is not None


def _read(data_root: Path, trees: Sequence[FileTree], allow_partial: bool) -> Prepared:
    for tree in trees:
        where = place_name(tree, data_root)
        pickles = find_pickles(tree.names)
        if pickles:
            return _from_pickles(tree, pickles, where, allow_partial)
        found = find_images(tree, trees)
        if found:
            kind, files = found
            partial = check_complete(MINI_IMAGENET, count_images(files), f"{tree} ({kind})", allow_partial)
            bank, done = bank_from_files("mini-imagenet", tree, merged(files), FORM)
            return Prepared(bank, class_names(files), f"{kind} in {where}, {done}", partial)
    looked = f"looked in {', '.join(map(str, trees))}" if trees else f"nothing in {data_root} is named for it"
    raise DataError(
        f"mini-ImageNet not found: {looked}. Put into {data_root / 'mini-imagenet'} {SHAPES}; "
        "--data-root names another data root"
    )


def find_images(tree: FileTree, trees: Sequence[FileTree]) -> tuple[str, SplitFiles] | None:
    """What shape the image files of a tree have, and the files; None where they have none that is known.

    The csv files may lie in the tree or, for an archive of images, in one of the other trees.
    """
    suffixes = image_suffixes()
    if not images_among(tree.names, suffixes):
        return None
    holder = next((holder for holder in (tree, *trees) if find_tables(holder)), None)
    tables = find_tables(holder) if holder else None
    listed = {split: read_table(holder, name) for split, name in tables.items()} if holder and tables else {}
    folders = split_folders(tree.names, suffixes)
    apart = folders and len(merged(folders)) == sum(map(len, folders.values()))  # not so in ILSVRC's train/ and val/
    shapes = [
        ("image files named in the csv files", by_name(listed, tree.names)),
        ("class folders under train/, val/ and test/", folders if apart else None),
        ("ILSVRC train tree, images numbered in the csv files,", by_number(listed, tree.names, suffixes)),
        ("class folders under train/, val/ and test/", folders),
    ]
    return next(((kind, files) for kind, files in shapes if files), None)


def find_tables(tree: FileTree) -> dict[str, str] | None:
    """train.csv, val.csv and test.csv, all in one folder of the tree; None where they are not."""
    folder = folder_of(tree.names, list(CSV_FILES.values()))
    return None if folder is None else {split: folder + file for split, file in CSV_FILES.items()}


def read_table(tree: FileTree, name: str) -> list[tuple[str, str]]:
    """The (file name, class) pairs of one csv file with the columns filename and label; raises DataError."""
    try:
        reader = csv.DictReader(io.StringIO(tree.read_one(name, CSV_LIMIT).decode("utf-8-sig")), strict=True)
        return [(row["filename"], row["label"]) for row in reader]
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{tree}: '{name}' is no csv file with the columns filename and label: {describe_error(error)}"
        ) from error


def by_name(listed: Mapping[str, Sequence[tuple[str, str]]], names: Sequence[str]) -> SplitFiles | None:
    """The listed files that are there, wherever in the tree; None where there is none."""
    place = {name.rpartition("/")[2]: name for name in names}
    return _grouped(
        (split, wnid, place[file]) for split, rows in listed.items() for file, wnid in rows if file in place
    )


def by_number(
    listed: Mapping[str, Sequence[tuple[str, str]]], names: Sequence[str], suffixes: frozenset[str]
) -> SplitFiles | None:
    """The listed images in a tree of ILSVRC's own files; None where there is none.

    In the lists, n0153282900000005.jpg is the fifth image of class n01532829 by the numbers in ILSVRC's file names
    (n01532829_1098.JPEG), counted from one, as in Liu's mini-imagenet-tools, which remake the data set from ImageNet.
    """
    numbered = {}
    for wnid, files in class_folders(names, suffixes).items():
        stems = {file: PurePosixPath(file).stem.rpartition("_") for file in files}
        if all(of == wnid and _NUMBER.fullmatch(number) for of, _, number in stems.values()):
            numbered[wnid] = sorted(files, key=lambda file: int(stems[file][2]))
    return _grouped(
        (split, wnid, numbered[wnid][position - 1])
        for split, rows in listed.items()
        for file, wnid in rows
        for position in [_position(file, wnid)]
        if 0 < position <= len(numbered.get(wnid, ()))
    )


_NUMBER = re.compile("[0-9]{1,18}")


def _position(file: str, wnid: str) -> int:
    number = PurePosixPath(file).stem.removeprefix(wnid)
    return int(number) if _NUMBER.fullmatch(number) else 0


def _grouped(found: Iterable[tuple[str, str, str]]) -> SplitFiles | None:
    files: dict[str, dict[str, list[str]]] = {}
    for split, wnid, name in found:
        files.setdefault(split, {}).setdefault(wnid, []).append(name)
    return files or None


def find_pickles(names: Sequence[str]) -> dict[str, str]:
    """Split -> the pickle that holds it; those of training images held out from training are not used."""
    found = {}
    for name in names:
        match = PICKLES.fullmatch(PurePosixPath(name).name)
        if match:
            split = match[1] or match[2]
            found[{"train_phase_train": "train", "validation": "val"}.get(split, split)] = name
    return found


def _from_pickles(tree: FileTree, pickles: Mapping[str, str], where: str, allow_partial: bool) -> Prepared:
    """Both layouts, one split in memory at a time."""
    positions: dict[str, dict[str, npt.NDArray[np.int64]]] = {}
    for split, name in pickles.items():
        positions[split] = read_pickle(tree, name)[1]
    counts = {split: {wnid: len(rows) for wnid, rows in classes.items()} for split, classes in positions.items()}
    partial = check_complete(MINI_IMAGENET, counts, f"{tree} (pickles)", allow_partial)
    sizes = {wnid: count for classes in counts.values() for wnid, count in classes.items()}
    names = sorted(sizes)
    first = dict(zip(names, np.cumsum([0] + [sizes[n] for n in names]).tolist(), strict=False))

    def images() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for split, name in pickles.items():
            pixels = read_pickle(tree, name)[0]
            for wnid, rows in positions[split].items():
                for i, row in enumerate(rows):
                    yield first[wnid] + i, pixels[row].transpose(2, 0, 1)

    bank = write_bank("mini-imagenet", names, [sizes[n] for n in names], FORM.shape, images())
    lists = {split: sorted(positions[split]) for split in SPLIT_NAMES}
    return Prepared(bank, lists, f"pickles in {where}, {sum(sizes.values()):,} images of 84x84", partial)


def read_pickle(tree: FileTree, name: str) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[np.int64]]]:
    """Images uint8 [N, 84, 84, 3] and, per class, the rows that hold it, rising; raises DataError."""
    what = f"{tree}: '{name}'"
    with tree.open(name) as file:
        content = load_pickle(file, what)
    try:
        assert isinstance(content, dict)
        if "image_data" in content:
            pixels = content["image_data"]
            classes = {str(wnid): np.sort(np.asarray(rows, np.int64)) for wnid, rows in content["class_dict"].items()}
        else:
            pixels = np.asarray(content["data"])
            labels = np.asarray(content["labels"], np.int64)
            classes = {str(wnid): np.flatnonzero(labels == i) for wnid, i in content["catname2label"].items()}
            classes = {wnid: rows for wnid, rows in classes.items() if len(rows)}
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (FORM.size, FORM.size, FORM.channels)
        assert all(rows.ndim == 1 and rows.min() >= 0 and rows.max() < len(pixels) for rows in classes.values())
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{what} is no mini-ImageNet pickle: it should hold uint8 images [N, 84, 84, 3] as image_data with "
            f"class_dict, or as data with labels and catname2label ({describe_error(error)})"
        ) from error
    return pixels, classes
