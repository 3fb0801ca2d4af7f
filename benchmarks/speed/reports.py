"""How long a report takes: `python benchmarks/speed/reports.py`.

Stores 60 cells of made-up accuracies, 3 tasks x 4 learners x 5 seeds of 10,000 test episodes each, with analyses and
example images of the embedded data set, in a temporary folder; then times what `fewshot-km report GRID --html` does.
Prints seconds.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save

from fewshot_km.data import load_dataset
from fewshot_km.experiments.settings.grid import Cell, Grid, load_grid
from fewshot_km.experiments.store.csv_files import episodes_csv, history_csv
from fewshot_km.experiments.store.example_images import write_examples
from fewshot_km.experiments.store.probe_file import EXAMPLES, Analysis, LayerKernels, StepAccuracies
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.experiments.store.stored_cell import ANALYSIS, EPISODES, HISTORY, WEIGHTS
from fewshot_km.reports.figures import draw_figures
from fewshot_km.reports.grid_results import read_results
from fewshot_km.reports.page import report_page
from fewshot_km.reports.report import TableName, report_results
from fewshot_km.training.history import HistoryRow

GRID = """
seeds = [0, 1, 2, 3, 4]
learners = [
    "maml",
    "anil",
    { name = "km-maml" },
    { name = "km-maml", label = "km-maml-bias", norm_affine = "bias" },
]
tasks = [
    { dataset = "glyphs", ways = 5, shots = 1 },
    { dataset = "glyphs", ways = 5, shots = 5 },
    { dataset = "glyphs", ways = 20, shots = 1 },
]

[inner]
lr = 0.4

[test]
episodes = 10_000
"""
DIGEST = "0" * 64  # of the test episodes: made up, like the accuracies
OPEN = 28  # episodes without a common image
Result = TypeVar("Result")


def made_up_analysis(cell: Cell, random: np.random.Generator, accuracy: float) -> Analysis:
    """Answers that are right about as often as `accuracy`, kernels that differ by noise."""
    task = cell.config.task
    truth = np.repeat(np.arange(task.ways), task.test_queries)
    answers = np.where(random.random((EXAMPLES, len(truth))) < accuracy, truth, random.integers(0, task.ways))
    steps = [(n, np.clip(accuracy * n / (n + 0.5) + random.normal(0, 0.05, 20), 0, 1).tolist()) for n in (0, 1, 3, 5)]
    before = random.normal(0, 0.3, (16, 9))
    after = before + random.normal(0, 0.05, before.shape)
    kernels = LayerKernels(
        "backbone.blocks.0.conv", (3, 3), tuple(map(tuple, before.tolist())), tuple(map(tuple, after.tolist()))
    )
    return Analysis(
        OPEN,
        tuple(np.clip(random.normal(accuracy, 0.1, OPEN), 0, 1).tolist()),
        tuple(StepAccuracies(n, float(np.mean(found)), tuple(found)) for n, found in steps),
        tuple(map(tuple, answers.tolist())),
        (kernels,),
    )


def store_made_up(cell: Cell, store: ResultStore, ability: float) -> None:
    """A finished cell whose episodes are as hard as those of its task's other cells, with a luck of its own."""
    config, random = cell.config, np.random.default_rng([cell.seed, *cell.learner.encode()])
    episodes, queries = config.test.episodes, config.task.ways * config.task.test_queries
    ease = np.random.default_rng(config.task.ways).normal(0, 0.06, episodes)  # of the episodes
    chances = np.clip(ability + random.normal(0, 0.01) + ease, 0.05, 0.99)
    accuracies = random.binomial(queries, chances) / queries
    history = [
        HistoryRow(n, 1.6 * 0.9**k, 1 - 0.7 * 0.9**k, ability - 0.4 * 0.8**k, float(n))
        for k, n in enumerate(range(100, 1600, 100))
    ]
    session = {"started": "2026-01-01T00:00:00+00:00", "after_iteration": 0, "device": "cpu", "threads": 1}
    record = {
        "cell": str(cell),
        "config_digest": config.digest(),
        "config": config.model_dump(mode="json"),
        "dataset_digest": DIGEST,
        "dataset_found": "embedded",
        "dataset_partial": None,
        "test_episodes_digest": DIGEST,
        "results": {
            "test_accuracy": float(accuracies.mean()),
            "test_episodes": episodes,
            "best_val_accuracy": ability,
            "best_iteration": 1500,
            "iterations": 1500,
            "adapted_parameters": 1485 + 100 * len(cell.learner),
            "bytes_per_task": 5940,
            "train_seconds": 1500.0,
            "test_seconds": 20.0,
            "adaptation_seconds": 0.012,
        },
        "environment": {
            "fewshot_km": "0.1.0",
            "git_commit": "0" * 40,
            "libraries": {"torch": "2.13.0"},
            "device": "cpu",
            "backends": {"training": "vmap", "testing": "vmap", "training_chunk": 8, "testing_chunk": 8},
        },
        "started": session["started"],
        "ended": "2026-01-01T00:26:00+00:00",
        "sessions": [session],
    }
    files = {
        EPISODES: episodes_csv(accuracies).encode(),
        HISTORY: history_csv(history).encode(),
        WEIGHTS: save({"w": torch.ones(2)}),
        ANALYSIS: made_up_analysis(cell, random, ability).to_json().encode(),
    }
    store.write(cell, record, files)


def fill(store: ResultStore, grid: Grid) -> None:
    """Every cell of the grid finished, and the images of its tasks."""
    glyphs = load_dataset("glyphs", store.folder)
    tasks = list(dict.fromkeys(cell.task for cell in grid.cells))
    learners = list(dict.fromkeys(cell.learner for cell in grid.cells))
    for cell in grid.cells:
        store_made_up(cell, store, 0.7 + 0.05 * tasks.index(cell.task) + 0.015 * learners.index(cell.learner))
    for cell in {cell.task: cell for cell in grid.cells}.values():
        write_examples(store.task_folder(cell), cell.config, glyphs, DIGEST)


def timed(what: str, work: Callable[[], Result]) -> Result:
    """Do it, and say how long it took."""
    began = time.perf_counter()
    result = work()
    print(f"{what}: {time.perf_counter() - began:.2f} s")
    return result


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made-up.toml"
        path.write_text(GRID, encoding="utf-8")
        grid = load_grid(path)
        store = ResultStore(Path(folder), grid.name)
        fill(store, grid)
        began = time.perf_counter()
        results = timed("reading", lambda: read_results(grid, store))
        report = timed("comparisons", lambda: report_results(results))
        timed(
            "tables and intervals",
            lambda: [*report.tables(), report.table(TableName.PAIRWISE), report.table(TableName.CLAIMS)],
        )
        figures = timed("figures", lambda: draw_figures(report))
        page = timed("page, with figures as SVG", lambda: report_page(report, figures))
        print(f"in all: {time.perf_counter() - began:.2f} s, {len(page) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
