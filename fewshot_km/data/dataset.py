"""A data set: one image bank and its frozen splits, found by name."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.splits import SPLIT_NAMES, Split
from fewshot_km.errors import FewshotError, PluginError, describe_error
from fewshot_km.plugins.boundary import plugin_code
from fewshot_km.registry import Registry


@dataclass(frozen=True)
class Dataset:
    """Images and the three splits of their classes.

    name    the protocol's name, as in grids and tables
    found   for people: what its reader found, and where ("class folders in images.zip")
    partial "25 of 100 classes" where a part of the published data set is missing, as every result then says; else None
    """

    name: str
    bank: ImageBank
    splits: Mapping[str, Split]
    found: str = ""
    partial: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over pixels and splits: two results are comparable only where it agrees."""
        parts = [self.bank.digest, *(self.splits[s].digest for s in SPLIT_NAMES)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


DatasetLoader = Callable[..., Dataset]
"""Takes the data root, and options as keywords; its docstring's first line is what `fewshot-km datasets` prints."""

DATASETS: Registry[DatasetLoader] = Registry("data set", "data sets", given=1)


def load_dataset(name: str, data_root: Path, options: Mapping[str, Any] | None = None) -> Dataset:
    """Load the registered data set `name` with its options.

    Raises UnknownNameError, ConfigError for wrong options, DataError, or PluginError for a loader that fails.
    """
    loader = DATASETS.get(name)
    chosen = DATASETS.options(name, options)

    def say(error: BaseException) -> PluginError:
        return PluginError(f"data set '{name}' cannot be loaded: {describe_error(error)}")

    with plugin_code(say, passes=(FewshotError, OSError)):
        dataset = loader(data_root, **chosen)
    if not isinstance(dataset, Dataset):
        raise PluginError(f"the loader of data set '{name}' must return a Dataset, not {type(dataset).__name__}")
    return dataset
