"""The results under version control: their tables are what the stored cells give, and their open episodes."""

from pathlib import Path

import numpy as np
import pytest

from fewshot_km.experiments.settings.grid import load_grid, shipped_grids
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.markup import to_markdown
from fewshot_km.reports.report import make_report

RESULTS = Path(__file__).parents[2] / "results"
GRIDS = ("omniglot-cpu",)


@pytest.mark.parametrize("name", GRIDS)
def test_tables_are_what_the_cells_give(name: str) -> None:
    report = make_report(load_grid(shipped_grids()[name]), ResultStore(RESULTS, name))
    assert to_markdown(report.tables()) == (RESULTS / name / "table.md").read_text(encoding="utf-8")
    assert report.csv() == (RESULTS / name / "table.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GRIDS)
def test_open_intervals_are_wider_than_closed_ones(name: str) -> None:
    """By the textbook's formula, from the stored accuracies: the pool holds fewer than 600 such episodes."""
    report = make_report(load_grid(shipped_grids()[name]), ResultStore(RESULTS, name))
    compared = 0
    for score in report.results.scores.values():
        assert score.open_accuracies is not None
        widths = [values.std(ddof=1) / np.sqrt(values.size) for values in (score.accuracies, score.open_accuracies)]
        if score.open_accuracies.size < score.accuracies.size:  # a pool of many images holds as many as were drawn
            assert widths[1] > widths[0]
            compared += 1
    assert compared >= 3
