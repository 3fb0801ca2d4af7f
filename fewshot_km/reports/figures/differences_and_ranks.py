"""Figures of comparisons: paired differences, and ranks with their critical difference."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fewshot_km.reports.comparisons import Contrast
from fewshot_km.reports.figures.captions import task_title
from fewshot_km.reports.figures.layout import (
    PANELS,
    panels_of_rows,
)
from fewshot_km.reports.figures.report_figure import ReportFigure
from fewshot_km.reports.figures.style import method_styles, whisker
from fewshot_km.reports.mean_ranks import Ranking
from fewshot_km.reports.report import Report
from fewshot_km.reports.table import p_equation
from fewshot_km.text import every

MOST_TICKS = 10  # of an axis as wide as a column


def draw_differences(report: Report, abreast: int = PANELS) -> ReportFigure | None:
    """A forest plot: a row for each pair of methods and a panel for each task; None where there is no pair."""
    contrasts, results = report.contrasts.all, report.results
    if not contrasts:
        return None
    tasks = list(dict.fromkeys(contrast.task for contrast in contrasts))
    pairs = list(dict.fromkeys((contrast.first, contrast.second) for contrast in contrasts))
    names = [f"{first} − {second}" for first, second in pairs]
    x_label = "difference in points, 95 % interval; right of 0 the first is better"
    titles = [task_title(results, task) for task in tasks]
    figure, axes, places = panels_of_rows(titles, names, x_label, _entries(contrasts), abreast)
    for task, one in zip(tasks, axes, strict=True):
        one.axvline(0, color="black", linewidth=0.8, zorder=1, label="_zero")
        for contrast in contrasts:
            if contrast.task == task:
                _draw_difference(one, contrast, places[pairs.index((contrast.first, contrast.second))])
        one.margins(x=0.1)
    caption = (
        "Paired differences of accuracy, first minus second, with 95 % t intervals; each task has its own scale. "
        f"Filled: significant at 5 % (paired t test, Holm-corrected over {every(len(contrasts), 'comparison')}); "
        f"hollow: undecided. {_compared(contrasts)}"
    )
    return ReportFigure("differences", "Paired differences", caption, figure)


def _draw_difference(axes: Axes, contrast: Contrast, row: float) -> None:
    difference = contrast.deciding.difference
    if difference.low is not None and difference.high is not None:
        whisker(axes, (100 * difference.low, 100 * difference.high), row, color="black")
    axes.plot(100 * difference.mean, row, label="_difference", **_look(contrast))


def _look(contrast: Contrast) -> dict[str, Any]:
    fill = "white" if contrast.outcome == "undecided" else "black"
    return {"color": "black", "marker": "o" if contrast.over_seeds else "s", "markerfacecolor": fill}


def _entries(contrasts: Sequence[Contrast]) -> list[tuple[Line2D, str]]:
    """The legend: what there is of significant or undecided, of algorithms or trained models."""
    names = {"undecided": "undecided"}
    found = {
        (contrast.compares, names.get(contrast.outcome, "significant after Holm")): contrast for contrast in contrasts
    }
    return [
        (Line2D([], [], linestyle="none", **_look(contrast)), f"{compares}: {outcome}")
        for (compares, outcome), contrast in sorted(found.items(), key=lambda item: item[0])
    ]


def _compared(contrasts: Sequence[Contrast]) -> str:
    said = []
    for compares, shape, unit in (("algorithms", "circles", "seeds"), ("trained models", "squares", "test episodes")):
        counts = sorted({contrast.deciding.n for contrast in contrasts if contrast.compares == compares})
        if counts:
            said.append(f"{shape}: {compares}, paired on n = {' or '.join(map(str, counts))} {unit}")
    return f"{'; '.join(said).capitalize()}."


def draw_ranks(report: Report) -> ReportFigure | None:
    """Mean ranks with bars as long as Nemenyi's critical difference, best first; None where nothing is ranked.

    The bars of two methods overlap where their ranks differ by less than it (Demsar 2006, section 3.2.2).
    """
    ranking = report.ranking
    if not isinstance(ranking, Ranking):
        return None
    styles = method_styles(report.results.methods)
    ranks = dict(sorted(ranking.ranks.items(), key=lambda item: item[1]))
    x_label = f"mean rank over {ranking.tasks} tasks, 1 the best"
    figure, (axes,), places = panels_of_rows([""], list(ranks), x_label)
    half = ranking.critical_difference / 2
    for (method, rank), row in zip(ranks.items(), places, strict=True):
        whisker(axes, (rank - half, rank + half), row, color=styles[method].colour)
        axes.plot(rank, row, styles[method].marker, color=styles[method].colour, label="_rank")
    axes.set_xticks(range(1, len(ranks) + 1, -(-len(ranks) // MOST_TICKS)))  # a rank below 1 is none
    axes.margins(x=0.1)
    caption = (
        f"Mean ranks over {ranking.tasks} tasks, 1 the best. Methods whose bars overlap cannot be told apart: their "
        f"ranks differ by less than Nemenyi's critical difference, {ranking.critical_difference:.2f} at 5 %, which is "
        f"a bar's length; Friedman's test that all rank alike: p {p_equation(ranking.friedman_p)} (Demsar 2006)."
    )
    return ReportFigure("ranks", "Critical-difference diagram", caption, figure)
