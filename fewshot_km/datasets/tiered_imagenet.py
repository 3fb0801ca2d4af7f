"""tieredImageNet, Ren et al.'s 608 classes of ImageNet: as their pickles of PNG files or as class folders; 84x84."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fewshot_km.datasets.bank_cache import Prepared, announce, bank_from_files, bank_from_images, prepare
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
    in_splits,
    merged,
    split_folders,
)
from fewshot_km.datasets.safe_pickle import load_pickle
from fewshot_km.datasets.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error

TIERED_IMAGENET = Published("tiered-imagenet", None, 779_165)
FORM = ImageForm(84)  # the size of the published pickles, which their authors made with OpenCV's bicubic filter
RECIPE = f"tiered-imagenet 1: {FORM}"  # change it with the reading: older caches are then left alone

IMAGES = {split: f"{split}_images_png.pkl" for split in SPLIT_NAMES}
LABELS = {split: f"{split}_labels.pkl" for split in SPLIT_NAMES}
NAMES, SYNSETS = "class_names.txt", "synsets.txt"
PICKLED = (*IMAGES.values(), *LABELS.values(), NAMES, SYNSETS)
ARRAYS = {f"{split}_images.npz" for split in SPLIT_NAMES}
PREFIX = "tiered-imagenet-"  # what the files' names begin with where they are offered one by one

SHAPES = (
    "the pickles {train,val,test}_images_png.pkl and {train,val,test}_labels.pkl with class_names.txt and synsets.txt; "
    "folders train/, val/ and test/ of class folders (n01530575); an ILSVRC train tree of class folders; "
    "or a zip or tar archive of one of these"
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
    bare = name.removeprefix(PREFIX)
    return bare in IMAGES.values() or bare in ARRAYS or name in SPLIT_NAMES or name in TIERED_IMAGENET.owner


def _read(data_root: Path, trees: Sequence[FileTree], allow_partial: bool) -> Prepared:
    for tree in trees:
        where = place_name(tree, data_root)
        start = find_pickles(tree.names)
        if start is not None:
            return _from_pickles(tree, start, where, allow_partial)
        found = find_images(tree.names)
        if found:
            kind, files = found
            partial = check_complete(TIERED_IMAGENET, count_images(files), f"{tree} ({kind})", allow_partial)
            bank, done = bank_from_files("tiered-imagenet", tree, merged(files), FORM)
            return Prepared(bank, class_names(files), f"{kind} in {where}, {done}", partial)
    looked = f"looked in {', '.join(map(str, trees))}" if trees else f"nothing in {data_root} is named for it"
    raise DataError(
        f"tieredImageNet not found: {looked}{''.join(map(describe_rest, trees))}. "
        f"Put into {data_root / 'tiered-imagenet'} {SHAPES}; --data-root names another data root"
    )


def find_pickles(names: Sequence[str]) -> str | None:
    """What the paths of all the published files begin with; None where not all are there, in one folder."""
    for prefix in ("", PREFIX):
        folder = folder_of(names, [prefix + file for file in PICKLED])
        if folder is not None:
            return folder + prefix
    return None


def describe_rest(tree: FileTree) -> str:
    """What is missing beside published files that cannot be read alone, as the end of a sentence; "" without any."""
    there = {PurePosixPath(name).name.removeprefix(PREFIX) for name in tree.names}
    if not there & {*IMAGES.values(), *ARRAYS}:
        return ""
    missing = ", ".join(file for file in PICKLED if file not in there)
    text = f"; {tree} lacks {missing}" if missing else f"; {tree} has its files in more than one folder"
    if there & ARRAYS:
        text += " (*_images.npz, whose channels are in OpenCV's order, are not read)"
    return text


def find_images(names: Sequence[str]) -> tuple[str, SplitFiles] | None:
    """What shape the image files have, and the files; None where they have none that is known."""
    suffixes = image_suffixes()
    folders = split_folders(names, suffixes)
    if folders:
        return "class folders under train/, val/ and test/", folders
    owner = TIERED_IMAGENET.owner
    classes = {name: files for name, files in class_folders(names, suffixes).items() if name in owner}
    return ("class folders of an ILSVRC train tree", in_splits(TIERED_IMAGENET, classes)) if classes else None


def _from_pickles(tree: FileTree, start: str, where: str, allow_partial: bool) -> Prepared:
    """One split's PNG files in memory at a time, and none of their pixels."""
    described = read_descriptions(tree, start)
    class_of = {split: read_classes(tree, start + LABELS[split], split, described) for split in SPLIT_NAMES}
    counts = {
        split: {str(wnid): int(n) for wnid, n in zip(*np.unique(class_of[split], return_counts=True), strict=True)}
        for split in SPLIT_NAMES
    }
    partial = check_complete(TIERED_IMAGENET, counts, f"{tree} (pickles)", allow_partial)
    sizes = {wnid: n for classes in counts.values() for wnid, n in classes.items()}
    order = np.argsort(np.concatenate(list(class_of.values())), kind="stable")  # as in the files within a class
    slots = np.empty_like(order)
    slots[order] = np.arange(len(order))

    def images() -> Iterator[tuple[tuple[int, str], bytes]]:
        first = 0
        for split, wnids in class_of.items():
            yield from read_images(tree, start + IMAGES[split], slots[first : first + len(wnids)])
            first += len(wnids)

    ordered = {wnid: sizes[wnid] for wnid in sorted(sizes)}
    bank, done = bank_from_images("tiered-imagenet", str(tree), ordered, images(), FORM)
    return Prepared(
        bank, {split: sorted(counts[split]) for split in SPLIT_NAMES}, f"pickles in {where}, {done}", partial
    )


