"""Published data sets as image files: which class and split each file belongs to, by folders, names or csv files."""

import re
from collections.abc import Iterable, Mapping, Sequence

from fewshot_km.data.files.names import find_together
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm, bank_from_files, images_among
from fewshot_km.data.layouts.class_tables import read_table
from fewshot_km.data.layouts.published import Layout, Published, all_classes
from fewshot_km.data.splits import SPLIT_NAMES

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
CSV_FILES = {split: f"{split}.csv" for split in SPLIT_NAMES}

SplitFiles = Mapping[str, Mapping[str, Sequence[str]]]
"""Split -> class -> names of its image files, in order."""

Tables = Mapping[str, Sequence[tuple[str, str]]]
"""Split -> (image file, class) pairs, in the order of its table."""


def image_layout(published: Published, kind: str, tree: FileTree, files: SplitFiles, form: ImageForm) -> Layout:
    """The layout of image files that were found in a tree."""
    counts = {split: {name: len(members) for name, members in classes.items()} for split, classes in files.items()}
    return Layout(kind, counts, lambda: bank_from_files(published.name, tree, all_classes(files), form))


def split_folders(names: Sequence[str]) -> SplitFiles | None:
    """Image files under train/, val/ (or validation/) and test/, each with a folder a class; None where it is not so.

    The three may lie deeper, but all in one folder.
    """
    parents: dict[str, dict[str, dict[str, list[str]]]] = {}
    for name in images_among(names):
        parts = name.split("/")
        for depth, part in enumerate(parts[:-2]):
            if part in SPLIT_FOLDERS:
                classes = parents.setdefault("/".join(parts[:depth]), {}).setdefault(SPLIT_FOLDERS[part], {})
                classes.setdefault(parts[depth + 1], []).append(name)
                break
    complete = [found for found in parents.values() if set(found) == set(SPLIT_NAMES)]
    return complete[0] if len(complete) == 1 else None


def class_folders(names: Sequence[str]) -> dict[str, list[str]]:
    """Image files by the name of their folder; where folders elsewhere have the same name, those of the fullest."""
    return _fullest((name.split("/")[-2], name) for name in images_among(names) if "/" in name)


def by_synset(published: Published, names: Sequence[str]) -> SplitFiles | None:
    """Image files of the classes of a part of ImageNet, in the splits of its frozen lists; None where there is none.

    The folder of a file, if it is called exactly as a class, decides before the name of the file does.
    """
    labelled = ((_label_of(published, name), name) for name in images_among(names))
    return published.in_splits(_fullest((label, name) for label, name in labelled if label)) or None


def _label_of(published: Published, name: str) -> str | None:
    parent = "/".join(name.split("/")[-2:-1])
    label = parent if parent in published.owner else synset_of(name.rpartition("/")[2])
    return label if label in published.owner else None


def _fullest(labelled: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Class -> its files in the one folder that has most of them.

    ILSVRC's validation images, 50 a class, often lie in folders named as those of its training images.
    """
    folders: dict[tuple[str, str], list[str]] = {}
    for label, name in labelled:
        folders.setdefault((label, name.rpartition("/")[0]), []).append(name)
    classes: dict[str, list[str]] = {}
    for (label, _), files in folders.items():
        classes[label] = max(classes.get(label, []), files, key=len)
    return classes


def synset_of(name: str) -> str | None:
    """The WordNet id that the name of a file or folder begins with: n0153282900000005.jpg, n01532829_54.JPEG."""
    match = re.match("n[0-9]{8}", name)
    return match and match[0]


def is_other_synset(published: Published, folder: str) -> bool:
    """Whether a folder is named for a class of ImageNet that the data set lacks: a thousand of them are a long walk."""
    name = folder.rpartition("/")[2]
    return re.fullmatch("n[0-9]{8}", name) is not None and name not in published.owner


def read_tables(trees: Sequence[FileTree]) -> Tables:
    """The rows of train.csv, val.csv and test.csv in the first tree that has all three in a folder; {} without such.

    Raises DataError where one is no table with a column of files and one of classes.
    """
    for tree in trees:
        if found := find_together(tree.names, list(CSV_FILES.values())):
            tables = {split: found[file] for split, file in CSV_FILES.items()}
            rows = {split: read_table(tree.read_text(name), f"{tree}: '{name}'") for split, name in tables.items()}
            return {split: [(row.file, row.label) for row in of_split] for split, of_split in rows.items()}
    return {}


def by_name(tables: Tables, names: Sequence[str]) -> SplitFiles | None:
    """The listed files that are there, wherever in the tree; None where there is none.

    Of several files of one name it is the one whose path ends as it is listed, or else the one in a folder named for
    its class.
    """
    places: dict[str, list[str]] = {}
    for name in names:
        places.setdefault(name.rpartition("/")[2], []).append(name)
    return grouped(
        (split, label, _choose(places[base], file, label))
        for split, rows in tables.items()
        for file, label in rows
        for base in [file.rpartition("/")[2]]
        if base in places
    )


def _choose(candidates: Sequence[str], file: str, label: str) -> str:
    for end in (f"/{file}", f"/{label}/{file.rpartition('/')[2]}"):
        fitting = [name for name in candidates if f"/{name}".endswith(end)]
        if len(fitting) == 1:
            return fitting[0]
    return candidates[-1]


def grouped(found: Iterable[tuple[str, str, str]]) -> SplitFiles | None:
    """(split, class, file) triples by split and class, in order; None where there is none."""
    files: dict[str, dict[str, list[str]]] = {}
    for split, label, name in found:
        files.setdefault(split, {}).setdefault(label, []).append(name)
    return files or None
