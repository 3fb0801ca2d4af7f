"""The labels of tieredImageNet's pickles and arrays: WordNet ids by their descriptions, or numbers alone."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm
from fewshot_km.data.layouts.published import Published
from fewshot_km.data.pickles import load_pickle
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error

FORM = ImageForm(84)  # the size of the published pickles, which their authors made with OpenCV's bicubic filter
TIERED_IMAGENET = Published("tiered-imagenet", "tieredImageNet", f"tiered-imagenet 1: {FORM}", images=779_165)

LABELS = {split: f"{split}_labels.pkl" for split in SPLIT_NAMES}
NAMES, SYNSETS = "class_names.txt", "synsets.txt"


def is_numbered(tree: FileTree, name: str) -> bool:
    """Tell whether labels are numbers without names, as in MetaOptNet's copy; raises DataError if damaged."""
    return _has_numbers_alone(_load(tree, name))


def read_labels(tree: FileTree, given: Mapping[str, str]) -> tuple[dict[str, npt.NDArray[np.str_]], bool]:
    """Read the class of each image, str [N] by split; also tells whether classes are numbered, since none has a name.

    `given` are the paths of the files of labels and of the texts, which numbers do not need. Raises DataError.
    """
    contents = {split: _load(tree, given[LABELS[split]]) for split in SPLIT_NAMES}
    where = {split: f"{tree}: '{given[LABELS[split]]}'" for split in SPLIT_NAMES}
    numbered = [split for split, content in contents.items() if _has_numbers_alone(content)]
    if len(numbered) == len(SPLIT_NAMES):
        return {split: _numbered(content, where[split], split) for split, content in contents.items()}, True
    if numbered:
        (other, *_) = (split for split in SPLIT_NAMES if split not in numbered)
        raise DataError(
            f"{where[numbered[0]]} has numbers of classes and not their names, and {LABELS[other]} has names: take all "
            "files from one copy of the data set"
        )
    described = _read_descriptions(tree, given[NAMES], given[SYNSETS])
    return {split: _described(content, where[split], split, described) for split, content in contents.items()}, False


def _load(tree: FileTree, name: str) -> object:
    with tree.open(name) as file:
        return load_pickle(file, f"{tree}: '{name}'")


def _has_numbers_alone(content: object) -> bool:
    return isinstance(content, dict) and "labels" in content and "label_specific_str" not in content


def _read_numbers(content: object, key: str) -> npt.NDArray[np.int64]:
    assert isinstance(content, dict)
    labels = np.asarray(content[key])
    assert labels.ndim == 1
    assert labels.dtype.kind in "iu"
    assert labels.min() >= 0
    return labels


def _numbered(content: object, where: str, split: str) -> npt.NDArray[np.str_]:
    try:
        labels = _read_numbers(content, "labels")
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} should hold numbers of classes [N] as labels ({describe_error(error)}); fetch it again"
        ) from error
    numbers, of_image = np.unique(labels, return_inverse=True)
    of_images: npt.NDArray[np.str_] = np.array([f"{split} {number}" for number in numbers])[of_image]
    return of_images


def _read_descriptions(tree: FileTree, names_file: str, synsets_file: str) -> dict[str, set[str]]:
    """Read the WordNet ids of each description from the two texts, line by line; raises DataError."""
    # latin-1, which is how the pickles' strings are read: what is the same in both files stays the same
    names, synsets = (tree.read_one(file).decode("latin1").splitlines() for file in (names_file, synsets_file))
    if len(names) != len(synsets):
        raise DataError(
            f"{tree}: '{names_file}' has {len(names)} lines and '{synsets_file}' {len(synsets)}; a line of one "
            "should describe the same line of the other: fetch them again"
        )
    described: dict[str, set[str]] = {}
    for name, synset in zip(names, synsets, strict=True):
        described.setdefault(name.strip(), set()).add(synset.strip())
    return described


def _described(content: object, where: str, split: str, described: Mapping[str, set[str]]) -> npt.NDArray[np.str_]:
    """Find the WordNet id of each image of a split, str [N]; raises DataError.

    A description may stand for two classes of ImageNet ('crane', 'maillot'), but for one in this split only: the
    labels count classes in the order in which a folder was listed, so nothing else could tell the two apart.
    """
    try:
        labels = _read_numbers(content, "label_specific")
        assert isinstance(content, dict)
        descriptions = content["label_specific_str"]
        assert isinstance(descriptions, list)
        assert all(isinstance(text, str) for text in descriptions)
        assert labels.max() < len(descriptions)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} should hold numbers of classes [N] as label_specific, and their descriptions in order "
            f"as label_specific_str ({describe_error(error)}); fetch it again"
        ) from error
    wanted = set(TIERED_IMAGENET.lists[split])
    wnids: list[str] = []
    for text in descriptions:
        meant = sorted(described.get(text.strip(), set()) & wanted)
        if len(meant) != 1 or meant[0] in wnids:
            problem = "means more than one class" if meant else f"is by {NAMES} and {SYNSETS} no class"
            raise DataError(f"{where}: {text.strip()!r} {problem} of split {split}; fetch the files again")
        wnids += meant
    of_images: npt.NDArray[np.str_] = np.array(wnids)[labels]
    return of_images