def read_descriptions(tree: FileTree, start: str) -> dict[str, set[str]]:
    """Description -> the WordNet ids that it stands for, from the two text files, line by line; raises DataError."""
    # latin-1, which is how the pickles' strings are read: what is the same in both files stays the same
    names, synsets = (tree.read_one(start + file).decode("latin1").splitlines() for file in (NAMES, SYNSETS))
    if len(names) != len(synsets):
        raise DataError(
            f"{tree}: '{start}{NAMES}' has {len(names)} lines and '{start}{SYNSETS}' {len(synsets)}; a line of one "
            "should describe the same line of the other: fetch them again"
        )
    described: dict[str, set[str]] = {}
    for name, synset in zip(names, synsets, strict=True):
        described.setdefault(name.strip(), set()).add(synset.strip())
    return described


def read_classes(tree: FileTree, name: str, split: str, described: Mapping[str, set[str]]) -> npt.NDArray[np.str_]:
    """The WordNet id of each image of a split, str [N]; raises DataError.

    A description may stand for two classes of ImageNet ('crane', 'maillot'), but for one in this split: the labels
    were counted in the order in which a folder was listed, so that nothing else could tell two apart.
    """
    with tree.open(name) as file:
        content = load_pickle(file, f"{tree}: '{name}'")
    try:
        assert isinstance(content, dict)
        labels, descriptions = np.asarray(content["label_specific"]), content["label_specific_str"]
        assert labels.ndim == 1
        assert labels.dtype.kind in "iu"
        assert isinstance(descriptions, list)
        assert all(isinstance(text, str) for text in descriptions)
        assert labels.min() >= 0
        assert labels.max() < len(descriptions)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{tree}: '{name}' should hold numbers of classes [N] as label_specific, and their descriptions in order "
            f"as label_specific_str ({describe_error(error)}); fetch it again"
        ) from error
    wanted = set(TIERED_IMAGENET.lists[split])
    wnids: list[str] = []
    for text in descriptions:
        meant = sorted(described.get(text.strip(), set()) & wanted)
        if len(meant) != 1 or meant[0] in wnids:
            problem = "means more than one class" if meant else f"is by {NAMES} and {SYNSETS} no class"
            raise DataError(f"{tree}: '{name}': {text.strip()!r} {problem} of split {split}; fetch the files again")
        wnids += meant
    of_images: npt.NDArray[np.str_] = np.array(wnids)[labels]
    return of_images


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
