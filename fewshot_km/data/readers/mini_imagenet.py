"""mini-ImageNet in every shape in which people have it; Ravi & Larochelle's classes, 84x84 as in MAML's code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fewshot_km.data.cache import Prepared, announce, bank_from_files, prepare
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.file_names import by_original_name, original_name
from fewshot_km.data.files.locating import find_trees, place_name
from fewshot_km.data.files.tree_contents import describe_places
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm, image_suffixes
from fewshot_km.data.layouts.image_tables import CSV_FILES, Tables, by_name, grouped, read_tables
from fewshot_km.data.layouts.published import (
    Published,
    SplitFiles,
    check_complete,
    class_folders,
    class_names,
    count_images,
    images_among,
    merged,
    split_folders,
)
from fewshot_km.data.layouts.published_pixels import Pixels, prepare_pixels
from fewshot_km.data.layouts.synsets import by_synset, synset_of
from fewshot_km.data.layouts.torchmeta_files import FILES as TORCHMETA_FILES
from fewshot_km.data.layouts.torchmeta_files import count_labelled, find_torchmeta, read_arrays
from fewshot_km.data.pickles import load_pickle
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error

MINI_IMAGENET = Published("mini-imagenet", 600, 60_000)
FORM = ImageForm(84)  # MAML's code resizes with Lanczos, the ratio of the sides not kept
ARRAY = (FORM.size, FORM.size, FORM.channels)  # of one of torchmeta's images
RECIPE = f"mini-imagenet 2: {FORM}"  # change it with the reading: older caches are then left alone

PICKLES = re.compile(
    r"(?:mini-imagenet-cache-(train|val|validation|test)|miniImageNet_category_split_(train_phase_train|val|test))"
    r"\.(?:pkl|pickle)"
)

SHAPES = (
    "the pickles mini-imagenet-cache-{train,val,test}.pkl or miniImageNet_category_split_*.pickle; "
    "torchmeta's {train,val,test}_data.hdf5 with {train,val,test}_labels.json; "
    "train.csv, val.csv and test.csv with a folder images/ or an ILSVRC train tree; "
    "folders train/, val/ and test/ of class folders; class folders (n01532829) or files named for their class "
    "(n0153282900000005.jpg) without a split; or a zip or tar archive of these"
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
    bare = original_name(name)
    named = (*CSV_FILES.values(), *SPLIT_NAMES, *(file for pair in TORCHMETA_FILES.values() for file in pair))
    return bare in named or PICKLES.fullmatch(bare) is not None or synset_of(name) in MINI_IMAGENET.owner


def _read(data_root: Path, trees: Sequence[FileTree], allow_partial: bool) -> Prepared:
    for tree in trees:
        where = place_name(tree, data_root)
        pickles = find_pickles(tree.names)
        if pickles:
            return _from_pickles(tree, pickles, where, allow_partial)
        arrays = find_torchmeta(tree.names)
        if arrays:
            return _from_torchmeta(tree, arrays, where, allow_partial)
        found = find_images(tree, trees)
        if found:
            kind, files = found
            partial = check_complete(MINI_IMAGENET, count_images(files), f"{tree} ({kind})", allow_partial)
            bank, done = bank_from_files("mini-imagenet", tree, merged(files), FORM)
            return Prepared(bank, class_names(files), f"{kind} in {where}, {done}", partial)
    raise DataError(
        f"mini-ImageNet not found: {describe_places(data_root, trees, ['.csv'])}. "
        f"Put into {data_root / 'mini-imagenet'} {SHAPES}; --data-root names another data root"
    )


def find_images(tree: FileTree, trees: Sequence[FileTree]) -> tuple[str, SplitFiles] | None:
    """What shape the image files of a tree have, and the files; None where they have none that is known.

    The csv files may lie in the tree or, for an archive of images, in one of the other trees.
    """
    suffixes = image_suffixes()
    if not images_among(tree.names, suffixes):
        return None
    tables = read_tables((tree, *trees))
    folders = split_folders(tree.names, suffixes)
    apart = folders and len(merged(folders)) == sum(map(len, folders.values()))  # not so in ILSVRC's train/ and val/
    unused = ", named by none of the csv files," if tables else ""
    shapes = [
        ("image files named in the csv files", by_name(tables, tree.names)),
        ("class folders under train/, val/ and test/", folders if apart else None),
        ("ILSVRC train tree, images numbered in the csv files,", by_number(tables, tree.names, suffixes)),
        ("class folders under train/, val/ and test/", folders),
        (f"images{unused} split by the frozen class lists", by_synset(MINI_IMAGENET, tree.names, suffixes)),
    ]
    return next(((kind, files) for kind, files in shapes if files), None)


def by_number(tables: Tables, names: Sequence[str], suffixes: frozenset[str]) -> SplitFiles | None:
    """The listed images in a tree of ILSVRC's own files; None where there is none.

    In the lists, n0153282900000005.jpg is the fifth image of class n01532829 by the numbers in ILSVRC's file names
    (n01532829_1098.JPEG), counted from one, as in Liu's mini-imagenet-tools, which remake the data set from ImageNet.
    """
    numbered = {}
    for wnid, files in class_folders(names, suffixes).items():
        stems = {file: PurePosixPath(file).stem.rpartition("_") for file in files}
        if all(of == wnid and _NUMBER.fullmatch(number) for of, _, number in stems.values()):
            numbered[wnid] = sorted(files, key=lambda file: int(stems[file][2]))
    return grouped(
        (split, wnid, numbered[wnid][position - 1])
        for split, rows in tables.items()
        for file, wnid in rows
        for position in [_position(file, wnid)]
        if 0 < position <= len(numbered.get(wnid, ()))
    )


_NUMBER = re.compile("[0-9]{1,18}")


def _position(file: str, wnid: str) -> int:
    number = PurePosixPath(file).stem.removeprefix(wnid)
    return int(number) if _NUMBER.fullmatch(number) else 0


def find_pickles(names: Sequence[str]) -> dict[str, str]:
    """Split -> the pickle that holds it; those of training images held out from training are not used."""
    found = {}
    for original, name in sorted(by_original_name(names).items(), key=lambda item: item[0] == item[1]):  # copies first
        match = PICKLES.fullmatch(original.rpartition("/")[2])
        if match:
            split = match[1] or match[2]
            found[{"train_phase_train": "train", "validation": "val"}.get(split, split)] = name
    return found


def _from_pickles(tree: FileTree, pickles: Mapping[str, str], where: str, allow_partial: bool) -> Prepared:
    """Both layouts, one split in memory at a time."""
    rows = {split: read_pickle(tree, name)[1] for split, name in pickles.items()}
    counts = {split: {wnid: len(own) for wnid, own in classes.items()} for split, classes in rows.items()}

    def pixels() -> Iterator[tuple[str, int, npt.NDArray[np.uint8]]]:
        for split, name in pickles.items():
            images = read_pickle(tree, name)[0]
            for wnid, own in rows[split].items():
                yield from ((wnid, position, images[row]) for position, row in enumerate(own))

    return _from_pixels(tree, "pickles", where, counts, pixels(), allow_partial)


def _from_torchmeta(tree: FileTree, files: Mapping[str, tuple[str, str]], where: str, allow_partial: bool) -> Prepared:
    counts = {split: count_labelled(tree, data, labels, ARRAY) for split, (data, labels) in files.items()}
    pixels = (image for data, _ in files.values() for image in read_arrays(tree, data, ARRAY))
    return _from_pixels(tree, "torchmeta's HDF5 files", where, counts, pixels, allow_partial)


def _from_pixels(
    tree: FileTree, kind: str, where: str, counts: Mapping[str, Mapping[str, int]], pixels: Pixels, allow_partial: bool
) -> Prepared:
    return prepare_pixels(
        MINI_IMAGENET, f"{tree} ({kind})", counts, pixels, FORM.size, f"{kind} in {where}", allow_partial
    )


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
