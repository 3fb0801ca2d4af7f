"""Where in the data root a data set lies: in a folder or archive that is named for it, or in the root itself."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fewshot_km.data.files.archives import ArchiveTree, is_archive, open_tree
from fewshot_km.data.files.names import original_name, sort_key
from fewshot_km.data.files.trees import FileTree, FolderTree


def find_trees(
    data_root: Path,
    name: str,
    belongs: Callable[[str], bool] = lambda _: False,
    skip: Callable[[str], bool] = lambda _: False,
    aliases: Sequence[str] = (),
) -> list[FileTree]:
    """Folders and archives that may hold the data set `name`, the most likely first.

    These are, spelled in any way (mini-imagenet, miniImageNet, mini_imagenet): folders of that name in the data root,
    with the archives in them; archives whose names begin so in the data root; and the data root itself where it is
    named so, or has a file or folder whose name `belongs` to this data set.
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


def archives_in(folder: Path) -> list[ArchiveTree]:
    """The archives that lie in a folder itself."""
    opened = (open_tree(entry) for entry in _entries(folder) if entry.is_file() and is_archive(entry.name))
    return [tree for tree in opened if isinstance(tree, ArchiveTree)]


def _folder_and_archives(folder: Path, skip: Callable[[str], bool]) -> list[FileTree]:
    return [FolderTree(folder, skip), *archives_in(folder)]


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.name[:1] != "."), key=lambda path: sort_key(path.name))


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def place_name(tree: FileTree, data_root: Path) -> str:
    """A tree's path as seen from the data root: what a record may say without telling of the machine."""
    path = tree.path.relative_to(data_root) if tree.path.is_relative_to(data_root) else Path(tree.path.name)
    return "the data root" if path == Path() else path.as_posix()
