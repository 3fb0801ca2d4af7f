"""train.csv, val.csv and test.csv: which image files belong to which class of a published data set."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from fewshot_km.data.files.file_names import find_together
from fewshot_km.data.files.impostors import describe_impostor
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.layouts.published import SplitFiles
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error

CSV_LIMIT = 1 << 28  # bytes; tieredImageNet's 449 thousand training images take up to 50 each
CSV_FILES = {split: f"{split}.csv" for split in SPLIT_NAMES}
COLUMNS = (("filename", "label"), ("image_name", "class_name"))  # Ravi & Larochelle's and LibFewShot's; easyfsl's
DELIMITERS = (",", ";", "\t")

Tables = Mapping[str, Sequence[tuple[str, str]]]
"""Split -> (image file, class) pairs, in the order of its table."""


def read_tables(trees: Sequence[FileTree]) -> Tables:
    """The tables of the first of the trees that has all three; {} where none has. Raises DataError."""
    for tree in trees:
        found = find_tables(tree)
        if found:
            return {split: read_table(tree, name) for split, name in found.items()}
    return {}


def find_tables(tree: FileTree) -> dict[str, str] | None:
    """Split -> path of its table; None where the three are not all in one folder of the tree."""
    found = find_together(tree.names, list(CSV_FILES.values()))
    return {split: found[file] for split, file in CSV_FILES.items()} if found else None


def read_table(tree: FileTree, name: str) -> list[tuple[str, str]]:
    """The (image file, class) pairs of one table, both without blanks around them, folders parted by "/".

    Raises DataError where it is no table with the columns filename and label, or image_name and class_name.
    """
    content = tree.read_one(name, CSV_LIMIT)
    impostor = describe_impostor(content)
    if impostor:
        raise DataError(f"{tree}: '{name}' {impostor}")
    try:
        rows = _read_rows(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{tree}: '{name}' is no csv file: {describe_error(error)}") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    for columns in COLUMNS:
        if set(columns) <= set(header):
            file, label = (header.index(column) for column in columns)
            break
    else:
        accepted = " or ".join(" and ".join(columns) for columns in COLUMNS)
        raise DataError(
            f"{tree}: '{name}' is no csv file with the columns {accepted}: its first line is {', '.join(header)!r:.200}"
        )
    pairs = []
    for number, row in rows[1:]:
        if len(row) <= max(file, label):
            raise DataError(f"{tree}: '{name}', line {number} has {len(row)} cells and should have {len(header)}")
        pairs.append((row[file].strip().replace("\\", "/"), row[label].strip()))
    return pairs


def _read_rows(text: str) -> list[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank."""
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(DELIMITERS, key=first.count), strict=True)
    return [(reader.line_num, row) for row in reader if any(row)]


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
    for ending in (f"/{file}", f"/{label}/{file.rpartition('/')[2]}"):
        fitting = [name for name in candidates if f"/{name}".endswith(ending)]
        if len(fitting) == 1:
            return fitting[0]
    return candidates[-1]


def grouped(found: Iterable[tuple[str, str, str]]) -> SplitFiles | None:
    """(split, class, file) triples by split and class, in order; None where there is none."""
    files: dict[str, dict[str, list[str]]] = {}
    for split, label, name in found:
        files.setdefault(split, {}).setdefault(label, []).append(name)
    return files or None
