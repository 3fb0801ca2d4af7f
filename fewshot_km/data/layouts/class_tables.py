"""Tables of files and their classes, in csv files of many dialects, and the files in a tree that they mean."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fewshot_km.data.files.names import common_folders, composed, sort_key
from fewshot_km.errors import DataError, describe_error

DELIMITERS = (",", ";", "\t", "|")
FILE_COLUMNS = (  # letters only, lower case: file_name, "File Name" and filename are one
    *("file", "filename", "filepath", "path"),
    *("image", "imagename", "imagefile", "imagefilename", "imagepath", "img", "imgname", "imgpath"),
)
CLASS_COLUMNS = ("class", "classname", "label", "labelname", "category", "categoryname", "species")
SPLIT_COLUMNS = ("split", "subset", "partition")


@dataclass(frozen=True)
class Row:
    """One file of a table and its class.

    place its place in the table, as "line 2"
    split its split, as the table calls it; None without such a column
    """

    place: str
    file: str
    label: str
    split: str | None = None


def read_table(text: str, where: str, file_column: str = "", class_column: str = "") -> list[Row]:
    """Read a csv file with commas, semicolons, tabs or bars, whose first line names the columns.

    Columns with unusual names must be given. Cells are stripped, and `\\` in files becomes `/`. Raises DataError where
    the text is no such table, a column is missing or could be one of two, or a row lacks a cell.
    """
    delimiter, columns = _find_columns(text, where, file_column, class_column)
    rows = []
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        next(reader)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = {kind: cells[i].strip() if i < len(cells) else "" for kind, i in columns.items()}
                for kind in ("file", "class"):
                    if not row[kind]:
                        raise DataError(f"{where}, line {reader.line_num}: the {kind} is missing")
                rows.append(Row(f"line {reader.line_num}", plain_path(row["file"]), row["class"], row.get("split")))
    except csv.Error as error:
        raise DataError(f"{where} is no csv file: {describe_error(error)}") from error
    if not rows:
        raise DataError(f"{where} has no rows")
    return rows


def plain_path(name: str) -> str:
    """Bring a path of any system to the form a/b, from .\\a\\b for example."""
    return str(PurePosixPath(name.strip().replace("\\", "/")))


def _find_columns(text: str, where: str, file_column: str, class_column: str) -> tuple[str, Mapping[str, int]]:
    """Find the delimiter and the places of the columns: file, class and, if there is one, split."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    seen: list[str] = []
    lacking: list[str] = []
    for delimiter in DELIMITERS:
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter, strict=True), [])]
        except csv.Error as error:
            raise DataError(f"{where} is no csv file: {describe_error(error)}") from error
        found = {
            "file": _find(names, FILE_COLUMNS, file_column, f"{where}: set file_column to"),
            "class": _find(names, CLASS_COLUMNS, class_column, f"{where}: set class_column to"),
            "split": _find(names, SPLIT_COLUMNS, "", f"{where}: rename one of"),
        }
        missing = [kind for kind in ("file", "class") if found[kind] is None]
        if not missing:
            return delimiter, {kind: place for kind, place in found.items() if place is not None}
        if len(names) > len(seen):
            seen, lacking = names, missing
    options = " and ".join(f"{kind}_column" for kind in lacking)
    raise DataError(
        f"{where} needs a first line with the columns file and class; it has {', '.join(seen)[:200] or 'none'}. "
        f"Name columns that are called otherwise with the option{'s' if len(lacking) > 1 else ''} {options}"
    )


def _find(names: Sequence[str], known: Sequence[str], chosen: str, advice: str) -> int | None:
    """Find the column of the chosen name, or else the one of a known name; None where there is none."""
    if chosen:
        return names.index(chosen) if chosen in names else None
    bare = [re.sub(r"[^a-z]", "", name.lower()) for name in names]
    places = [place for place, name in enumerate(bare) if name in known]
    plain = [place for place in places if bare[place] == known[0]]  # "file" before "path"
    if len(plain or places) > 1:
        raise DataError(f"{advice} {' or '.join(names[place] for place in plain or places)}")
    return next(iter(plain or places), None)


def classes_of(where: str, rows: Iterable[Row], finder: "FileFinder", folder: str) -> dict[str, list[str]]:
    """Group the files of a table, which lies in `folder`: class -> its files, in order.

    Raises DataError for a file that is missing, could be one of several, or is listed twice.
    """
    classes: dict[str, list[str]] = {}
    place_of: dict[str, str] = {}
    missing: list[str] = []
    for row in rows:
        found = finder.find(row.file, folder, row.label)
        if len(found) > 1:
            raise DataError(f"{where}, {row.place}: '{row.file}' may be {' or '.join(found[:3])}: write its folder")
        if not found:
            missing.append(f"{row.place}: '{row.file}' is not there")
        elif found[0] in place_of:
            raise DataError(f"{where}, {row.place}: '{found[0]}' occurs twice: it is in {place_of[found[0]]} already")
        else:
            place_of[found[0]] = row.place
            classes.setdefault(composed(row.label), []).append(found[0])
    if missing:
        more = f", and {len(missing) - 1:,} more are not" if len(missing) > 1 else ""
        raise DataError(f"{where}, {missing[0]}{more}")
    return {name: sorted(files, key=sort_key) for name, files in classes.items()}


class FileFinder:
    """Finds the files of a tree that a table means.

    A name may be a path from the folder of the table, from the root, or from images/ in either; or the end of a path;
    or a longer path from another machine that ends as a path does from the folder in which all files lie.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._roots = {f"{plain_path(str(path))}/" for path in (root, root.absolute(), root.resolve())}
        folders = [tuple(name.split("/")[:-1]) for name in self._names]
        self._outer = "".join(f"{part}/" for part in common_folders(folders))
        self._by_file: dict[str, list[str]] = {}
        for name in self._names:
            self._by_file.setdefault(name.rpartition("/")[2], []).append(name)

    def find(self, file: str, folder: str = "", label: str = "") -> list[str]:
        """Find the files that may be meant: one where it is clear, none where there is none.

        `folder` is that of the table. `label` is the class; a folder of its name decides between files of one name.
        """
        for root in self._roots:
            file = file.removeprefix(root)
        beside = f"{folder}/".lstrip("/")
        for name in (f"{beside}{file}", f"{beside}images/{file}", file, f"images/{file}"):
            if name in self._names:
                return [name]
        alike = self._by_file.get(file.rpartition("/")[2], [])
        found = [name for name in alike if name.endswith(f"/{file}")] or self._ends_of(file, alike)
        in_class = [name for name in found if name.split("/")[-2:-1] == [label]]
        return sorted(in_class if len(found) > 1 and in_class else found)

    def _ends_of(self, file: str, alike: Sequence[str]) -> list[str]:
        """Find the longest paths, from the folder in which all files lie, with which the name of a file ends."""
        inner = {name: name.removeprefix(self._outer) for name in alike}
        is_absolute = file[:1] == "/" or file[1:2] == ":"
        ends = {n: path for n, path in inner.items() if file.endswith(f"/{path}") and (is_absolute or "/" in path)}
        return [name for name, path in ends.items() if len(path) == max(map(len, ends.values()))]
