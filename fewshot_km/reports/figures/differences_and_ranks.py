"""Figures of comparisons: paired differences, and ranks with their critical difference."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fewshot_km.reports.comparisons import Contrast
from fewshot_km.reports.figures.captions import task_title
from fewshot_km.reports.figures.layout import (
    COLUMN,
    EDGE,
    LINE,
    PANELS,
    WIDTH,
    blank,
    label,
    panels_of_rows,
    text_width,
)
from fewshot_km.reports.figures.report_figure import ReportFigure
from fewshot_km.reports.figures.style import method_styles, whisker
from fewshot_km.reports.ranks import Ranking
from fewshot_km.reports.report import Report
from fewshot_km.reports.table import p_equation
from fewshot_km.wording import every

# of a critical-difference diagram, in inches
AXIS = 0.55  # from the top: below its ticks' numbers and the critical difference
LEVEL = 0.2  # between the lines to the names
ELBOW = 0.15  # beyond the axis
SIDE, NARROW_SIDE = 1.9, 1.1  # the widest that names may be, and that they may be in a column
LONGEST = COLUMN  # the axis
TICK = 0.2  # between the middles of its numbers, at least


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


def draw_ranks(report: Report, width: float = WIDTH) -> ReportFigure | None:
    """A critical-difference diagram (Demsar 2006, figure 1), the best to the right; None where nothing is ranked.

    The better half's names stand on the right and the others on the left; all on the left where `width`, the most
    inches that it may take, is a column's.
    """
    ranking = report.ranking
    if not isinstance(ranking, Ranking):
        return None
    styles = method_styles(report.results.methods)
    ordered = sorted(ranking.ranks, key=lambda method: ranking.ranks[method])
    is_narrow = width <= COLUMN
    at_right = [] if is_narrow else ordered[: (len(ordered) + 1) // 2]
    groups = ranking.groups()
    widest = NARROW_SIDE if is_narrow else SIDE
    names = {method: label(f"{method} {ranking.ranks[method]:.2f}", widest) for method in ordered}
    left = max(map(text_width, names.values())) + ELBOW + EDGE
    right = EDGE if is_narrow else left
    span = max(len(ordered) - 1, ranking.critical_difference)
    inch = min(LONGEST, width - left - right) / span  # of a rank
    at_left = ordered[len(at_right) :][::-1]  # the worst is nearest to the axis
    sides = (at_right, at_left)
    abreast = [[side[n] for side in sides if n < len(side)] for n in range(max(map(len, sides)))]
    heights = [LEVEL + LINE * max(names[method].count("\n") for method in level) for level in abreast]
    first = AXIS + 0.25 + 0.1 * len(groups) - LEVEL / 2  # from the top to the names
    levels = {
        method: first + end - height / 2
        for level, height, end in zip(abreast, heights, accumulate(heights), strict=True)
        for method in level
    }
    figure, axes = blank(left + span * inch + right, first + sum(heights) + LEVEL / 2)

    def place(rank: float) -> float:
        return left + (1 + span - rank) * inch

    black: dict[str, Any] = {"color": "black", "linewidth": 1}
    axes.plot([place(1), place(len(ordered))], [AXIS, AXIS], label="_axis", **black)
    for tick in range(1, len(ordered) + 1):
        axes.plot([place(tick)] * 2, [AXIS - 0.05, AXIS], **black)
        if (tick - 1) % math.ceil(TICK / inch) == 0:
            axes.text(place(tick), AXIS - 0.07, str(tick), ha="center", va="bottom", fontsize=7)
    bar = [place(1 + span), place(1 + span - ranking.critical_difference)]
    axes.plot(bar, [0.25, 0.25], marker="|", markersize=5, label="_critical_difference", **black)
    said = f"critical difference {ranking.critical_difference:.2f}"
    axes.text(bar[0], 0.2, said, ha="left", va="bottom", fontsize=7)
    for method in ordered:
        x, level, is_right = place(ranking.ranks[method]), levels[method], method in at_right
        edge, outwards = (place(1) + ELBOW, 0.05) if is_right else (place(1 + span) - ELBOW, -0.05)
        axes.plot([x, x, edge], [AXIS, level, level], color="black", linewidth=0.8, label="_elbow")
        axes.plot(x, AXIS, styles[method].marker, color=styles[method].colour, label="_rank")
        axes.text(edge + outwards, level, names[method], fontsize=7, ha="left" if is_right else "right", va="center")
    for n, group in enumerate(groups):
        ends = [place(ranking.ranks[group[0]]) + 0.04, place(ranking.ranks[group[-1]]) - 0.04]
        axes.plot(ends, [AXIS + 0.13 + 0.1 * n] * 2, color="black", linewidth=3, label="_group")
    caption = (
        f"Mean ranks over {ranking.tasks} tasks, 1 the best. Bars join methods whose ranks differ by less than "
        f"Nemenyi's critical difference, {ranking.critical_difference:.2f} at 5 %; Friedman's test that all rank "
        f"alike: p {p_equation(ranking.friedman_p)} (Demsar 2006)."
    )
    return ReportFigure("ranks", "Critical-difference diagram", caption, figure)
