"""Words of figures: panel titles, axis labels, and the sentences that captions share."""

from fewshot_km.reports.grid_results import GridResults
from fewshot_km.reports.intervals import Interval, Kind
from fewshot_km.reports.report import Report
from fewshot_km.reports.score_intervals import counts_text

CHANCE = "Dotted, or where an arrow points: chance, 1/ways."
COUNTED: dict[Kind, str] = {
    "episodes": "test episodes",
    "open": "test episodes that share no image",
    "seeds": "seeds",
    "hierarchical": "(seeds x test episodes)",
}


def task_title(results: GridResults, task: str) -> str:
    """A panel's title."""
    return f"{task} (partial data)" if results.partial(task) else task


def accuracy_words(report: Report) -> str:
    """Label of the axis of accuracies: which interval the whiskers show, and over how many values."""
    counts = {interval.n: counts_text(interval) for interval in _intervals(report)}
    if not counts:
        return "accuracy %"
    said = " or ".join(counts[n] for n in sorted(counts))
    return f"accuracy %, 95 % interval over {said} {COUNTED[report.kind]}"


def whisker_text(report: Report) -> str:
    """Say what the whiskers are, and which tasks were run on a part of their data."""
    results = report.results
    found = [f"{task}: {text}" for task in results.tasks if (text := results.partial(task))]
    partial = f" Partial data ({'; '.join(found)}): such accuracies compare with no others." if found else ""
    return f"Whiskers, {report.intervals.note(report.kind)}{partial}"


def state_text(results: GridResults) -> str:
    """Name the scores that rest on fewer seeds than the grid asks for."""
    found = [f"{s.task}, {s.method}: {s.state}" for s in results.scores.values() if s.is_known and s.state]
    return f" Not finished: {'; '.join(found)}." if found else ""


def _intervals(report: Report) -> list[Interval]:
    return [found for key in report.results.scores if (found := report.intervals.get(*key, report.kind))]
