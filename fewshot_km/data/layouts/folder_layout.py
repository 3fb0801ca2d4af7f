"""Classes and splits that are told by the folders around images."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fewshot_km.data.files.names import common_folders, composed, few
from fewshot_km.data.images import ClassFiles
from fewshot_km.data.layouts.split_words import split_called, splits_in
from fewshot_km.data.splits import JOIN_SPLITS, SPLIT_NAMES, ClassLists, advise_validation, check_disjoint
from fewshot_km.errors import DataError
from fewshot_km.text import counted

Depth = Literal["auto", "each", 1, 2, 3, 4, 5, 6, 7, 8, 9]
"""How deep class folders lie: a number of folders; "each" folder with images is a class; or "auto", found out."""
DEEPEST = 9

Fixed = Literal["each"] | int
Path = tuple[str, ...]
Groups = Mapping[str, ClassFiles]
"""Split -> class -> its files; all in the split "" where folders tell no splits."""


@dataclass(frozen=True)
class _Image:
    """A file; the folders from the outermost that differs to its own; its split, and the folder named for that."""

    file: str
    path: Path
    split: str = ""
    split_folder: str = ""


def read_folders(
    where: str,
    images: Sequence[str],
    *,
    within: str = "",
    depth: Depth = "auto",
    join: bool = False,
    may_lack: Collection[str] = (),
    wanted: Collection[str] = (),
) -> tuple[ClassFiles, ClassLists | None, str]:
    """Read classes with their files, the classes of each split (None without folders of splits), and a description.

    within    only read images below folders of this name, which is then no part of the names of classes
    join      ignore folders that are named for splits: classes of one name in them are one class
    may_lack  splits that need no folders and then have no classes
    wanted    names that classes should have, which may tell how deep they lie
    Images outside of all classes are left out. Raises DataError where folders can be understood in two ways, splits
    share classes, or one of the three splits is missing.
    """
    placed = _drop_common(_place(where, images, within))
    placed = _join_splits(placed) if join else _split(where, placed)
    groups, depth_words = _group(where, placed, depth, wanted)
    if "" in groups:
        if not join:
            _refuse_split_folders_without_classes(where, groups[""])
        return groups[""], None, f"class folders{depth_words}"
    lists = {split: list(groups.get(split, {})) for split in SPLIT_NAMES}
    folders = {s: sorted({image.split_folder for image in placed if image.split == s}) for s in SPLIT_NAMES}
    check_disjoint(where, lists, {split: few(names) for split, names in folders.items()})
    missing = [split for split in SPLIT_NAMES if not lists[split]]
    if set(missing) - set(may_lack):
        there = [f"{few(folders[split])} for {split}" for split in SPLIT_NAMES if lists[split]]
        raise _unclear(
            where, f"there are {' and '.join(there)}, but no class folders for {' and '.join(missing)}", missing
        )
    classes = {name: files for split in SPLIT_NAMES for name, files in groups.get(split, {}).items()}
    names = [few(folders[split]) for split in SPLIT_NAMES if lists[split]]
    return classes, lists, f"class folders{depth_words} under {', '.join(names[:-1])} and {names[-1]}"


def parts_within(name: str, within: str) -> Path | None:
    """The folders of a file, without `within` (a folder, or a/b); None for a file that lies in no such folder."""
    parts = tuple(name.split("/")[:-1])
    wanted = tuple(part for part in within.split("/") if part)
    if not wanted:
        return parts
    for start in range(len(parts) - len(wanted) + 1):
        if parts[start : start + len(wanted)] == wanted:
            return parts[:start] + parts[start + len(wanted) :]
    return None


def _place(where: str, images: Sequence[str], within: str) -> list[_Image]:
    placed = [_Image(name, path) for name in images if (path := parts_within(name, within))]
    if within and not placed:
        folders = list(dict.fromkeys(name.split("/")[0] for name in images if "/" in name))
        raise DataError(f'{where}: within = "{within}" leaves no class folders with images; there are {few(folders)}')
    if not placed:
        raise DataError(
            f"{where} holds no folders with images: make one folder a class, or name a csv file with the option table"
        )
    return placed


def _drop_common(placed: Sequence[_Image]) -> list[_Image]:
    """Drop the folders that all images share, but keep at least one for images."""
    common = len(common_folders([image.path for image in placed]))
    return [replace(image, path=image.path[common:]) for image in placed]


def _split_level(path: Path) -> int | None:
    """The level of the outermost folder, above that of the image, that is named for a split."""
    return next((level for level, name in enumerate(path[:-1]) if splits_in(name)), None)


def _without(image: _Image, level: int, split: str) -> _Image:
    folder = "/".join(image.path[: level + 1])
    return _Image(image.file, image.path[:level] + image.path[level + 1 :], split, f"{folder}/")


def _split(where: str, placed: Sequence[_Image]) -> list[_Image]:
    """Keep the images below folders that are named for splits; all where there are no such folders."""
    below: list[_Image] = []
    stands_for: dict[tuple[Path, str], set[str]] = {}  # where, and which split -> the folders there
    for image in placed:
        level = _split_level(image.path)
        if level is None:
            continue
        splits = frozenset[str]().union(*(splits_in(name) for name in image.path[:-1]))
        if len(splits) > 1:
            raise _unclear(where, f"'{'/'.join(image.path)}' stands for {' and '.join(sorted(splits))}")
        (split,) = splits
        below.append(_without(image, level, split))
        folders = stands_for.setdefault((image.path[:level], split), set())
        folders.add(below[-1].split_folder)
        if len(folders) > 1:
            raise _unclear(where, f"{' and '.join(sorted(folders))} both stand for {split}")
    return below or list(placed)


def _join_splits(placed: Sequence[_Image]) -> list[_Image]:
    """Drop the folders of splits from the paths of images below them; keeps all images where there are none."""
    splits: dict[Path, set[str]] = {}
    for image in placed:
        level = _split_level(image.path)
        if level is not None:
            splits.setdefault(image.path[:level], set()).update(splits_in(image.path[level]))
    parents = {path for path, there in splits.items() if len(there) > 1}
    levels = ((image, _split_level(image.path)) for image in placed)
    joined = [_without(i, level, "") for i, level in levels if level is not None and i.path[:level] in parents]
    return joined or list(placed)


def _group(where: str, placed: Sequence[_Image], depth: Depth, wanted: Collection[str]) -> tuple[Groups, str]:
    """Group images by split and class; also says how deep classes lie, where that is not one folder for all."""
    longest = max(len(image.path) for image in placed)
    found = _find_depth(where, placed, longest, wanted) if depth == "auto" else depth
    if found != "each" and found > longest:
        raise DataError(f"{where}: depth = {found}, but no image lies more than {counted(longest, 'folder')} deep")
    groups: dict[str, dict[str, list[str]]] = {}
    folders: dict[tuple[str, str], Path] = {}
    for image in placed:
        folder = _class_folder(image.path, found)
        if folder is None:
            continue
        name = composed("/".join(folder))
        if folders.setdefault((image.split, name), folder) != folder:
            raise DataError(f"{where}: more than one class folder is called '{name}': rename one, or merge them")
        groups.setdefault(image.split, {}).setdefault(name, []).append(image.file)
    depths = sorted({len(folder) for folder in folders.values()})
    range_ = " to ".join(map(str, dict.fromkeys((depths[0], depths[-1]))))
    return groups, f" {range_} deep" if longest > 1 else ""


def _class_folder(path: Path, depth: Fixed) -> Path | None:
    """The folder of an image that is its class; None where the image does not lie so deep."""
    if depth == "each":
        return path
    return path[:depth] if len(path) >= depth else None


def _find_depth(where: str, placed: Sequence[_Image], longest: int, wanted: Collection[str]) -> Fixed:
    """Find how deep classes lie: all depths make the same classes, or only one makes those that are wanted."""
    folders = {(image.split, image.path) for image in placed}
    outermost = {(split, path[:1]) for split, path in folders}
    is_shared = len({path for _, path in folders}) > len({path for _, path in outermost})  # train/x/ant and test/x/bee
    if len(folders) == len(outermost) and not is_shared:
        return 1 if placed[0].split else "each"  # which names them as they have always been named
    choices: list[Fixed] = [*range(1, min(longest, DEEPEST) + 1)]
    if min(len(path) for _, path in folders) < longest or longest > DEEPEST:
        choices.append("each")
    names = {choice: _names([path for _, path in folders], choice) for choice in choices}
    fit = [choice for choice in choices if wanted and set(wanted) <= set(names[choice])]
    if len(fit) == 1:
        return fit[0]
    made = [
        f"depth = {json.dumps(choice)} makes {counted(len(names[choice]), 'class', 'classes')} ({few(names[choice])})"
        for choice in choices
    ]
    raise DataError(
        f"{where}: it is not clear which folders are classes: {', '.join(made)}. Set one of these"
        f"{_advise_within({path for _, path in folders})}"
    )


def _names(paths: Iterable[Path], depth: Fixed) -> list[str]:
    folders = {folder for path in paths if (folder := _class_folder(path, depth))}
    return sorted(composed("/".join(folder)) for folder in folders)


def _advise_within(paths: Collection[Path]) -> str:
    """Say which option reads one of two folders of the same classes, as images/ant and masks/ant; "" without such."""
    parents: dict[str, set[str]] = {}
    for path in paths:
        if len(path) > 1:
            parents.setdefault(path[-1], set()).add(path[-2])
    shared = [name for name, folders in sorted(parents.items()) if len(folders) > 1]
    outer = sorted({folder for name in shared for folder in parents[name]})
    inside, outside = (outer, shared) if len(outer) <= len(shared) else (shared, outer)
    known = [name for name in inside if "image" in name.lower()]
    if not known and (not shared or inside is shared):  # sessions s1 and s2 of each class: no one wants only s1
        return ""
    return f'; or within = "{(known or inside)[0]}", as {few(outside)} are in {few(inside)}'


def _refuse_split_folders_without_classes(where: str, classes: ClassFiles) -> None:
    """Raise DataError for images that lie in test/ itself; a class may be called train, among other vehicles."""
    called = {name: split_called(name.rpartition("/")[2]) for name in classes}
    found = [name for name, split in called.items() if split]
    if {called[name] for name in found} - {"train"}:
        folders = " and ".join(f"{name}/" for name in found[:3])
        raise DataError(
            f"{where}: {folders} would be classes, but stand for splits: put class folders into them, or name a csv "
            f"file with the option table. If they are classes, set {JOIN_SPLITS}"
        )


def _unclear(where: str, what: str, missing: Sequence[str] = ()) -> DataError:
    return DataError(
        f"{where}: {what}: {advise_validation(missing)}put the class folders into train/, val/ and test/, or list "
        "them in a json file with the option splits. To divide all of them anew, whatever their folders say, set "
        f"{JOIN_SPLITS}"
    )
