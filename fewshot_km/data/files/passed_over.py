"""What a reader of a tree left unread, in a few words, so that nobody misses it."""

from collections import Counter
from collections.abc import Collection, Iterable

from fewshot_km.data.files.trees import FileTree, sort_key
from fewshot_km.data.layouts.split_words import split_called
from fewshot_km.text import counted

SHOWN = 3  # names as examples in a line that is to stay short
ENDINGS_SHOWN = 6  # endings of files; more are summed up
TABLE_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".xls", ".parquet")


def few(names: Collection[str]) -> str:
    """The first names, and dots where there are more."""
    shown = list(names)[:SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def ending(name: str) -> str:
    """A file name's ending, lower case and with its dot; "" where it has none."""
    file = name.rpartition("/")[2]
    return f".{file.rpartition('.')[2].lower()}" if "." in file else ""


def describe_passed_over(tree: FileTree, read: Collection[str], suffixes: Collection[str]) -> str:
    """All files of a tree but those `read`, counted by ending, and its folders without images; "" for none.

    Image files, whose endings are `suffixes`, could have been read: so they are counted apart, and named by folder, as
    tables are by name.
    """
    left = [name for name in tree.names if name not in read]
    images = [name for name in left if ending(name) in suffixes]
    tables = [name for name in left if is_table(name)]
    parts = []
    if images:
        parts.append(f"{counted(len(images), 'image')} ({few(_outermost_without(read, images))})")
    if tables:
        parts.append(f"{counted(len(tables), 'table')} ({few(tables)})")
    endings = Counter(ending(name) for name in left if ending(name) not in suffixes and not is_table(name))
    ranked = sorted(endings.items(), key=lambda pair: (-pair[1], pair[0]))
    parts += [f"{number:,} {kind or 'without an ending'}" for kind, number in ranked[:ENDINGS_SHOWN]]
    if len(ranked) > ENDINGS_SHOWN:
        parts.append(f"{sum(number for _, number in ranked[ENDINGS_SHOWN:]):,} of other endings")
    pictured = [name for name in tree.names if ending(name) in suffixes]
    files_and_folders = [*tree.names, *(f"{folder}/" for folder in tree.empty_folders)]
    are_files = set(tree.names)
    empty = [name for name in _outermost_without(pictured, files_and_folders) if name not in are_files]
    if empty:
        parts.append(f"{counted(len(empty), 'folder')} without images ({few(empty)})")
    return f"passed over: {', '.join(parts)}" if parts else ""


def is_table(name: str) -> bool:
    """Whether a file may tell classes or splits: tables by their ending, and texts that are named for a split."""
    stem = name.rpartition("/")[2].rpartition(".")[0]
    return ending(name) in TABLE_ENDINGS or (ending(name) == ".txt" and split_called(stem) is not None)


def _outermost_without(some: Iterable[str], names: Iterable[str]) -> list[str]:
    """For each name the outermost of its folders that has none of `some` at any depth, or else the name; each once."""
    full = {folder for name in some for folder in _above(name)}
    found = {next((folder for folder in _above(name) if folder not in full), name) for name in names}
    return sorted(found, key=sort_key)


def _above(name: str) -> Iterable[str]:
    """The folders that a file lies in, from the outside in."""
    parts = name.split("/")[:-1]
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
