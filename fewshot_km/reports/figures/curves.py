"""Figures of validation accuracy: over the iterations of meta-training, and over inner steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from fewshot_km.experiments.store.stored_cell import StoredCell
from fewshot_km.reports.figures.captions import CHANCE, state_text, task_title
from fewshot_km.reports.figures.layout import PANELS, panels
from fewshot_km.reports.figures.report_figure import ReportFigure
from fewshot_km.reports.figures.style import (
    GREY,
    MethodStyle,
    draw_chance,
    in_thousands,
    method_entries,
    method_styles,
    whisker,
)
from fewshot_km.reports.grid_results import Score
from fewshot_km.reports.intervals import Array, Interval, Kind, episode_interval, hierarchical_interval, seed_interval
from fewshot_km.reports.report import Report
from fewshot_km.reports.score_intervals import kind_note

STEP_MARKS: dict[str, dict[str, Any]] = {
    "steps of training": {"markerfacecolor": "white"},
    "of the test": {},
    "of both": {"fillstyle": "left", "markerfacecoloralt": "white"},
}
FEWEST_SEEDS_FOR_A_BAND = 3  # fewer are drawn each by itself
SIDE_BY_SIDE = 0.02  # inches from a method's points to the next one's, which would hide them
DIGIT = 0.062  # inches of a digit beside an axis
MOST_POINTS = 120  # of a curve: a panel is 120 points of paper wide
INTERVALS: dict[Kind, Callable[[Array], Interval]] = {
    "episodes": episode_interval,
    "open": episode_interval,  # those of validation may share images
    "seeds": seed_interval,
    "hierarchical": hierarchical_interval,
}


def draw_learning(report: Report, abreast: int = PANELS) -> ReportFigure | None:
    """Validation accuracy over the iterations, a panel for each task; None where no history was kept."""
    results, styles = report.results, method_styles(report.results.methods)
    histories = {key: _histories(score) for key, score in results.scores.items() if _histories(score)}
    tasks = [task for task in results.tasks if any(of == task for of, _ in histories)]
    if not tasks:
        return None
    entries = method_entries(styles, [method for _, method in histories])
    titles = [task_title(results, task) for task in tasks]
    figure, axes = panels(titles, 1.5, "iterations of meta-training", "validation accuracy %", entries, abreast)
    for task, one in zip(tasks, axes, strict=True):
        for (of, method), curves in histories.items():
            if of == task:
                _draw_learning(one, curves, styles[method], results.methods.index(method) / len(results.methods))
        draw_chance(one, results, task)
        one.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        in_thousands(one)
        one.grid(axis="y")
    counts = {len(curves) for curves in histories.values()}
    caption = "Accuracy on validation episodes, in percent of their query images, over the iterations of meta-training."
    caption += f" {CHANCE}"
    if max(counts) >= FEWEST_SEEDS_FOR_A_BAND:
        seeds = " or ".join(str(n) for n in sorted(counts) if n >= FEWEST_SEEDS_FOR_A_BAND)
        caption += f" Line and band: mean, and least to greatest, of {seeds} seeds, as far as all of them went."
    if min(counts) < FEWEST_SEEDS_FOR_A_BAND:
        caption += " Where there are fewer than three seeds, each is a line."
    return ReportFigure("learning", "Learning curves", caption + state_text(results), figure)


def _histories(score: Score) -> list[dict[int, float]]:
    """Of each seed the validation accuracies, in percent, by iteration."""
    return [{row.iteration: 100 * row.val_accuracy for row in one.history} for one in score.stored if one.history]


def _draw_learning(axes: Axes, curves: Sequence[dict[int, float]], style: MethodStyle, shift: float) -> None:
    look = {"color": style.colour, "linestyle": style.line}
    if len(curves) < FEWEST_SEEDS_FOR_A_BAND:
        for curve in curves:
            at = _thinned(sorted(curve))
            axes.plot(at, [curve[n] for n in at], label="_seed", **look, **_marks(style, len(at), shift))
        return
    at = _thinned(sorted(set.intersection(*map(set, curves))))
    values = np.array([[curve[n] for n in at] for curve in curves])
    axes.fill_between(at, values.min(0), values.max(0), color=style.colour, alpha=0.18, linewidth=0, label="_band")
    axes.plot(at, values.mean(0), label="_mean", **look, **_marks(style, len(at), shift))
    for curve in curves:
        beyond = _thinned([n for n in sorted(curve) if not at or n >= at[-1]])
        if len(beyond) > 1:  # it went on where another seed had ended
            axes.plot(beyond, [curve[n] for n in beyond], label="_beyond", linewidth=0.6, **look)


def _thinned(iterations: Sequence[int]) -> list[int]:
    """At most MOST_POINTS, evenly, the last among them."""
    step = -(-len(iterations) // MOST_POINTS) or 1
    return list(iterations[::-step])[::-1]


def _marks(style: MethodStyle, points: int, shift: float) -> dict[str, Any]:
    """About five markers, `shift` of their distance from the left, so that those of near lines do not hide others."""
    every = max(1, points // 5)
    return {"marker": style.marker, "markersize": 3.5, "markevery": (int(shift * every), every)}


def draw_inner_steps(report: Report, abreast: int = PANELS) -> ReportFigure | None:
    """Accuracy over inner steps on validation episodes, a panel for each task; None where no cell was asked."""
    results, styles = report.results, method_styles(report.results.methods)
    found = {key: curve for key, score in results.scores.items() if (curve := _by_steps(score))}
    tasks = [task for task in results.tasks if any(of == task for of, _ in found)]
    if not tasks:
        return None
    entries = method_entries(styles, [method for _, method in found], markerfacecolor="white")
    titles = [task_title(results, task) for task in tasks]
    entries += [
        (Line2D([], [], marker="o", linestyle="none", color=GREY, **look), what) for what, look in STEP_MARKS.items()
    ]
    figure, axes = panels(titles, 1.5, "inner steps", "validation accuracy %", entries, abreast)
    drawn: list[Interval] = []
    for task, one in zip(tasks, axes, strict=True):
        asked = sorted({steps for (of, _), curve in found.items() if of == task for steps in curve})
        inch = _steps_axis(one, asked, figure)
        near = min(np.diff(asked), default=1) * inch
        beside = min(SIDE_BY_SIDE, near / 2 / len(results.methods))
        for (of, method), curve in found.items():
            if of == task:
                aside = beside * (results.methods.index(method) - (len(results.methods) - 1) / 2)
                before = len(one.lines)
                drawn += _draw_steps(one, curve, results.scores[of, method], styles[method], report.kind)
                for line in one.lines[before:]:
                    line.set_transform(one.transData + ScaledTranslation(aside, 0, figure.dpi_scale_trans))
        draw_chance(one, results, task)
        one.grid(axis="y")
        one.margins(y=0.1)
    with_ends = [interval for interval in drawn if interval.low is not None]
    kind = "episodes" if report.kind == "open" else report.kind
    whiskers = kind_note(kind, with_ends).replace("test episodes", "validation episodes")
    caption = (
        "Mean accuracy on validation episodes, in percent of their query images, after so many inner steps. Hollow: "
        "the steps of meta-training; filled: those of the test; half filled: both. The steps may be chosen by these "
        f"curves: test episodes have no part in them. Methods stand a little aside of one another. "
        f"{CHANCE} Whiskers, {whiskers}"
    )
    return ReportFigure("inner-steps", "Accuracy and inner steps", caption + state_text(results), figure)


def _by_steps(score: Score) -> dict[int, Array]:
    """By inner steps the accuracies [seeds, episodes] of the seeds that were asked, each for the same steps."""
    asked = [_asked(stored) for stored in score.stored if _asked(stored)]
    common = sorted(set.intersection(*map(set, asked))) if asked else []
    return {steps: np.array([one[steps] for one in asked]) for steps in common}


def _asked(stored: StoredCell) -> dict[int, tuple[float, ...]]:
    return {one.steps: one.accuracies for one in stored.analysis.inner_steps} if stored.analysis else {}


def _steps_axis(axes: Axes, asked: Sequence[int], figure: Figure) -> float:
    """Lay out an axis to scale, with a number at each of the steps that has room for one; inches of a step."""
    low, high = asked[0], asked[-1]
    around = 0.05 * (high - low) or 0.5
    axes.set_xlim(low - around, high + around)
    inch = axes.get_position().width * figure.get_figwidth() / (high - low + 2 * around)
    ticks = [high]
    for steps in reversed(asked[:-1]):
        if (ticks[-1] - steps) * inch >= DIGIT * (len(str(ticks[-1])) + len(str(steps)) + 1) / 2:
            ticks.append(steps)
    ticks.reverse()
    axes.set_xticks(ticks, [str(steps) for steps in ticks])
    axes.set_xticks(asked, minor=True)
    return inch


def _draw_steps(axes: Axes, curve: dict[int, Array], score: Score, style: MethodStyle, kind: Kind) -> list[Interval]:
    means = {steps: 100 * float(accuracies.mean()) for steps, accuracies in curve.items()}
    axes.plot(list(means), list(means.values()), color=style.colour, linestyle=style.line, label="_mean")
    intervals = [INTERVALS[kind](accuracies) for accuracies in curve.values()]
    for steps, interval in zip(curve, intervals, strict=True):
        if interval.low is not None and interval.high is not None:
            ends = (100 * interval.low, 100 * interval.high)
            whisker(axes, ends, steps, upright=True, color=style.colour, linewidth=0.8, markersize=3)
    assert score.config is not None
    trained, tested = score.config.inner.train_steps, score.config.inner.test_steps
    training, test, both = STEP_MARKS
    for steps, what in ({trained: training, tested: test} if trained != tested else {tested: both}).items():
        if steps in means:
            axes.plot(steps, means[steps], style.marker, color=style.colour, label=f"_{what}", **STEP_MARKS[what])
    return intervals
