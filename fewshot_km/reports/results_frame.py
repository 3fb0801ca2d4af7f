"""Every number of a report, unrounded, as data frames, and as CSV that is safe to open in a spreadsheet."""

from typing import Any

import pandas as pd

from fewshot_km.reports.comparisons import Contrasts, best_methods
from fewshot_km.reports.grid_results import GridResults
from fewshot_km.reports.score_intervals import KINDS, ScoreIntervals, counts_text
from fewshot_km.text import csv_field

PAIRWISE = (
    "task first second first_is difference_points ci95_low_points ci95_high_points p_holm p_t p_sign_flip "
    "p_first_better ci95_low_first_better ci95_high_first_better n compares"
)


def pairwise_frame(contrasts: Contrasts) -> pd.DataFrame:
    """One row per pair of methods and task, first minus second, unrounded; differences in points."""
    rows = []
    for contrast in contrasts.all:
        pair = contrast.deciding
        difference, better = pair.difference, pair.first_better
        assert difference.low is not None
        assert difference.high is not None
        points = [100 * difference.mean, 100 * difference.low, 100 * difference.high]
        tests = [contrast.adjusted_p, pair.p_t, pair.p_sign_flip]
        names = [contrast.task, contrast.first, contrast.second, contrast.outcome]
        rows.append([*names, *points, *tests, better.mean, better.low, better.high, pair.n, contrast.compares])
    return pd.DataFrame(rows, columns=PAIRWISE.split())


def results_frame(results: GridResults, intervals: ScoreIntervals, contrasts: Contrasts) -> pd.DataFrame:
    """One row per task and method with unrounded numbers; accuracies in percent, NaN where there is nothing to say."""
    rows = []
    for task in results.tasks:
        best = best_methods(results, contrasts, task)
        for method in results.methods:
            score = results.scores[task, method]
            partial = results.partial(task)
            row: dict[str, Any] = {
                "task": task,
                "data": f"partial: {partial}" if partial else "complete",
                "learner": method,
                "accuracy_percent": 100 * float(score.accuracies.mean()) if score.is_known else None,
            }
            for kind in KINDS:
                interval = intervals.get(task, method, kind)
                low, high = (interval.low, interval.high) if interval else (None, None)
                if kind == "open":
                    row["accuracy_percent_open"] = interval and 100 * interval.mean
                row |= {
                    f"ci95_low_{kind}": None if low is None else 100 * low,
                    f"ci95_high_{kind}": None if high is None else 100 * high,
                    f"method_{kind}": interval and interval.method,
                    f"n_{kind}": interval and counts_text(interval),
                }
            row |= {"not_significantly_worse_than_best": method in best}
            row |= {"seeds_done": len(score.seeds), "seeds": len(score.cells), "state": score.state}
            for name in ("adapted_parameters", "bytes_per_task", "adaptation_seconds"):
                row[name] = score.fact(name)
            config = score.config
            row |= {
                "train_steps": config and config.inner.train_steps,
                "test_steps": config and config.inner.test_steps,
                "norm": config and config.network.options.get("norm"),
                "order": config and config.inner.order,
                "iterations": config and config.outer.iterations,
                "test_episodes": score.accuracies.shape[1] if score.is_known else None,
            }
            rows.append(row)
    return pd.DataFrame(rows).convert_dtypes()


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV whose texts are as `csv_field` makes them; numbers stay as they are."""
    safe = frame.copy(deep=False)
    for name in frame.columns:
        if not (pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name])):
            fields = {text: csv_field(text) for text in frame[name].unique() if isinstance(text, str)}
            safe[name] = frame[name].map(lambda value, fields=fields: fields.get(value, value), na_action="ignore")
    return str(safe.to_csv(index=False, lineterminator="\n"))
