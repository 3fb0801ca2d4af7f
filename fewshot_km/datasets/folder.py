"""Images of your own: class folders or a csv file, any format, any sizes; split by lists or by seeded fractions."""

import csv
import hashlib
import io
import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from fewshot_km.datasets.archives import open_tree
from fewshot_km.datasets.bank_cache import ClassFiles, Prepared, announce, bank_from_files, prepare
from fewshot_km.datasets.base import DATASETS, Dataset
from fewshot_km.datasets.file_trees import FileTree, sort_key
from fewshot_km.datasets.image_files import ImageForm, image_suffixes
from fewshot_km.datasets.locating import place_name
from fewshot_km.datasets.published import class_names, images_among, merged, split_folders
from fewshot_km.datasets.splits import SPLIT_NAMES, ClassLists, check_lists
from fewshot_km.errors import DataError, describe_error

TEXT_LIMIT = 1 << 28  # bytes of a csv or json file: a line for each of some million images

Fraction = Annotated[float, Field(gt=0, lt=1)]


@DATASETS.register("folder")
def folder(
    data_root: Path,
    *,
    path: str,
    table: str = "",
    splits: str = "",
    fractions: Sequence[Fraction] = (0.64, 0.16, 0.2),
    split_seed: int = 0,
    size: Annotated[int, Field(ge=1, le=1024)] = 84,
    colour: Literal["rgb", "grey"] = "rgb",
    fit: Literal["stretch", "crop"] = "stretch",
) -> Dataset:
    """Images of your own: a folder or archive of class folders, or a csv file of file,class; any format, any sizes.

    path       folder or archive, from the data root
    table      csv file in it with columns file, class and, if you like, split; without one, folders are classes
    splits     json file in it: {"train": [classes], "val": [...], "test": [...]}; classes not listed are left out.
               Without one: the csv file's split column, or folders train/ val/ test/, or else fractions
    fractions  of the classes for training, validation and test; mini-ImageNet's by default
    split_seed which of the classes, where fractions decide
    size       pixels on either side; 84 as mini-ImageNet
    colour     rgb or grey
    fit        stretch the whole image to a square, as published few-shot data sets do, or crop its middle
    Raises DataError where files, classes or splits are wrong.
    """
    tree = open_tree(data_root / path)
    form = ImageForm(size, 3 if colour == "rgb" else 1, fit, upright=True)
    options = json.dumps([table, splits, list(fractions), split_seed])
    label = f"folder-{hashlib.sha256(str(tree.path.resolve()).encode()).hexdigest()[:8]}"

    def read() -> Prepared:
        files, lists, how = _read_table(tree, table) if table else find_classes(tree)
        if splits:
            lists, how = _read_lists(tree, splits, files), f"{how}, split by {splits}"
        elif lists is None:
            lists, how = split_classes(list(files), fractions, split_seed), f"{how}, split with seed {split_seed}"
        check_lists(lists)
        used = {name: files[name] for names in lists.values() for name in names}
        bank, done = bank_from_files(label, tree, used, form)
        return Prepared(bank, lists, f"{how} in {place_name(tree, data_root)}, {done}")

    return announce(f"folder {Path(path).name}", prepare(label, f"folder 1: {form} {options}", [tree], read))


def find_classes(tree: FileTree) -> tuple[ClassFiles, ClassLists | None, str]:
    """Each folder's images, the classes of each split where folders tell, and what was recognised."""
    suffixes = image_suffixes()
    found = split_folders(tree.names, suffixes)
    if found:
        _check_distinct(tree, [name for split in SPLIT_NAMES for name in found[split]])
        named = {split: {_composed(name): files for name, files in found[split].items()} for split in SPLIT_NAMES}
        return merged(named), class_names(named), "class folders under train/, val/ and test/"
    images = [name for name in images_among(tree.names, suffixes) if "/" in name]
    if not images:
        raise DataError(
            f"{tree} holds no folders with images (files that end in {', '.join(sorted(suffixes)[:8])}, ...): "
            "make one folder a class, or name a csv file with the option table"
        )
    outer = _common_folder(images)
    classes: dict[str, list[str]] = {}
    for name in images:
        classes.setdefault(name.rpartition("/")[0][len(outer) :], []).append(name)
    _check_distinct(tree, list(classes))
    return {_composed(name): files for name, files in classes.items()}, None, "class folders"


