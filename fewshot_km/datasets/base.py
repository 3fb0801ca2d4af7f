"""A data set: one image bank and its frozen splits, found by name."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fewshot_km.datasets.bank import ImageBank
from fewshot_km.datasets.splits import SPLIT_NAMES, Split
from fewshot_km.registry import Registry


@dataclass(frozen=True)
class Dataset:
    """Images and the three splits of their classes. `name` is the protocol's name, as in grids and tables."""

    name: str
    bank: ImageBank
    splits: Mapping[str, Split]

    @property
    def digest(self) -> str:
        """SHA-256 over pixels and splits: two results are comparable only where it agrees."""
        parts = [self.bank.digest, *(self.splits[s].digest for s in SPLIT_NAMES)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


DatasetLoader = Callable[[Path], Dataset]
"""Takes the data root, returns the data set; its docstring's first line is what `fewshot-km datasets` prints."""

DATASETS: Registry[DatasetLoader] = Registry("data set", "data sets")
