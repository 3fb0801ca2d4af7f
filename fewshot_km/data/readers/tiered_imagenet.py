"""tieredImageNet, Ren et al.'s 608 classes of ImageNet: as pickles, arrays, HDF5 or image files; 84x84."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fewshot_km.data.cache import Prepared, announce, bank_from_files, bank_from_images, prepare, write_bank
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.file_names import find_together, original_name
from fewshot_km.data.files.locating import find_trees, place_name
from fewshot_km.data.files.tree_contents import describe_places
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm, image_suffixes
from fewshot_km.data.layouts.image_arrays import read_npz
from fewshot_km.data.layouts.image_tables import CSV_FILES, by_name, read_tables
from fewshot_km.data.layouts.published import (
    SplitFiles,
    check_complete,
    check_numbers,
    class_folders,
    class_names,
    count_images,
    images_among,
    in_splits,
    merged,
    split_folders,
)
from fewshot_km.data.layouts.synsets import by_synset, synset_of
from fewshot_km.data.layouts.tiered_labels import (
    LABELS,
    NAMES,
    NUMBERED,
    SYNSETS,
    TIERED_IMAGENET,
    is_numbered,
    read_labels,
)
from fewshot_km.data.layouts.torchmeta_files import bank_from_hdf5, count_labelled, find_torchmeta
from fewshot_km.data.pickles import load_pickle
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError

FORM = ImageForm(84)  # the size of the published pickles, which their authors made with OpenCV's bicubic filter
RECIPE = f"tiered-imagenet 1: {FORM}"  # change it with the reading: older caches are then left alone

IMAGES = {split: f"{split}_images_png.pkl" for split in SPLIT_NAMES}
ARRAYS = {split: f"{split}_images.npz" for split in SPLIT_NAMES}
DESCRIBING = (*LABELS.values(), NAMES, SYNSETS)
PREFIX = "tiered-imagenet-"  # what the files' names begin with where they are offered one by one

SHAPES = (
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
    trees = find_trees(data_root, "tiered-imagenet", _belongs, TIERED_IMAGENET.is_other_synset)
    recipe = f"{RECIPE}, partial {allow_partial}"
    return announce(
        "tiered-imagenet", prepare("tiered-imagenet", recipe, trees, lambda: _read(data_root, trees, allow_partial))
    )


def _belongs(name: str) -> bool:
    bare = original_name(name).removeprefix(PREFIX)
    known = (*IMAGES.values(), *ARRAYS.values(), *SPLIT_NAMES, *CSV_FILES.values())
    return bare in known or synset_of(name) in TIERED_IMAGENET.owner


def _read(data_root: Path, trees: Sequence[FileTree], allow_partial: bool) -> Prepared:
    for tree in trees:
        where = place_name(tree, data_root)
        for images, kind in ((IMAGES, "pickles"), (ARRAYS, "arrays")):
            given = find_described(tree, images)
            if given:
                return _from_described(tree, given, images, f"{kind} in {where}", allow_partial)
        found = find_images(tree, trees)
        if found:
            kind, files = found
            partial = check_complete(TIERED_IMAGENET, count_images(files), f"{tree} ({kind})", allow_partial)
            bank, done = bank_from_files("tiered-imagenet", tree, merged(files), FORM)
            return Prepared(bank, class_names(files), f"{kind} in {where}, {done}", partial)
    for tree in trees:  # last: torchmeta leaves the archive beside, which has the WordNet ids too
        arrays = find_torchmeta(tree.names)
        if arrays:
            return _from_torchmeta(tree, arrays, place_name(tree, data_root), allow_partial)
    raise DataError(
        f"tieredImageNet not found: {describe_places(data_root, trees)}{''.join(map(describe_rest, trees))}. "
        f"Put into {data_root / 'tiered-imagenet'} {SHAPES}; --data-root names another data root"
    )


def find_described(tree: FileTree, images: Mapping[str, str]) -> dict[str, str] | None:
    """Published name -> path, of the images' files and those that describe them; None where not all are together.

    Labels that are numbers alone need no texts that describe them. Raises DataError where the labels are damaged.
    """
    for prefix in ("", PREFIX):
        for describing in (DESCRIBING, LABELS.values()):
            wanted = [*images.values(), *describing]
            found = find_together(tree.names, [prefix + file for file in wanted])
            if found and (NAMES in wanted or is_numbered(tree, found[prefix + LABELS["train"]])):
                return {file: found[prefix + file] for file in wanted}
    return None


def describe_rest(tree: FileTree) -> str:
    """What is missing beside published files that cannot be read alone, as the end of a sentence; "" without any."""
    there = {original_name(PurePosixPath(name).name).removeprefix(PREFIX) for name in tree.names}
    images = IMAGES if there & {*IMAGES.values()} else ARRAYS
    if not there & {*images.values()}:
        return ""
    missing = ", ".join(file for file in (*images.values(), *DESCRIBING) if file not in there)
    return f"; {tree} lacks {missing}" if missing else f"; {tree} has its files in more than one folder"


def find_images(tree: FileTree, trees: Sequence[FileTree]) -> tuple[str, SplitFiles] | None:
    """What shape the image files of a tree have, and the files; None where they have none that is known.

    The csv files may lie in the tree or, for an archive of images, in one of the other trees.
    """
    suffixes = image_suffixes()
    if not images_among(tree.names, suffixes):
        return None
    folders = split_folders(tree.names, suffixes)
    if folders:
        return "class folders under train/, val/ and test/", folders
    owner = TIERED_IMAGENET.owner
    classes = {name: files for name, files in class_folders(tree.names, suffixes).items() if name in owner}
    if classes:
        return "class folders of an ILSVRC train tree", in_splits(TIERED_IMAGENET, classes)
    listed = by_name(read_tables((tree, *trees)), tree.names)
    if listed:
        return "image files named in the csv files", listed
    named = by_synset(TIERED_IMAGENET, tree.names, suffixes)
    return ("images split by the frozen class lists", named) if named else None


def _from_described(
    tree: FileTree, given: Mapping[str, str], images: Mapping[str, str], found: str, allow_partial: bool
) -> Prepared:
    """One split's PNG files in memory at a time, and none of their pixels; or one image of an array."""
    class_of, numbered = read_labels(tree, given)
    counts = {
        split: {str(wnid): int(n) for wnid, n in zip(*np.unique(class_of[split], return_counts=True), strict=True)}
        for split in SPLIT_NAMES
    }
    check = check_numbers if numbered else check_complete
    partial = check(TIERED_IMAGENET, counts, f"{tree} ({found.partition(' ')[0]})", allow_partial)
    sizes = {wnid: n for classes in counts.values() for wnid, n in classes.items()}
    order = np.argsort(np.concatenate(list(class_of.values())), kind="stable")  # as in the files within a class
    slots = np.empty_like(order)
    slots[order] = np.arange(len(order))
    ends = np.cumsum([len(wnids) for wnids in class_of.values()])
    parts = list(zip(SPLIT_NAMES, np.split(slots, ends[:-1]), strict=True))

    def files() -> Iterator[tuple[tuple[int, str], bytes]]:
        for split, own in parts:
            yield from read_images(tree, given[images[split]], own)

    def arrays() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for split, own in parts:
            pixels = read_npz(tree, given[images[split]], "images", len(own), FORM.size)
            # Ren et al.'s code makes these of the PNG files by cv2.imdecode (decompress in their compress_tiered_
            # imagenet.py), which puts blue first; few-shot-meta-baseline, which reads MetaOptNet's copy with numbers
            # for labels, turns them round in the same way
            yield from (
                (slot, image[..., ::-1].transpose(2, 0, 1)) for slot, image in zip(own.tolist(), pixels, strict=True)
            )

    ordered = {wnid: sizes[wnid] for wnid in sorted(sizes)}
    if images is ARRAYS:
        bank = write_bank("tiered-imagenet", list(ordered), list(ordered.values()), FORM.shape, arrays())
        done = f"{len(order):,} images of {FORM.size}x{FORM.size}"
    else:
        bank, done = bank_from_images("tiered-imagenet", str(tree), ordered, files(), FORM)
    about = f"{found}, {done}{f'; {NUMBERED}' if numbered else ''}"
    return Prepared(bank, {split: sorted(counts[split]) for split in SPLIT_NAMES}, about, partial)


def _from_torchmeta(tree: FileTree, files: Mapping[str, tuple[str, str]], where: str, allow_partial: bool) -> Prepared:
    """Classes by their descriptions, all that torchmeta keeps of their names."""
    found = f"torchmeta's HDF5 files in {where}"
    counts = {split: count_labelled(tree, data, labels, None) for split, (data, labels) in files.items()}
    partial = check_numbers(TIERED_IMAGENET, counts, f"{tree} (torchmeta's HDF5 files)", allow_partial)
    bank, done = bank_from_hdf5("tiered-imagenet", tree, [data for data, _ in files.values()], counts, FORM)
    lists = {split: sorted(counts[split]) for split in SPLIT_NAMES}
    return Prepared(bank, lists, f"{found}, {done}; classes are called by their descriptions", partial)


def read_images(tree: FileTree, name: str, slots: npt.NDArray[np.int64]) -> Iterator[tuple[tuple[int, str], bytes]]:
    """Yield, for bank_from_images, the PNG files of one pickle, whose places in the bank are `slots`; raises DataError.

    Apart from the loop over the splits, so that one pickle is let go before the next is read.
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
