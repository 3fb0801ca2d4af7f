"""Where pixels come from: image banks with frozen class splits, found by name."""

from fewshot_km.datasets import glyphs, mini_imagenet, omniglot
from fewshot_km.datasets.bank import ImageBank
from fewshot_km.datasets.base import DATASETS, Dataset, load_dataset
from fewshot_km.datasets.splits import Split

__all__ = ["DATASETS", "Dataset", "ImageBank", "Split", "glyphs", "load_dataset", "mini_imagenet", "omniglot"]
