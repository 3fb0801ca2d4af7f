"""Where pixels come from: image banks with frozen class splits, found by name."""

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.dataset import DATASETS, Dataset, load_dataset
from fewshot_km.data.readers import (  # noqa: F401 - importing registers
    cifar100,
    cub,
    folder,
    glyphs,
    mini_imagenet,
    omniglot,
    tiered_imagenet,
)
from fewshot_km.data.splits import Split

__all__ = ["DATASETS", "Dataset", "ImageBank", "Split", "load_dataset"]
