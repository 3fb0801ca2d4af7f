"""CUB-200-2011, Wah et al.'s birds: whole images stretched to 84x84, with Chen et al.'s split of the classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fewshot_km.data.cache import Prepared, announce, bank_from_files, prepare
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.locating import find_trees, place_name
from fewshot_km.data.files.tree_contents import describe_places
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm, image_suffixes
from fewshot_km.data.layouts.published import (
    Published,
    check_complete,
    class_folders,
    class_names,
    count_images,
    in_splits,
    merged,
)
from fewshot_km.data.layouts.torchmeta_files import bank_from_hdf5, count_labelled, find_torchmeta
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError

CUB = Published("cub", None, 11_788)
FORM = ImageForm(84)  # the size of mini-ImageNet; bounding boxes are not used, as a learner at large has none
RECIPE = f"cub 1: {FORM}"  # change it with the reading: older caches are then left alone


@DATASETS.register("cub")
def cub(data_root: Path, *, allow_partial: bool = False) -> Dataset:
    """CUB: 100/50/50 classes of birds, Chen et al.'s split, whole images stretched to 84x84; from CUB_200_2011.tgz.

    `allow_partial`: whether classes or images may be missing; off because accuracies are then comparable to nothing.
    Raises DataError where it is not found, damaged or incomplete.
    """
    trees = find_trees(data_root, "cub", lambda _: False, aliases=("CUB_200_2011",))
    recipe = f"{RECIPE}, partial {allow_partial}"
    return announce("cub", prepare("cub", recipe, trees, lambda: _read(data_root, trees, allow_partial)))


def _read(data_root: Path, trees: Sequence[FileTree], allow_partial: bool) -> Prepared:
    for tree in trees:
        # in images/ only: the segmentations, pictures too, lie in folders of the same names
        names = [name for name in tree.names if name.split("/")[-3:-2] == ["images"]]
        files = in_splits(CUB, class_folders(names, image_suffixes()))
        if files:
            partial = check_complete(CUB, count_images(files), f"{tree} (class folders in images/)", allow_partial)
            bank, done = bank_from_files("cub", tree, merged(files), FORM)
            where = place_name(tree, data_root)
            return Prepared(bank, class_names(files), f"class folders in {where}, {done}", partial)
    for tree in trees:  # last: torchmeta leaves the archive beside
        given = find_torchmeta(tree.names)
        if given:
            return _from_torchmeta(tree, given, place_name(tree, data_root), allow_partial)
    raise DataError(
        f"CUB-200-2011 not found: {describe_places(data_root, trees)}. "
        f"Run `fewshot-km data fetch cub`, or put into {data_root / 'cub'} "
        "CUB_200_2011.tgz, a zip or other tar archive of it, or the folder CUB_200_2011, with the folder images/ of "
        "class folders (001.Black_footed_Albatross), or torchmeta's {train,val,test}_data.hdf5 with "
        "{train,val,test}_labels.json; --data-root names another data root"
    )


def _from_torchmeta(tree: FileTree, files: Mapping[str, tuple[str, str]], where: str, allow_partial: bool) -> Prepared:
    counts = {split: count_labelled(tree, data, labels, None) for split, (data, labels) in files.items()}
    partial = check_complete(CUB, counts, f"{tree} (torchmeta's HDF5 files)", allow_partial)
    bank, done = bank_from_hdf5("cub", tree, [data for data, _ in files.values()], counts, FORM)
    lists = {split: sorted(counts[split]) for split in SPLIT_NAMES}
    return Prepared(bank, lists, f"torchmeta's HDF5 files in {where}, {done}", partial)
