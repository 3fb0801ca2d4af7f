"""The page: what a report says, put into the template."""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fewshot_km.experiments.settings.grid import Grid, shipped_grids
from fewshot_km.reports.figures.layout import COLUMN
from fewshot_km.reports.figures.report_figure import ReportFigure, svg_text
from fewshot_km.reports.page.cell_rows import CellFacts, cell_facts
from fewshot_km.reports.page.example_episodes import Viewer, task_viewer, viewer_data
from fewshot_km.reports.report import Report, TableName
from fewshot_km.reports.table import Table
from fewshot_km.reports.verdicts import (
    best_sentence,
    claim_sentence,
    contrast_sentence,
    headline_sentence,
    ranking_sentences,
)
from fewshot_km.text import counted, one_line

FOLDER = "page"
PAGE_HEIGHT = 11.0  # inches
MOST_ROWS = 30  # of a table that is shown whole: about a screen
BESIDE = ("accuracy", "differences", "ranks")  # figures that stand beside their tables
CELLS = Table(
    "Cells", ("task", "method", "seed", "state", "accuracy %", "iterations", "training s", "test s", "ended"), (), (), 4
)


@dataclass(frozen=True)
class Shown:
    """A figure as data: URIs; `narrow`, where it differs, is for a narrow window.

    small  as wide as a column of a paper
    tall   higher than a page of it
    """

    figure: ReportFigure
    source: Markup
    narrow: Markup | None
    small: bool
    tall: bool


def report_page(report: Report, figures: Sequence[ReportFigure] = (), narrow: Sequence[ReportFigure] = ()) -> str:
    """The whole page: one file that asks for nothing, with the same bytes from the same results.

    `narrow` are the figures again, as a narrow window shows them.
    Every text is escaped, and nothing but the page's own script can run in it: its Content-Security-Policy says so.
    Raises DataError where the example images are damaged.
    """
    results = report.results
    cells = cell_facts(results)
    viewers = {task: task_viewer(results, task) for task in results.tasks}
    script = _file("report.js")
    headline, intervals, costs = report.tables()
    shown = _shown(figures, narrow)
    return _environment().get_template("report.html.j2").render(
        grid=results.grid,
        style=Markup(_file("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        counts=_counts(cells, report),
        most_rows=MOST_ROWS,
        verdict=headline_sentence(results, report.contrasts),
        headline=headline,
        intervals=intervals,
        costs=costs,
        pairwise=report.table(TableName.PAIRWISE),
        verdicts=_verdicts(report),
        claims=[claim_sentence(checked) for checked in report.claims if checked.contrast is not None],
        untested=[claim_sentence(checked) for checked in report.claims if checked.contrast is None],
        ranking=ranking_sentences(report.ranking),
        beside={name: shown.pop(name, None) for name in BESIDE},
        figures=list(shown.values()),
        command=_grid_argument(results.grid),
        viewers=viewers,
        viewer_data={task: viewer_data(viewer) for task, viewer in viewers.items() if isinstance(viewer, Viewer)},
        cells=cells,
        cells_head=CELLS,
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fewshot_km.reports", FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: one_line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["shown"] = lambda value: isinstance(value, Viewer)
    return environment


def _shown(figures: Sequence[ReportFigure], narrow: Sequence[ReportFigure]) -> dict[str, Shown]:
    again = {figure.name: figure for figure in narrow}
    shown = {}
    for figure in figures:
        width, height = figure.drawing.get_size_inches()
        is_small = width <= COLUMN
        other = None if is_small else again.get(figure.name)
        shown[figure.name] = Shown(
            figure, _data_uri(figure), _data_uri(other) if other else None, is_small, height > PAGE_HEIGHT
        )
    return shown


def _data_uri(figure: ReportFigure) -> Markup:
    """The figure as an image: a browser runs no script in one, whatever stands in it."""
    return Markup(f"data:image/svg+xml;base64,{base64.b64encode(svg_text(figure).encode()).decode()}")


def _file(name: str) -> str:
    return (files("fewshot_km.reports") / FOLDER / name).read_text(encoding="utf-8")


def _counts(cells: Sequence[CellFacts], report: Report) -> str:
    """How much there is, in words."""
    states = Counter(cell.state for cell in cells)
    episodes = sorted({cell.cell.config.test.episodes for cell in cells})
    said = [
        f"{states['done']} of {len(cells)} cells done",
        *(f"{states[s]} {s}" for s in ("failed", "to do") if states[s]),
    ]
    results = report.results
    size = [counted(len(results.tasks), "task"), counted(len(results.methods), "method")]
    size += [f"{' or '.join(f'{n:,}' for n in episodes)} test episodes each"]
    return f"{', '.join(said)}. {', '.join(size)}."


def _verdicts(report: Report) -> Mapping[str, Mapping[str, Any]]:
    """By task: which method is best, and each comparison."""
    return {
        task: {
            "best": best_sentence(report.results, report.contrasts, task),
            "sentences": [contrast_sentence(one) for one in report.contrasts.all if one.task == task],
        }
        for task in report.results.tasks
    }


def _grid_argument(grid: Grid) -> str:
    """How the grid is named on the command line."""
    return grid.name if grid.name in shipped_grids() else f"{grid.name}.toml"
