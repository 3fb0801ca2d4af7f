"""Names of data files, whatever a browser or a desktop has made of them: "train (1).pkl" is train.pkl once more."""

import re
from collections.abc import Collection, Iterable, Sequence

_COPY = re.compile(
    r"(?: ?\((?:[0-9]+|copy)\)"  # browsers: "a (1).pkl", "a(1).pkl", "a.tar (1).gz"; GNOME: "a (copy).pkl"
    r"| - Copy(?: \([0-9]+\))?"  # Windows
    r"| copy(?: [0-9]+)?)"  # macOS
    r"(?=(?:\.\w+)*$)"
)


def original_name(name: str) -> str:
    """The path or name of a file without the mark that tells a copy from the file of that name."""
    if " " not in name and "(" not in name:
        return name  # at once: a tree may have a million names
    folder, slash, file = name.rpartition("/")
    return folder + slash + _COPY.sub("", file, count=1)


def by_original_name(names: Iterable[str]) -> dict[str, str]:
    """Original path -> the path that a file has; a file without a mark comes before its copies."""
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
