"""Images of your own: class folders, a table or lists, any format, any sizes; split as they say, or by fractions."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fewshot_km.data.cache import Prepared, announce, prepare
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.contents import describe_passed_over
from fewshot_km.data.files.locating import place_name
from fewshot_km.data.files.names import few
from fewshot_km.data.images import ClassFiles, ImageForm, bank_from_files
from fewshot_km.data.layouts.folder_layout import Depth
from fewshot_km.data.layouts.own_images import Found, LayoutChoice, find_classes
from fewshot_km.data.splits import (
    SPLIT_NAMES,
    ClassLists,
    advise_validation,
    check_lists,
    split_classes,
    take_validation,
)
from fewshot_km.errors import DataError
from fewshot_km.text import counted

_ADDED = re.compile(r"(?i)[-_. ]?(mask|masks|seg|segm|segmentation|gt|trimap|annotation|annotated|depth)$")

Fraction = Annotated[float, Field(gt=0, lt=1)]


@DATASETS.register("folder")
def folder(
    data_root: Path,
    *,
    path: str,
    table: str = "",
    file_column: str = "",
    class_column: str = "",
    within: str = "",
    skip: str = "",
    depth: Depth = "auto",
    splits: str = "",
    split: Literal["auto", "folders", "lists", "fractions"] = "auto",
    fractions: Sequence[Fraction] = (0.64, 0.16, 0.2),
    split_seed: int = 0,
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    size: Annotated[int, Field(ge=1, le=1024)] = 84,
    colour: Literal["rgb", "grey"] = "rgb",
    fit: Literal["stretch", "crop"] = "stretch",
) -> Dataset:
    """Images of your own: a folder or archive of class folders, or a csv file of file,class; any format, any sizes.

    path         folder or archive, from the data root
    table        csv file in it with columns for file, class and, if you like, split; commas, semicolons or tabs.
                 Without one, folders are classes
    file_column, class_column  names of these columns in tables and lists; the usual ones, as filename and label, are
                 known
    within       only images below folders of this name, as "images" where there are masks or segmentations too
    skip         images to pass over, by a pattern of their file names: "*_mask.*", "*.png"
    depth        how many folders deep classes lie: 1 for ant/session/1.jpg, 2 for insects/ant/1.jpg; or "each" folder
                 with images is a class. By default found out, and asked for where it is not clear
    splits       json file in it: {"train": [classes], "val": [...], "test": [...]}, where classes not listed are left
                 out; or one of three lists that stand together, as train.csv, val.csv and test.csv (columns as in a
                 table), or base.json, val.json and novel.json as A Closer Look and easyfsl have them
    split        what splits the classes where splits does not: "folders" named train/ val/ test/ or base/ val/ novel/
                 and the like, three "lists" as above, or "fractions", whatever folders and lists say: classes of one
                 name in such folders are then one class. By default what is there, and asked for where that is not
                 clear; fractions where there is nothing
    fractions    of the classes for training, validation and test; mini-ImageNet's by default
    split_seed   which of the classes, where fractions or validation decide
    validation   of the classes for training, those that are taken for validation where folders, lists or a table have
                 none for it; a fraction, as in fractions. None by default: whoever compares results should know of it
    size         pixels on either side; 84 as mini-ImageNet
    colour       rgb or grey
    fit          stretch the whole image to a square, as published few-shot data sets do, or crop its middle
    Raises DataError where files, classes or splits are wrong or not clear.
    """
    tree = open_tree(data_root / path)
    form = ImageForm(size, 3 if colour == "rgb" else 1, fit, upright=True)
    choice = LayoutChoice(table, file_column, class_column, within, skip, depth, splits, split, validation > 0)
    options = json.dumps([str(choice), list(fractions), split_seed, validation])
    label = f"folder-{hashlib.sha256(str(tree.path.resolve()).encode()).hexdigest()[:8]}"

    def read() -> Prepared:
        found = find_classes(tree, choice)
        lists, how = _divide(str(tree), found, fractions, split_seed, validation)
        check_lists(lists)
        used = {name: found.classes[name] for names in lists.values() for name in names}
        bank, done = bank_from_files(label, tree, used, form)
        read_files = {*found.tables, *(file for files in used.values() for file in files)}
        about = [
            f"{how} in {place_name(tree, data_root)}, {done}",
            ", ".join(f"{name} {len(lists[name])} ({few(lists[name])})" for name in SPLIT_NAMES),
            _describe_masks(used),
            describe_passed_over(tree, read_files),
        ]
        return Prepared(bank, lists, "; ".join(filter(None, about)))

    return announce(f"folder {Path(path).name}", prepare(label, f"folder 2: {form} {options}", [tree], read))


def _divide(
    where: str, found: Found, fractions: Sequence[float], seed: int, validation: float
) -> tuple[ClassLists, str]:
    """Divide the classes into splits, and say how; raises DataError where the options do not fit."""
    lists = found.lists
    if validation and (lists is None or lists["val"]):
        there = "fractions split these classes" if lists is None else "there are classes for validation already"
        raise DataError(f"{where}: validation = {validation:g}, but {there}: leave it out")
    if lists is None:
        return split_classes(list(found.classes), fractions, seed), f"{found.how}, split with seed {seed}"
    if lists["val"] or not (lists["train"] and lists["test"]):
        return lists, found.how
    if not validation:
        raise DataError(f"{where}: split 'val' has no classes: {advise_validation(['val'])}name some for it")
    how = f"{found.how}, {validation:g} of the classes of train taken for validation with seed {seed}"
    return take_validation(where, lists, validation, seed), how


def _describe_masks(classes: ClassFiles) -> str:
    pairs = pairs_with_masks(file for files in classes.values() for file in files)
    if not pairs:
        return ""
    image, mask = pairs[0]
    return f"read as images: {counted(len(pairs), 'possible mask')} ({mask} of {image}), which skip can pass over"


def pairs_with_masks(images: Iterable[str]) -> list[tuple[str, str]]:
    """Pair images with masks of the same folder, whose names differ in the ending or have "_mask" or the like added.

    Of two endings, png is that of the mask, as masks are stored without loss.
    """
    images = list(images)
    plain: dict[str, list[str]] = {}
    for name in images:
        plain.setdefault(name.rpartition(".")[0], []).append(name)
    pairs = []
    for stem, alike in plain.items():
        bare = _ADDED.sub("", stem)
        if bare != stem and bare in plain:
            pairs += [(plain[bare][0], mask) for mask in alike]
        elif len(alike) == 2:
            image, mask = sorted(alike, key=lambda name: name.lower().endswith(".png"))
            pairs.append((image, mask))
    return pairs
