"""tieredImageNet, Ren et al.'s 608 classes of ImageNet: as pickles, arrays, HDF5 or image files; 84x84."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.cache import write_bank
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.locating import find_trees
from fewshot_km.data.files.names import find_together, original_name
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import bank_from_images, images_among
from fewshot_km.data.layouts.image_arrays import read_npz
from fewshot_km.data.layouts.image_files import (
    CSV_FILES,
    by_name,
    by_synset,
    class_folders,
    image_layout,
    is_other_synset,
    read_tables,
    split_folders,
    synset_of,
)
from fewshot_km.data.layouts.published import Layout, all_classes, load_published
from fewshot_km.data.layouts.torchmeta import find_hdf5_layout
from fewshot_km.data.pickles import load_pickle
from fewshot_km.data.readers.tiered_labels import (
    FORM,
    LABELS,
    NAMES,
    SYNSETS,
    TIERED_IMAGENET,
    is_numbered,
    read_labels,
)
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError

IMAGES = {split: f"{split}_images_png.pkl" for split in SPLIT_NAMES}
ARRAYS = {split: f"{split}_images.npz" for split in SPLIT_NAMES}
DESCRIBING = (*LABELS.values(), NAMES, SYNSETS)
PREFIX = "tiered-imagenet-"  # what the files' names begin with where they are offered one by one
NUMBERED = (
    'the labels are numbers without names, so that classes are called "train 0" and so on, and names do not tell '
    "whether splits share classes"
)

LAYOUTS = (
    "the pickles {train,val,test}_images_png.pkl, or {train,val,test}_images.npz, and {train,val,test}_labels.pkl "
    "with class_names.txt and synsets.txt, or with labels that are numbers, as MetaOptNet gives them out; torchmeta's "
    "{train,val,test}_data.hdf5 with {train,val,test}_labels.json; folders train/, val/ and test/ of class folders "
    "(n01530575); an ILSVRC train tree of class folders; image files with train.csv, val.csv and test.csv, or named "
    "for their class (n01530575_4.JPEG); or a zip or tar archive of one of these"
)


@DATASETS.register("tiered-imagenet")
def tiered_imagenet(data_root: Path, *, allow_partial: bool = False) -> Dataset:
    """tieredImageNet: 351/97/160 classes of Ren et al., 84x84; from their pickles, class folders, an ILSVRC train tree.

    `allow_partial`: whether classes or images may be missing; off because accuracies are then comparable to nothing.
    Raises DataError where it is not found, damaged or incomplete. Images from pickles and those resized here from
    ILSVRC's differ in their pixels, and so in the data set's digest.
    """
    trees = find_trees(data_root, "tiered-imagenet", _belongs, partial(is_other_synset, TIERED_IMAGENET))
    note = "classes are called by their descriptions"  # all that torchmeta keeps of their names
    layouts = (
        lambda tree: find_described(tree, "pickles", IMAGES),
        lambda tree: find_described(tree, "arrays", ARRAYS),
        lambda tree: find_images(tree, trees),
        lambda tree: find_hdf5_layout(tree, "tiered-imagenet", FORM, named=False, note=note),  # the archive lies beside
    )
    rest = "".join(map(describe_rest, trees))
    advice = f"{rest}Put into {data_root / 'tiered-imagenet'} {LAYOUTS}"
    return load_published(TIERED_IMAGENET, data_root, trees, layouts, allow_partial, advice)


def _belongs(name: str) -> bool:
    bare = original_name(name).removeprefix(PREFIX)
    known = (*IMAGES.values(), *ARRAYS.values(), *SPLIT_NAMES, *CSV_FILES.values())
    return bare in known or synset_of(name) in TIERED_IMAGENET.owner


def describe_rest(tree: FileTree) -> str:
    """Say, in a sentence, what is missing beside published files that cannot be read alone; "" without any."""
    there = {original_name(name.rpartition("/")[2]).removeprefix(PREFIX) for name in tree.names}
    images = IMAGES if there & {*IMAGES.values()} else ARRAYS
    if not there & {*images.values()}:
        return ""
    missing = ", ".join(file for file in (*images.values(), *DESCRIBING) if file not in there)
    return f"{tree} lacks {missing}. " if missing else f"{tree} has its files in more than one folder. "


def find_images(tree: FileTree, trees: Sequence[FileTree]) -> Layout | None:
    """The image files of a tree; None where they are in no known layout.

    The csv files may lie in the tree or, for an archive of images, in one of the other trees.
    """
    if not images_among(tree.names):
        return None
    classes = {name: files for name, files in class_folders(tree.names).items() if name in TIERED_IMAGENET.owner}
    kind, files = "class folders under train/, val/ and test/", split_folders(tree.names)
    if not files:
        kind, files = "class folders of an ILSVRC train tree", TIERED_IMAGENET.in_splits(classes)
    if not files:
        kind, files = "image files named in the csv files", by_name(read_tables((tree, *trees)), tree.names)
    if not files:
        kind, files = "images split by the frozen class lists", by_synset(TIERED_IMAGENET, tree.names)
    return image_layout(TIERED_IMAGENET, kind, tree, files, FORM) if files else None


def find_described(tree: FileTree, kind: str, images: Mapping[str, str]) -> Layout | None:
    """Published files of images with those that describe them; None where not all are together.

    Labels that are numbers alone need no texts that describe them. Raises DataError where the labels are damaged.
    """
    given = _find_files(tree, images)
    if given is None:
        return None
    class_of, numbered = read_labels(tree, given)
    counts = {
        split: {str(wnid): int(n) for wnid, n in zip(*np.unique(class_of[split], return_counts=True), strict=True)}
        for split in SPLIT_NAMES
    }
    order = np.argsort(np.concatenate(list(class_of.values())), kind="stable")  # as in the files within a class
    slots = np.empty_like(order)
    slots[order] = np.arange(len(order))
    ends = np.cumsum([len(wnids) for wnids in class_of.values()])
    parts = [(given[images[s]], own) for s, own in zip(SPLIT_NAMES, np.split(slots, ends[:-1]), strict=True)]

    def build() -> tuple[ImageBank, str]:
        sizes = all_classes(counts)
        if images is IMAGES:
            files = (file for name, own in parts for file in read_images(tree, name, own))
            return bank_from_images("tiered-imagenet", str(tree), sizes, files, FORM)
        pixels = (image for name, own in parts for image in read_pixels(tree, name, own))
        bank = write_bank("tiered-imagenet", list(sizes), list(sizes.values()), FORM.shape, pixels)
        return bank, f"{len(order):,} images of {FORM.size}x{FORM.size}"

    return Layout(kind, counts, build, named=not numbered, note=NUMBERED if numbered else "")


def _find_files(tree: FileTree, images: Mapping[str, str]) -> dict[str, str] | None:
    """Published name -> path."""
    for prefix in ("", PREFIX):
        for describing in (DESCRIBING, LABELS.values()):
            wanted = [*images.values(), *describing]
            found = find_together(tree.names, [prefix + file for file in wanted])
            if found and (NAMES in wanted or is_numbered(tree, found[prefix + LABELS["train"]])):
                return {file: found[prefix + file] for file in wanted}
    return None


def read_images(tree: FileTree, name: str, slots: npt.NDArray[np.int64]) -> Iterator[tuple[tuple[int, str], bytes]]:
    """Yield the PNG files of one pickle, with their places in the bank, `slots`, and names; raises DataError.

    A function of its own, so that one pickle is let go before the next is read.
    """
    with tree.open(name) as file:
        files = load_pickle(file, f"{tree}: '{name}'")
    if not isinstance(files, list) or not all(isinstance(png, np.ndarray) and png.dtype == np.uint8 for png in files):
        raise DataError(f"{tree}: '{name}' should be a list of uint8 arrays, a PNG file in each; fetch it again")
    if len(files) != len(slots):
        raise DataError(
            f"{tree}: '{name}' has {len(files):,} images and its labels are {len(slots):,}; fetch both again"
        )
    for i, (slot, png) in enumerate(zip(slots.tolist(), files, strict=True)):
        yield (slot, f"{name}, image {i}"), png.tobytes()


def read_pixels(tree: FileTree, name: str, slots: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Yield the images of one array as uint8 [3, 84, 84], with their places in the bank, `slots`; raises DataError.

    Ren et al.'s code makes the arrays of the PNG files by cv2.imdecode (decompress in their compress_tiered_
    imagenet.py), which puts blue first; few-shot-meta-baseline, which reads MetaOptNet's copy with numbers for labels,
    turns them round in the same way.
    """
    images = read_npz(tree, name, "images", len(slots), FORM.size)
    for slot, image in zip(slots.tolist(), images, strict=True):
        yield slot, image[..., ::-1].transpose(2, 0, 1)
