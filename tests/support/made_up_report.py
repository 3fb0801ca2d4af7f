"""A report of five tasks, four learners and five seeds, with everything that figures are drawn from."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store.probe_file import Analysis, LayerKernels, StepAccuracies
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.intervals import Kind
from fewshot_km.reports.report import Report, make_report
from tests.support.made_up_results import small_grid, store_result

GRID = """
seeds = [0, 1, 2, 3, 4]
learners = ["maml", "anil", "km-maml", { name = "km-maml", label = "km-none", norm_affine = "none" }]
inner = { lr = 0.4, train_steps = 1, test_steps = 3 }
test = { episodes = 30 }
"""
TASK = """
[[tasks]]
label = "task-{n}"
dataset = "{dataset}"
ways = 20
shots = 1
"""
STEPS = (0, 1, 3)


def grid_text(tasks: int = 5, dataset: str = "omniglot") -> str:
    return GRID + "".join(TASK.format(n=n, dataset=dataset) for n in range(tasks))


def val_accuracies(cell: Cell) -> dict[int, float]:
    """By iteration; the last seed ends early."""
    random = np.random.default_rng([cell.seed, len(cell.learner)])
    end = 600 if cell.seed == 4 else 1000
    return {n: float(1 - 0.8 * np.exp(-n / 300) * random.uniform(0.9, 1)) for n in range(100, end + 1, 100)}


def analysis_of(cell: Cell, random: np.random.Generator) -> Analysis:
    before = random.normal(size=(2, 16, 9))
    after = before if cell.learner == "anil" else before + random.normal(size=(2, 16, 9)) / 10
    steps = []
    for count in STEPS:
        accuracies = tuple(random.binomial(20, 0.3 + 0.1 * count, 12) / 20)
        steps.append(StepAccuracies(count, float(np.mean(accuracies)), accuracies))
    layers = tuple(
        LayerKernels(f"blocks.{n}", (3, 3), tuple(map(tuple, before[n])), tuple(map(tuple, after[n]))) for n in (0, 1)
    )
    return Analysis(12, tuple(random.binomial(20, 0.7, 12) / 20), tuple(steps), ((0, 1),), layers)


def made_up_report(
    folder: Path, text: str = "", baselines: Sequence[str] = (), kind: Kind | None = None, *, analysed: bool = True
) -> Report:
    """`baselines` are methods of another code base, on every task."""
    grid = small_grid(folder, text or grid_text())
    store = ResultStore(folder / "results", grid.name)
    learners = list(dict.fromkeys(cell.learner for cell in grid.cells))
    tasks = list(dict.fromkeys(cell.task for cell in grid.cells))
    for n, cell in enumerate(grid.cells):
        random = np.random.default_rng(n)
        rank, task = learners.index(cell.learner), tasks.index(cell.task)
        accuracies = random.binomial(20, 0.9 - 0.1 * task - 0.03 * rank, 30) / 20
        analysis = analysis_of(cell, random) if analysed else None
        store_result(
            store,
            cell,
            accuracies,
            adapted=10 ** (2 + rank),
            val_accuracies=val_accuracies(cell),
            analysis=analysis,
            episodes="digest",
        )
    files = [baselines_file(folder, tasks, baselines)] if baselines else []
    return make_report(grid, store, files, kind)


def baselines_file(folder: Path, tasks: Sequence[str], methods: Sequence[str]) -> Path:
    path = folder / "baselines.csv"
    accuracies = np.random.default_rng(1).binomial(20, 0.6, (5, 30)) / 20
    rows = [
        {"method": method, "task": task, "seed": seed, "episode": n, "accuracy": accuracies[seed, n]}
        for task, method, seed, n in itertools.product(tasks, methods, range(5), range(30))
    ]
    pd.DataFrame(rows).assign(episodes="digest").to_csv(path, index=False)
    return path
