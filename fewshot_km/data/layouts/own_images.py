"""The classes and splits of one's own images, as told by folders, a table, or lists of each split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from fewshot_km.data.files.contents import describe_passed_over
from fewshot_km.data.files.names import composed, ending, few, sort_key
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ClassFiles, images_among
from fewshot_km.data.layouts.class_tables import FileFinder, classes_of, read_table
from fewshot_km.data.layouts.folder_layout import Depth, parts_within, read_folders
from fewshot_km.data.layouts.split_lists import ListFiles, find_list_files, read_class_names, read_list
from fewshot_km.data.layouts.split_words import split_called
from fewshot_km.data.splits import (
    JOIN_SPLITS,
    SPLIT_NAMES,
    WHY_DISJOINT,
    ClassLists,
    advise_validation,
    check_disjoint,
)
from fewshot_km.errors import DataError
from fewshot_km.text import counted


@dataclass(frozen=True)
class LayoutChoice:
    """Those options of the data set `folder` that choose classes and splits; they are explained there."""

    table: str
    file_column: str
    class_column: str
    within: str
    skip: str
    depth: Depth
    splits: str
    split: str
    take_validation: bool = False

    @property
    def may_lack(self) -> Sequence[str]:
        """The splits that may lack classes, since they get some later."""
        return ("val",) if self.take_validation else ()


@dataclass(frozen=True)
class Found:
    """Classes with their files; the classes of each split, or None; how they were found; the tables that were read."""

    classes: ClassFiles
    lists: ClassLists | None
    how: str
    tables: Sequence[str] = ()


def find_classes(tree: FileTree, choice: LayoutChoice) -> Found:
    """Find what the options choose, or else what is there; raises DataError where that is wrong or not clear."""
    given = {name: value for name in ("table", "splits") if (value := getattr(choice, name))}
    if choice.split != "auto" and (choice.splits or choice.split != "fractions") and given:
        others = " and ".join(f'{name} = "{value}"' for name, value in given.items())
        raise DataError(f'{tree}: split = "{choice.split}" and {others} contradict each other: keep one of them')
    files = _list_files_with(tree, choice)
    if choice.table:
        found = _from_table(tree, choice)
        return _by_class_lists(tree, choice.splits, found) if choice.splits else found
    if files:
        return _from_lists(tree, files, choice)
    if choice.splits:
        names = [name for lists in read_class_names(tree, choice.splits).values() for name in lists]
        return _by_class_lists(tree, choice.splits, _from_folders(tree, choice, join=True, wanted=names))
    if choice.split == "fractions":
        return _from_folders(tree, choice, join=True)
    if choice.split == "lists":
        return _from_only_lists(tree, find_list_files(tree.names, choice.may_lack)[0], choice)
    if choice.split == "folders":
        found = _from_folders(tree, choice)
        if found.lists is None:
            raise DataError(f'{tree}: split = "folders", but none are named for splits, as train/, val/ and test/')
        return found
    return _what_is_there(tree, choice)


def _what_is_there(tree: FileTree, choice: LayoutChoice) -> Found:
    """Find folders of splits, lists or else class folders; raises DataError where two of them disagree."""
    listed, unclear = find_list_files(tree.names, choice.may_lack)
    try:
        found = _from_folders(tree, choice)
    except DataError:
        if not listed:
            raise
        return _from_only_lists(tree, listed, choice)
    if found.lists is not None:
        for files in listed:
            found = _agreed(tree, found, files, choice)
    elif listed:
        return _from_only_lists(tree, listed, choice)
    elif unclear:
        raise DataError(
            f"{tree}: {few(unclear)} look like lists of splits, but there is not one for each of train, val and test: "
            f"{_advise_validation(tree)}name a json file with the option splits; or set {JOIN_SPLITS} to pass them "
            "over"
        )
    return found


def _from_only_lists(tree: FileTree, listed: Sequence[ListFiles], choice: LayoutChoice) -> Found:
    if len(listed) > 1:
        names = " or ".join(f'splits = "{files["train"]}"' for files in listed)
        raise DataError(f"{tree}: more than one set of lists tells a split: set {names}")
    if not listed:
        raise DataError(
            f'{tree}: split = "lists", but there are no lists called train.csv, val.csv and test.csv or so: '
            f"{_advise_validation(tree)}add them"
        )
    return _from_lists(tree, listed[0], choice)


def _advise_validation(tree: FileTree) -> str:
    """Say what to do where only the list for validation is missing; else ""."""
    return advise_validation(["val"]) if find_list_files(tree.names, ["val"])[0] else ""


def _agreed(tree: FileTree, found: Found, files: ListFiles, choice: LayoutChoice) -> Found:
    """Check that lists say the same as folders, and count them as read; lists that cannot be read are passed over.

    Raises DataError where lists have an image in another split than its folder.
    """
    try:
        listed = _read_lists(tree, files, choice)
    except DataError:
        return found
    lists = found.lists or {}
    split_of = {file: split for split, names in lists.items() for name in names for file in found.classes[name]}
    for split, classes in listed.items():
        for file in (file for members in classes.values() for file in members):
            if split_of.get(file, split) != split:
                raise DataError(
                    f"{tree}: '{file}' is in {split_of[file]} by its folder and in {split} by {files[split]}: "
                    'set split = "folders" or split = "lists"'
                )
    return replace(found, tables=[*found.tables, *files.values()])


def _from_folders(tree: FileTree, choice: LayoutChoice, join: bool = False, wanted: Sequence[str] = ()) -> Found:
    images = _images(tree, choice)
    if not any("/" in name for name in images):
        left = describe_passed_over(tree, []).removeprefix("passed over: ")
        raise DataError(f"{tree} holds no folders with images: {_advise_table(tree)}. It has {left or 'nothing in it'}")
    found = read_folders(
        str(tree), images, within=choice.within, depth=choice.depth, join=join, may_lack=choice.may_lack, wanted=wanted
    )
    classes, lists, how = found
    if len(classes) == 1 and lists is None:
        ((name, files),) = classes.items()
        there = counted(len(files), "image")
        raise DataError(f"{tree}: all {there} are in one folder, '{name}', which is one class: {_advise_table(tree)}")
    return Found(classes, lists, how)


def _advise_table(tree: FileTree) -> str:
    """Say what to do where folders tell no classes."""
    tables = [f'table = "{name}"' for name in tree.names if ending(name) in (".csv", ".tsv")]
    if tables:
        return f"if a table says which class each image is, set {' or '.join(tables[:3])}"
    return "make one folder a class, or name a csv file with the option table"


def _images(tree: FileTree, choice: LayoutChoice) -> list[str]:
    images = [name for name in images_among(tree.names) if not _is_skipped(name, choice)]
    if not images and choice.skip:
        raise DataError(f'{tree}: skip = "{choice.skip}" leaves no images')
    return images


def _is_skipped(name: str, choice: LayoutChoice) -> bool:
    return choice.skip != "" and any(fnmatchcase(part, choice.skip) for part in (name, name.rpartition("/")[2]))


def _from_table(tree: FileTree, choice: LayoutChoice) -> Found:
    where = f"{tree}: '{choice.table}'"
    rows = read_table(tree.read_text(choice.table), where, choice.file_column, choice.class_column)
    classes = classes_of(where, rows, _finder(tree, choice), choice.table.rpartition("/")[0])
    how = f"files listed in {choice.table}"
    if rows[0].split is None or choice.split == "fractions":
        return Found(classes, None, how, [choice.table])
    owner: dict[str, tuple[str, str]] = {}
    for row in rows:
        split = split_called(row.split or "")
        if split is None:
            raise DataError(f"{where}, {row.place}: the column of splits may say train, val or test, not '{row.split}'")
        first, said = owner.setdefault(composed(row.label), (split, row.split or ""))
        if first != split:
            raise DataError(
                f"{where}, {row.place}: class '{row.label}' is in '{said}' and in '{row.split}': {WHY_DISJOINT}. "
                f"Keep it in one; or set {JOIN_SPLITS}, which ignores that column"
            )
    lists = {s: sorted((name for name in classes if owner[name][0] == s), key=sort_key) for s in SPLIT_NAMES}
    return Found(classes, lists, how, [choice.table])


def _from_lists(tree: FileTree, files: ListFiles, choice: LayoutChoice) -> Found:
    try:
        by_split = _read_lists(tree, files, choice)
    except DataError as error:
        raise DataError(f"{error}. Mend it; or set {JOIN_SPLITS} to pass these lists over") from error
    lists = {split: sorted(by_split.get(split, {}), key=sort_key) for split in SPLIT_NAMES}
    check_disjoint(str(tree), lists, {split: files.get(split, "") for split in SPLIT_NAMES})
    split_of: dict[str, str] = {}
    for split in by_split:
        for file in (file for members in by_split[split].values() for file in members):
            if split_of.setdefault(file, split) != split:
                raise DataError(f"{tree}: '{file}' is listed in {files[split_of[file]]} and in {files[split]}")
    classes = {name: members for split in files for name, members in by_split[split].items()}
    names = [files[split] for split in SPLIT_NAMES if split in files]
    return Found(classes, lists, f"files listed in {', '.join(names[:-1])} and {names[-1]}", names)


def _read_lists(tree: FileTree, files: ListFiles, choice: LayoutChoice) -> Mapping[str, ClassFiles]:
    """Read the lists: split -> class -> files."""
    finder, images = _finder(tree, choice), _images(tree, choice)
    by_split = {}
    for split in (split for split in SPLIT_NAMES if split in files):
        name = files[split]
        rows = read_list(tree, name, images, choice.file_column, choice.class_column)
        by_split[split] = classes_of(f"{tree}: '{name}'", rows, finder, name.rpartition("/")[0])
    return by_split


def _finder(tree: FileTree, choice: LayoutChoice) -> FileFinder:
    kept = [name for name in tree.names if not _is_skipped(name, choice)]
    return FileFinder(tree.path, [name for name in kept if parts_within(name, choice.within) is not None])


def _list_files_with(tree: FileTree, choice: LayoutChoice) -> ListFiles | None:
    """Find the set of lists that the option `splits` names one of; None where it names another file."""
    listed = find_list_files(tree.names, choice.may_lack)[0]
    return next((files for files in listed if choice.splits in files.values()), None)


def _by_class_lists(tree: FileTree, name: str, found: Found) -> Found:
    lists = read_class_names(tree, name)
    missing = [item for names in lists.values() for item in names if item not in found.classes]
    if missing:
        raise DataError(f"{tree}: '{name}' lists classes without images: {', '.join(missing[:10])}")
    return Found(found.classes, lists, f"{found.how}, split by {name}", [*found.tables, name])
