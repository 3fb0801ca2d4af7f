"""Find the folders and archives of the data root that may hold a data set."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fewshot_km.data.files.archives import is_archive, open_tree
from fewshot_km.data.files.names import original_name, sort_key
from fewshot_km.data.files.trees import FileTree, FolderTree


def find_trees(
    data_root: Path,
    name: str,
    belongs: Callable[[str], bool] = lambda _: False,
    skip: Callable[[str], bool] = lambda _: False,
    aliases: Sequence[str] = (),
) -> list[FileTree]:
    """Find folders and archives that may hold the data set `name`, the most likely first.

    The name may be spelled in any way (mini-imagenet, miniImageNet, mini_imagenet). Found are folders of this name in
    the data root, with the archives in them; archives in the data root whose names begin so; and the data root itself
    where it is named so, or `belongs` is true for the name of something in it. `skip` is true for folders to stay out
    of, `aliases` are other names.
    """
    spellings = {_bare(spelling) for spelling in (name, *aliases)}
    trees: list[FileTree] = []
    for entry in _entries(data_root):
        if entry.is_dir() and _bare(original_name(entry.name)) in spellings:
            trees += _folder_and_archives(entry, skip)
        elif entry.is_file() and is_archive(entry.name) and _bare(entry.name).startswith(tuple(spellings)):
            trees.append(open_tree(entry))
    if _bare(data_root.name) in spellings or any(belongs(entry.name) for entry in _entries(data_root)):
        trees += [tree for tree in _folder_and_archives(data_root, skip) if str(tree) not in map(str, trees)]
    return trees


def _folder_and_archives(folder: Path, skip: Callable[[str], bool]) -> list[FileTree]:
    archives = [entry for entry in _entries(folder) if entry.is_file() and is_archive(entry.name)]
    return [FolderTree(folder, skip), *map(open_tree, archives)]


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.name[:1] != "."), key=lambda path: sort_key(path.name))


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def place_name(tree: FileTree, data_root: Path) -> str:
    """The path of a tree below the data root: a record may hold it, as it says nothing of the machine."""
    path = tree.path.relative_to(data_root) if tree.path.is_relative_to(data_root) else Path(tree.path.name)
    return "the data root" if path == Path() else path.as_posix()
