"""CUB-200-2011, Wah et al.'s birds: whole images stretched to 84x84, with Chen et al.'s split of the classes."""

from pathlib import Path

from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.locating import find_trees
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm
from fewshot_km.data.layouts.image_files import class_folders, image_layout
from fewshot_km.data.layouts.published import Layout, Published, load_published
from fewshot_km.data.layouts.torchmeta import find_hdf5_layout

FORM = ImageForm(84)  # the size of mini-ImageNet; bounding boxes are not used, as a learner at large has none
CUB = Published("cub", "CUB-200-2011", f"cub 1: {FORM}", images=11_788)


@DATASETS.register("cub")
def cub(data_root: Path, *, allow_partial: bool = False) -> Dataset:
    """CUB: 100/50/50 classes of birds, Chen et al.'s split, whole images stretched to 84x84; from CUB_200_2011.tgz.

    `allow_partial`: whether classes or images may be missing; off because accuracies are then comparable to nothing.
    Raises DataError where it is not found, damaged or incomplete.
    """
    trees = find_trees(data_root, "cub", aliases=("CUB_200_2011",))
    layouts = (find_folders, lambda tree: find_hdf5_layout(tree, "cub", FORM))  # torchmeta leaves the archive beside
    advice = (
        f"Run `fewshot-km data fetch cub`, or put into {data_root / 'cub'} "
        "CUB_200_2011.tgz, a zip or other tar archive of it, or the folder CUB_200_2011, with the folder images/ of "
        "class folders (001.Black_footed_Albatross), or torchmeta's {train,val,test}_data.hdf5 with "
        "{train,val,test}_labels.json"
    )
    return load_published(CUB, data_root, trees, layouts, allow_partial, advice)


def find_folders(tree: FileTree) -> Layout | None:
    """The class folders in images/: the segmentations, images too, lie in folders of the same names elsewhere."""
    files = CUB.in_splits(class_folders([name for name in tree.names if name.split("/")[-3:-2] == ["images"]]))
    return image_layout(CUB, "class folders", tree, files, FORM) if files else None
