"""What folders and archives hold, in a few words: for messages about a data set that was not found there."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from fewshot_km.data.files.impostors import HEAD, name_impostor
from fewshot_km.data.files.trees import FileTree, FolderTree, sort_key
from fewshot_km.data.images import image_suffixes
from fewshot_km.errors import DataError

SHOWN = 3  # names of one kind in one message
LOOKED_INTO = 20  # files: a message must not take long


def describe_places(data_root: Path, trees: Sequence[FileTree], absent: Sequence[str] = ()) -> str:
    """Where a data set was looked for and what lies there; `absent` are endings whose absence is worth a word."""
    if trees:
        return f"looked in {', '.join(f'{tree} ({_describe(tree, absent)})' for tree in trees)}"
    if not data_root.is_dir():
        return f"nothing in {data_root} is named for it (there is no such folder)"
    entries = sorted((entry.name for entry in data_root.iterdir() if entry.name[:1] != "."), key=sort_key)
    return f"nothing in {data_root} is named for it (it holds {_some(entries) or 'nothing'})"


def _describe(tree: FileTree, absent: Sequence[str]) -> str:
    return "; ".join([describe_contents(tree.names, absent), *_passed_over(tree), *_impostors(tree)])


def _passed_over(tree: FileTree) -> Iterator[str]:
    """What is said of folders that are empty, or hold nothing that belongs to the data set: other classes' images."""
    if isinstance(tree, FolderTree):
        used = {name.partition("/")[0] for name in tree.names}
        folders = [entry.name for entry in tree.path.iterdir() if entry.is_dir() and entry.name[:1] != "."]
        others = sorted(set(folders) - used, key=sort_key)
        if others:
            yield f"{len(others)} folder{'s' * (len(others) > 1)} of other classes or empty: {_some(others)}"


def _impostors(tree: FileTree) -> Iterator[str]:
    """What is said of the first files that are no images and hold something else than data."""
    suffixes = image_suffixes()
    if isinstance(tree, FolderTree):
        for name in [name for name in tree.names if PurePosixPath(name).suffix.lower() not in suffixes][:LOOKED_INTO]:
            with suppress(DataError), tree.open(name) as file:
                impostor = name_impostor(file.read(HEAD))
                if impostor:
                    yield f"{name} is {impostor}"


def describe_contents(names: Sequence[str], absent: Sequence[str] = ()) -> str:
    """Folders with a few of their names, files by their ending: "25 folders n01532829, ...; 500 .jpg; no .csv"."""
    inside = _common_folder(names)
    below = [name.removeprefix(inside) for name in names]
    folders = sorted({name.partition("/")[0] for name in below if "/" in name}, key=sort_key)
    files: dict[str, list[str]] = {}
    for name in below:
        files.setdefault(PurePosixPath(name).suffix.lower(), []).append(PurePosixPath(name).name)
    counts = Counter({suffix: len(found) for suffix, found in files.items()})
    parts = [f"in {inside}"] if inside else []
    if folders:
        parts.append(f"{len(folders)} folder{'s' * (len(folders) > 1)} {_some(folders)}")
    for suffix, count in counts.most_common(SHOWN):
        parts.append(_some(files[suffix]) if count <= SHOWN else f"{count:,} {suffix or 'files without an ending'}")
    rest = counts.total() - sum(count for _, count in counts.most_common(SHOWN))
    parts += [f"{rest:,} other files"] if rest else []
    parts += [f"no {ending}" for ending in absent if ending not in counts]
    return "; ".join(parts) if names else "empty"


def _common_folder(names: Sequence[str]) -> str:
    """The folders that all files lie in, one in another, as "a/b/"; not the last that holds files itself."""
    inside = ""
    while True:
        tops = {name.removeprefix(inside).partition("/")[:2] for name in names}
        below = {name.removeprefix(inside).partition("/")[2].partition("/")[1] for name in names}
        if len(tops) != 1 or next(iter(tops))[1] != "/" or below != {"/"}:
            return inside
        inside += f"{next(iter(tops))[0]}/"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")
