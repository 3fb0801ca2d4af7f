"""What folders and archives hold, in a few words: where a data set was not found, and what a reader left unread."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fewshot_km.data.files.impostors import HEAD, name_impostor
from fewshot_km.data.files.names import SHOWN, ending, few, sort_key
from fewshot_km.data.files.trees import FileTree, FolderTree
from fewshot_km.data.images import image_suffixes
from fewshot_km.data.layouts.split_words import split_called
from fewshot_km.text import counted

LOOKED_INTO = 20  # files: a message must not take long
ENDINGS_SHOWN = 6  # endings of files; more are summed up
TABLE_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".xls", ".parquet")


def describe_places(data_root: Path, trees: Sequence[FileTree]) -> str:
    """Where a data set was looked for and what lies there."""
    if trees:
        return f"looked in {', '.join(f'{tree} ({_describe(tree)})' for tree in trees)}"
    if not data_root.is_dir():
        return f"nothing in {data_root} is named for it (there is no such folder)"
    entries = sorted((entry.name for entry in data_root.iterdir() if entry.name[:1] != "."), key=sort_key)
    return f"nothing in {data_root} is named for it (it holds {few(entries) or 'nothing'})"


def _describe(tree: FileTree) -> str:
    notes = [*_other_folders(tree), *_impostors(tree)] if isinstance(tree, FolderTree) else []
    return "; ".join([describe_contents(tree.names), *notes])


def _other_folders(tree: FolderTree) -> Iterator[str]:
    """A note on folders that are empty, or hold nothing that belongs to the data set: other classes' images."""
    used = {name.partition("/")[0] for name in tree.names}
    folders = [entry.name for entry in tree.path.iterdir() if entry.is_dir() and entry.name[:1] != "."]
    others = sorted(set(folders) - used, key=sort_key)
    if others:
        yield f"{counted(len(others), 'folder')} of other classes or empty: {few(others)}"


def _impostors(tree: FolderTree) -> Iterator[str]:
    """A note on each of the first files, images apart, that holds something else than data."""
    for name in [name for name in tree.names if ending(name) not in image_suffixes()][:LOOKED_INTO]:
        with suppress(OSError), (tree.path / name).open("rb") as file:
            if impostor := name_impostor(file.read(HEAD)):
                yield f"{name} is {impostor}"


def describe_contents(names: Sequence[str]) -> str:
    """Folders with a few of their names, files by their ending: "25 folders n01532829, ...; 500 .jpg; 3 .csv"."""
    inside = _common_folder(names)
    below = [name.removeprefix(inside) for name in names]
    folders = sorted({name.partition("/")[0] for name in below if "/" in name}, key=sort_key)
    files: dict[str, list[str]] = {}
    for name in below:
        files.setdefault(ending(name), []).append(name.rpartition("/")[2])
    ranked = sorted(files.items(), key=lambda item: -len(item[1]))
    parts = [f"in {inside}"] if inside else []
    if folders:
        parts.append(f"{counted(len(folders), 'folder')} {few(folders)}")
    for kind, found in ranked[:SHOWN]:
        parts.append(few(found) if len(found) <= SHOWN else f"{len(found):,} {kind or 'files without an ending'}")
    rest = sum(len(found) for _, found in ranked[SHOWN:])
    parts += [f"{rest:,} other files"] if rest else []
    return "; ".join(parts) if names else "empty"


def _common_folder(names: Sequence[str]) -> str:
    """The folders that all files lie in, one in another, as "a/b/", without a last one that holds files itself."""
    inside = ""
    while True:
        tops = {name.removeprefix(inside).partition("/")[:2] for name in names}
        below = {name.removeprefix(inside).partition("/")[2].partition("/")[1] for name in names}
        if len(tops) != 1 or next(iter(tops))[1] != "/" or below != {"/"}:
            return inside
        inside += f"{next(iter(tops))[0]}/"


def describe_passed_over(tree: FileTree, read: Collection[str]) -> str:
    """Count the files of a tree that were not `read`, by ending, and name its folders without images; "" for none.

    Image files could have been read, so they are counted apart and named by folder; tables are named.
    """
    suffixes = image_suffixes()
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
    """Whether a file may list classes or splits: a table by its ending, or a text that is named for a split."""
    stem = name.rpartition("/")[2].rpartition(".")[0]
    return ending(name) in TABLE_ENDINGS or (ending(name) == ".txt" and split_called(stem) is not None)


def _outermost_without(some: Iterable[str], names: Iterable[str]) -> list[str]:
    """Replace each name by the outermost of its folders that has none of `some` at any depth; each once, in order."""
    full = {folder for name in some for folder in _above(name)}
    found = {next((folder for folder in _above(name) if folder not in full), name) for name in names}
    return sorted(found, key=sort_key)


def _above(name: str) -> Iterable[str]:
    """The folders that a file lies in, the outermost first."""
    parts = name.split("/")[:-1]
    return ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
