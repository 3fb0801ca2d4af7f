"""Names of data files: their order, endings and folders, and what browsers and desktops make of them."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

SHOWN = 3  # names as examples in a line that is to stay short

_COPY = re.compile(
    r"(?: ?\((?:[0-9]+|copy)\)"  # browsers: "a (1).pkl", "a(1).pkl", "a.tar (1).gz"; GNOME: "a (copy).pkl"
    r"| - Copy(?: \([0-9]+\))?"  # Windows
    r"| copy(?: [0-9]+)?)"  # macOS
    r"(?=(?:\.\w+)*$)"
)


def original_name(name: str) -> str:
    """The path or name of a file without the mark of a copy: "train (1).pkl" is train.pkl once more."""
    if " " not in name and "(" not in name:
        return name  # at once: a tree may have a million names
    folder, slash, file = name.rpartition("/")
    return folder + slash + _COPY.sub("", file, count=1)


def by_original_name(names: Iterable[str]) -> dict[str, str]:
    """Original path -> the path that a file has; a file without the mark of a copy is preferred."""
    originals = [(original_name(name), name) for name in names]
    found = {name: name for original, name in originals if original == name}
    for original, name in originals:
        found.setdefault(original, name)
    return found


def find_together(names: Collection[str], wanted: Sequence[str]) -> dict[str, str] | None:
    """Wanted name -> path, in the first folder that holds all the wanted files; None where no folder does."""
    there = by_original_name(name for name in names if original_name(name).rpartition("/")[2] in wanted)
    for name in there:
        folder, slash, file = name.rpartition("/")
        if file == wanted[0] and all(folder + slash + other in there for other in wanted):
            return {other: there[folder + slash + other] for other in wanted}
    return None


def composed(name: str) -> str:
    """The composed form of a name, which some file systems take apart."""
    return unicodedata.normalize("NFC", name)


def sort_key(name: str) -> tuple[str, str]:
    """Orders names alike on all systems: by code points of the composed form, which not every file system keeps."""
    return composed(name), name


def common_folders(paths: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders that all paths begin with; of a path that others go on from, all but its last folder."""
    first, last = min(paths, default=()), max(paths, default=())
    common = 0
    while common < min(len(first), len(last)) - 1 and first[common] == last[common]:
        common += 1
    return first[:common]


def ending(name: str) -> str:
    """The ending of a file name, lower case and with its dot; "" where it has none."""
    file = name.rpartition("/")[2]
    return f".{file.rpartition('.')[2].lower()}" if "." in file else ""


def few(names: Iterable[str]) -> str:
    """The first names, and dots where there are more."""
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")
