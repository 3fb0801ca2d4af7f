"""Lists beside the images, one for each split: texts, or as LibFewShot, A Closer Look and easyfsl have them."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fewshot_km.data.files.names import composed, ending
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import image_suffixes
from fewshot_km.data.layouts.class_tables import FileFinder, Row, plain_path, read_table
from fewshot_km.data.layouts.split_words import split_and_rest, split_called
from fewshot_km.data.splits import SPLIT_NAMES, ClassLists
from fewshot_km.errors import DataError, describe_error
from fewshot_km.text import parse_json

LIST_ENDINGS = (".csv", ".tsv", ".json", ".txt")

ListFiles = Mapping[str, str]
"""Split -> the file that lists its images."""


def find_list_files(names: Sequence[str], may_lack: Collection[str] = ()) -> tuple[list[ListFiles], list[str]]:
    """Find files of one folder and ending that are named for the three splits, as train.csv, val.csv and test.csv.

    `may_lack` are splits that need no list. Where there are none, also returns files that are named for some of the
    splits only; without texts, which are often something else.
    """
    groups: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        found = split_and_rest(file.rpartition(".")[0]) if ending(name) in LIST_ENDINGS else None
        if found and (ending(name) != ".txt" or not found[1]):  # a birds_train.txt may be any notes
            groups.setdefault((folder, ending(name), found[1]), []).append((found[0], name))
    several = [group for group in groups.values() if len({split for split, _ in group}) > 1]
    complete: list[ListFiles] = [
        dict(group)
        for group in several
        if len(dict(group)) == len(group) and {*dict(group), *may_lack} == set(SPLIT_NAMES)
    ]
    left = [name for group in several for _, name in group if ending(name) != ".txt"]
    return complete, [] if complete else left


def read_class_names(tree: FileTree, name: str) -> ClassLists:
    """Read the classes of each split from a json file, whose keys may be any words for splits; raises DataError."""
    where = f"{tree}: '{name}'"
    text = tree.read_text(name)
    try:
        known = {split_called(key): [composed(item) for item in names] for key, names in parse_json(text).items()}
        return {"train": known["train"], "val": known.get("val", []), "test": known["test"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{where} should hold {{"train": [classes], "val": [...], "test": [...]}}: {describe_error(error)}'
        ) from error


def read_list(tree: FileTree, name: str, images: Sequence[str], file_column: str, class_column: str) -> list[Row]:
    """Read the files of one split and their classes from a csv file, a text, or a json file of one of these forms.

    {"label_names": [...], "image_names": [...], "image_labels": [indices of label names]}, as A Closer Look writes;
    {"class_names": [...], "class_roots": [folders]}, as easyfsl does, whose files are the `images` in these folders.
    A text (.txt) has in each line a class, or an image file and its class. Raises DataError for anything else.
    """
    where = f"{tree}: '{name}'"
    if ending(name) == ".txt":
        return _from_lines(where, tree, name, images)
    if ending(name) != ".json":
        return read_table(tree.read_text(name), where, file_column, class_column)
    try:
        known = parse_json(tree.read_text(name))
        if "image_names" in known and "image_labels" in known:
            return _from_indices(known)
        pairs = [
            (str(label), str(root)) for label, root in zip(known["class_names"], known["class_roots"], strict=True)
        ]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f'{where} should hold {{"label_names": [...], "image_names": [...], "image_labels": [...]}} or '
            f'{{"class_names": [...], "class_roots": [...]}}: {describe_error(error)}'
        ) from error
    return _from_roots(where, pairs, tree, name.rpartition("/")[0], images)


def _from_lines(where: str, tree: FileTree, name: str, images: Sequence[str]) -> list[Row]:
    """Read lines "ant", for all images in a folder of this name, or "images/ant 1.jpg ant", for one image."""
    suffixes = "|".join(re.escape(suffix) for suffix in sorted(image_suffixes(), key=len, reverse=True))
    pair = re.compile(rf"(.+?(?:{suffixes}))(?:\s+|\s*[,;]\s*)(.*\S)", re.IGNORECASE)
    lines = [(n, line.strip()) for n, line in enumerate(tree.read_text(name).split("\n"), start=1) if line.strip()]
    matches = {number: pair.fullmatch(line) for number, line in lines}
    rows = [Row(f"line {n}", plain_path(found[1]), found[2]) for n, found in matches.items() if found]
    if not lines:
        raise DataError(f"{where} has no lines")
    if not rows and not any(ending(line) in image_suffixes() for _, line in lines):
        return _from_roots(
            where, [(line.rstrip("/"), line) for _, line in lines], tree, name.rpartition("/")[0], images
        )
    if len(rows) < len(lines):
        number, line = next((n, line) for n, line in lines if not matches[n])
        raise DataError(
            f"{where}, line {number}: {line!r:.200} is no image file followed by its class. Each line should be that, "
            "as images/1.jpg ant; or each the name of a class folder"
        )
    return rows


def _from_indices(known: Any) -> list[Row]:
    names, labels = known["image_names"], known["image_labels"]
    called = known.get("label_names")
    rows = []
    for number, (file, label) in enumerate(zip(names, labels, strict=True), start=1):
        index = int(label)
        if index < 0:
            raise IndexError(index)
        rows.append(Row(f"entry {number}", plain_path(file), str(called[index]) if called else f"class {index}"))
    return rows


def _from_roots(
    where: str, pairs: Sequence[tuple[str, str]], tree: FileTree, beside: str, images: Sequence[str]
) -> list[Row]:
    inside: dict[str, list[str]] = {}
    for image in images:
        inside.setdefault(image.rpartition("/")[0], []).append(image)
    finder = FileFinder(tree.path, inside)
    rows = []
    for number, (label, root) in enumerate(pairs, start=1):
        found = finder.find(plain_path(root), beside)
        if len(found) != 1:
            which = f"may be {' or '.join(found[:3])}" if found else "is no folder with images"
            raise DataError(f"{where}: '{root}', for class '{label}', {which}")
        rows += [Row(f"entry {number}", image, label) for image in inside[found[0]]]
    return rows