def split_classes(names: Sequence[str], fractions: Sequence[float], seed: int) -> ClassLists:
    """Divide classes by fractions: in the order of the SHA-256 of "<seed>/<name>", so by nothing but their names.

    Counts are rounded by largest remainder, at least one a split. Raises DataError where that cannot be.
    """
    if len(fractions) != len(SPLIT_NAMES) or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise DataError(f"fractions {list(fractions)}: give three, for train, val and test, that add up to 1")
    if len(names) < len(SPLIT_NAMES):
        raise DataError(f"{len(names)} classes ({', '.join(names)}) cannot be split into train, val and test: add some")
    exact = [fraction * len(names) for fraction in fractions]
    counts = [max(1, math.floor(share)) for share in exact]
    while sum(counts) != len(names):
        step = 1 if sum(counts) < len(names) else -1
        able = [i for i in range(len(counts)) if step > 0 or counts[i] > 1]
        counts[max(able, key=lambda i: step * (exact[i] - counts[i]))] += step
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return {
        split: sorted(ordered[end - count : end], key=sort_key)
        for split, count, end in zip(SPLIT_NAMES, counts, ends, strict=True)
    }


def _read_table(tree: FileTree, table: str) -> tuple[ClassFiles, ClassLists | None, str]:
    """Classes, and splits where there is a column for them, from a csv file; every file in it must be there."""
    where = f"{tree}: '{table}'"
    try:
        rows = list(csv.DictReader(io.StringIO(_read_text(tree, table)), strict=True))
    except csv.Error as error:
        raise DataError(f"{where} is no csv file: {describe_error(error)}") from error
    columns = list(rows[0]) if rows else []
    if not {"file", "class"} <= set(columns):
        raise DataError(f"{where} needs a first line with the columns file and class; it has {', '.join(columns)}")
    outer = table.rpartition("/")[0]
    known = set(tree.names)
    classes: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        file, name = f"{outer}/{row['file']}".lstrip("/"), _composed((row["class"] or "").strip())
        if file not in known or not name:
            wrong = f"'{file}' is not there" if name else "the class is missing"
            raise DataError(f"{where}, line {number}: {wrong}")
        classes.setdefault(name, []).append(file)
        if "split" in columns and owner.setdefault(name, row["split"]) != row["split"]:
            raise DataError(f"{where}, line {number}: class '{name}' is in '{owner[name]}' and in '{row['split']}'")
    for name, files in classes.items():
        if len(set(files)) != len(files):
            raise DataError(f"{where}: a file occurs twice in class '{name}'")
    ordered = {name: sorted(files, key=sort_key) for name, files in classes.items()}
    if "split" not in columns:
        return ordered, None, f"files listed in {table}"
    strange = sorted(set(owner.values()) - set(SPLIT_NAMES))
    if strange:
        raise DataError(f"{where}: the column split may say train, val or test, not '{strange[0]}'")
    lists = {split: sorted((n for n in classes if owner[n] == split), key=sort_key) for split in SPLIT_NAMES}
    return ordered, lists, f"files listed in {table}"


class _SplitFile(BaseModel):
    train: list[str]
    val: list[str]
    test: list[str]


def _read_lists(tree: FileTree, splits: str, files: ClassFiles) -> ClassLists:
    where = f"{tree}: '{splits}'"
    try:
        known = _SplitFile.model_validate_json(_read_text(tree, splits)).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        why = ": ".join([*map(str, first["loc"]), first["msg"]])
        raise DataError(f'{where} should hold {{"train": [classes], "val": [...], "test": [...]}}: {why}') from None
    lists = {split: [_composed(name) for name in known[split]] for split in SPLIT_NAMES}
    missing = [name for names in lists.values() for name in names if name not in files]
    if missing:
        raise DataError(f"{where} lists classes without images: {', '.join(missing[:10])}")
    return lists


def _read_text(tree: FileTree, name: str) -> str:
    if name not in tree.names:
        raise DataError(f"{tree}: there is no file '{name}' in it")
    try:
        return tree.read_one(name, TEXT_LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{tree}: '{name}' is not UTF-8 text: {describe_error(error)}") from error


def _common_folder(names: Sequence[str]) -> str:
    """What all files' folders begin with, as "a/b/"; but not all of a folder that holds images itself."""
    folders = {name.rpartition("/")[0] for name in names}
    first, last = min(folders).split("/"), max(folders).split("/")
    common = 0
    while common < min(len(first), len(last)) - 1 and first[common] == last[common]:
        common += 1
    return "".join(f"{part}/" for part in first[:common])


def _check_distinct(tree: FileTree, names: Sequence[str]) -> None:
    composed = [_composed(name) for name in names]
    twice = sorted({name for name in composed if composed.count(name) > 1}) if len(set(composed)) < len(names) else []
    if twice:
        raise DataError(f"{tree}: more than one class folder is called '{twice[0]}': rename one, or merge them")


def _composed(name: str) -> str:
    """The composed form of a name, which some file systems take apart."""
    return unicodedata.normalize("NFC", name)
