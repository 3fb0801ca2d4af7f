"""mini-ImageNet in every layout in which people have it; Ravi & Larochelle's classes, 84x84 as in MAML's code."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.locating import find_trees
from fewshot_km.data.files.names import by_original_name, original_name
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm, images_among
from fewshot_km.data.layouts.image_files import (
    CSV_FILES,
    SplitFiles,
    Tables,
    by_name,
    by_synset,
    class_folders,
    grouped,
    image_layout,
    is_other_synset,
    read_tables,
    split_folders,
    synset_of,
)
from fewshot_km.data.layouts.published import Layout, Published, all_classes, bank_from_pixels, load_published
from fewshot_km.data.layouts.torchmeta import FILES as HDF5_FILES
from fewshot_km.data.layouts.torchmeta import find_hdf5_layout
from fewshot_km.data.pickles import load_pickle
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error

FORM = ImageForm(84)  # MAML's code resizes with Lanczos, the ratio of the sides not kept
MINI_IMAGENET = Published("mini-imagenet", "mini-ImageNet", f"mini-imagenet 2: {FORM}", 60_000, 600)

PICKLES = re.compile(
    r"(?:mini-imagenet-cache-(train|val|validation|test)|miniImageNet_category_split_(train_phase_train|val|test))"
    r"\.(?:pkl|pickle)"
)

LAYOUTS = (
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
    trees = find_trees(data_root, "mini-imagenet", _belongs, partial(is_other_synset, MINI_IMAGENET))
    layouts = (
        find_pickle_layout,
        lambda tree: find_hdf5_layout(tree, "mini-imagenet", FORM, files=False),
        lambda tree: find_images(tree, trees),
    )
    advice = f"Put into {data_root / 'mini-imagenet'} {LAYOUTS}"
    return load_published(MINI_IMAGENET, data_root, trees, layouts, allow_partial, advice)


def _belongs(name: str) -> bool:
    bare = original_name(name)
    named = (*CSV_FILES.values(), *SPLIT_NAMES, *(file for pair in HDF5_FILES.values() for file in pair))
    return bare in named or PICKLES.fullmatch(bare) is not None or synset_of(name) in MINI_IMAGENET.owner


def find_images(tree: FileTree, trees: Sequence[FileTree]) -> Layout | None:
    """The image files of a tree; None where they are in no known layout.

    The csv files may lie in the tree or, for an archive of images, in one of the other trees.
    """
    if not images_among(tree.names):
        return None
    tables = read_tables((tree, *trees))
    folders = split_folders(tree.names)
    apart = folders and len(all_classes(folders)) == sum(map(len, folders.values()))  # not ILSVRC's train/ and val/
    unused = ", named by none of the csv files," if tables else ""
    kinds = [
        ("image files named in the csv files", by_name(tables, tree.names)),
        ("class folders under train/, val/ and test/", folders if apart else None),
        ("ILSVRC train tree, images numbered in the csv files,", by_number(tables, tree.names)),
        ("class folders under train/, val/ and test/", folders),
        (f"images{unused} split by the frozen class lists", by_synset(MINI_IMAGENET, tree.names)),
    ]
    return next((image_layout(MINI_IMAGENET, kind, tree, files, FORM) for kind, files in kinds if files), None)


def by_number(tables: Tables, names: Sequence[str]) -> SplitFiles | None:
    """Find the listed images in a tree of ILSVRC's own files; None where there is none.

    In the lists, n0153282900000005.jpg is the fifth image of class n01532829 by the numbers in ILSVRC's file names
    (n01532829_1098.JPEG), counted from one, as in Liu's mini-imagenet-tools, which remake the data set from ImageNet.
    """
    numbered = {}
    for wnid, files in class_folders(names).items():
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
    """Find the pickle of each split; pickles of further images of training classes are not used."""
    found = {}
    for original, name in sorted(by_original_name(names).items(), key=lambda item: item[0] == item[1]):  # copies first
        match = PICKLES.fullmatch(original.rpartition("/")[2])
        if match:
            split = match[1] or match[2]
            found[{"train_phase_train": "train", "validation": "val"}.get(split, split)] = name
    return found


def find_pickle_layout(tree: FileTree) -> Layout | None:
    """Pickles of one split each, in either of two layouts, one in memory at a time; None where there are none."""
    pickles = find_pickles(tree.names)
    rows = {split: read_pickle(tree, name)[1] for split, name in pickles.items()}
    counts = {split: {wnid: len(own) for wnid, own in classes.items()} for split, classes in rows.items()}

    def pixels() -> Iterator[tuple[str, int, npt.NDArray[np.uint8]]]:
        for split, name in pickles.items():
            images = read_pickle(tree, name)[0]
            for wnid, own in rows[split].items():
                yield from ((wnid, position, images[row]) for position, row in enumerate(own))

    build = partial(bank_from_pixels, "mini-imagenet", counts, pixels(), FORM.size)
    return Layout("pickles", counts, build) if pickles else None


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
