"""Figures of accuracies: by task and method, and against the parameters that a task takes."""

import math

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from fewshot_km.reports.figures.captions import CHANCE, accuracy_words, state_text, task_title, whisker_text
from fewshot_km.reports.figures.layout import PANELS, panels, panels_of_rows
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
from fewshot_km.reports.papers import published_rows, published_task
from fewshot_km.reports.report import Report
from fewshot_km.reports.table import NOTHING


def draw_accuracies(report: Report, abreast: int = PANELS) -> ReportFigure:
    """A row for each method and a panel for each task; below ours, hollow, what papers report of the task."""
    results = report.results
    tasks = [task for task in results.tasks if results.of_task(task)]
    styles = method_styles(results.methods)
    published = {task: _published(report, task) for task in tasks}
    papers = [row for row in published_rows() if any(row.accuracies.get(name) for name in published.values())]
    names = [*results.methods, *(f"{row.method} ({row.source})" for row in papers)]
    titles = [task_title(results, task) for task in tasks]
    figure, axes, places = panels_of_rows(titles, names, accuracy_words(report), abreast=abreast)
    ours, theirs = places[: len(results.methods)], places[len(results.methods) :]
    for task, one in zip(tasks, axes, strict=True):
        for y, method in zip(ours, results.methods, strict=True):
            score = results.scores[task, method]
            if score.is_known:
                _draw_accuracy(one, report, task, method, y, styles[method])
            else:
                place = one.get_yaxis_transform()
                text = one.text(0.5, y, score.state or NOTHING, fontsize=7, color=GREY, transform=place)
                text.set(ha="center", va="center")
        for y, row in zip(theirs, papers, strict=True):
            if pair := row.accuracies.get(published[task]):
                mean, spread = pair
                whisker(one, (mean - spread, mean + spread), y, color=GREY, linestyle=(0, (2, 1.5)))
                one.plot(mean, y, "o", color=GREY, markerfacecolor="white", label="_published")
        draw_chance(one, results, task, upright=False)
        if papers:
            one.axhspan((ours[-1] + theirs[0]) / 2, one.get_ylim()[0], color="0.96", zorder=0)
        one.margins(x=0.1)
    caption = "Dots: mean accuracy, in percent of the query images; each task has its own scale. "
    caption += f"{CHANCE} "
    caption += whisker_text(report) + state_text(results)
    if papers:
        kinds = "; ".join({row.source: f"{row.source}: {row.plus_minus}" for row in papers}.values())
        caption += f" Hollow, on grey: published, not ours; their whiskers are of other kinds ({kinds})."
    return ReportFigure("accuracy", "Accuracy by task", caption, figure)


def draw_parameters(report: Report, abreast: int = PANELS) -> ReportFigure | None:
    """Accuracy against the parameters adapted to a task, a panel for each task; None where no record counts them."""
    results, styles = report.results, method_styles(report.results.methods)
    counted = {
        key: count
        for key, score in results.scores.items()
        if (count := score.fact("adapted_parameters"))  # none at all has no place on a log scale
    }
    tasks = [task for task in results.tasks if any(of == task for of, _ in counted)]
    if not tasks:
        return None
    entries = method_entries(styles, [method for _, method in counted], linestyle="none")
    titles = [task_title(results, task) for task in tasks]
    x_label = "parameters adapted to a task (log scale)"
    figure, axes = panels(titles, 1.35, x_label, accuracy_words(report), entries, abreast)
    for task, one in zip(tasks, axes, strict=True):
        counts = {method: count for (of, method), count in counted.items() if of == task}
        one.set_xscale("log")
        for method, count in counts.items():
            _draw_accuracy(one, report, task, method, count, styles[method], upright=True)
        draw_chance(one, results, task)
        _decades(one, min(counts.values()) / 2, max(counts.values()) * 2)
        one.yaxis.set_major_locator(MaxNLocator(5))
        one.grid()
        one.margins(y=0.12)
    caption = "Accuracy against the number of parameters that are adapted to one task, and stored for it. "
    caption += f"{CHANCE} "
    caption += whisker_text(report) + state_text(results)
    return ReportFigure("parameters", "Accuracy and adapted parameters", caption, figure)


def _decades(axes: Axes, low: float, high: float) -> None:
    """Ticks at powers of ten, and between them where that leaves fewer than two."""
    powers = [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    fine = [step * power for power in powers for step in (1, 3)]
    tens, all_ticks = ([tick for tick in ticks if low <= tick <= high] for ticks in (powers, fine))
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(tens if len(tens) > 1 else all_ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    in_thousands(axes)


def _published(report: Report, task: str) -> str:
    """The published task that a task is, or nothing; nothing where only a part of the data was there."""
    configs = [config for score in report.results.of_task(task) if (config := score.config)]
    return "" if report.results.partial(task) or not configs else published_task(configs[0]) or ""


def _draw_accuracy(
    axes: Axes, report: Report, task: str, method: str, at: float, style: MethodStyle, *, upright: bool = False
) -> None:
    """Mean and interval of the report's kind; open episodes have a mean of their own."""
    interval = report.intervals.get(task, method, report.kind)
    mean = interval.mean if interval else float(report.results.scores[task, method].accuracies.mean())
    if interval:
        assert interval.low is not None
        assert interval.high is not None
        whisker(axes, (100 * interval.low, 100 * interval.high), at, upright=upright, color=style.colour)
    place = (at, 100 * mean) if upright else (100 * mean, at)
    axes.plot(*place, style.marker, color=style.colour, label="_mean")
