"""Small grids and results for tests of grids, stores, tables and the command line."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from fewshot_km.experiments.settings.grid import Cell, Grid, load_grid
from fewshot_km.experiments.store.csv_files import episodes_csv, history_csv
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.experiments.store.stored_cell import ANALYSIS, EPISODES, HISTORY, WEIGHTS
from fewshot_km.training.history import HistoryRow

SMALL_GRID = """
seeds = [0, 1]
learners = ["maml", { name = "km-maml", norm_affine = "bias" }]

[[tasks]]
dataset = "glyphs"
ways = 5
shots = 1

[network]
filters = 8

[inner]
lr = 0.4

[outer]
meta_batch = 2
iterations = 4

[validation]
every = 2
episodes = 3

[test]
episodes = 5
"""


LONG_GRID = (
    SMALL_GRID.replace("iterations = 4", "iterations = 60").replace("every = 2", "every = 30").replace("[0, 1]", "[0]")
)


def results(folder: Path) -> dict[str, bytes]:
    """What must not depend on the run: per-episode accuracies and weights, by path."""
    kept = ("test_episodes.csv", "weights.safetensors", "analysis.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.name in kept}


def write_grid(folder: Path, text: str = SMALL_GRID, name: str = "small") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def small_grid(folder: Path, text: str = SMALL_GRID) -> Grid:
    return load_grid(write_grid(folder, text))


def store_result(
    store: ResultStore,
    cell: Cell,
    accuracies: npt.NDArray[np.float64],
    dataset_digest: str = "d",
    adapted: int = 7,
    commit: str | None = None,
    partial: str | None = None,
    episodes: str | None = None,
    val_accuracies: Mapping[int, float] = MappingProxyType({4: 0.5}),
    analysis: Analysis | None = None,
) -> None:
    history = [HistoryRow(iteration, 1.0, 0.4, accuracy, 0.1) for iteration, accuracy in val_accuracies.items()]
    results = {
        "test_accuracy": float(accuracies.mean()),
        "test_episodes": len(accuracies),
        "adapted_parameters": adapted,
        "train_seconds": 0.1,
    }
    record = {
        "config_digest": cell.config.digest(),
        "dataset_digest": dataset_digest,
        "dataset_partial": partial,
        "results": results,
        "environment": {"git_commit": commit, "fewshot_km": "1", "libraries": {"torch": "2"}, "device": "cpu"},
        "config": cell.config.model_dump(mode="json"),
    }
    if episodes is not None:
        record["test_episodes_digest"] = episodes
    files = {
        EPISODES: episodes_csv(accuracies).encode(),
        HISTORY: history_csv(history).encode(),
        WEIGHTS: save({"w": torch.ones(2)}),
    }
    store.write(cell, record, files if analysis is None else {**files, ANALYSIS: analysis.to_json().encode()})


def without_digests(folder: Path) -> None:
    """Make the record of a stored cell one of an earlier version, which did not know its files' digests."""
    path = folder / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["files"]
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
