"""Ranks of the methods over a grid's tasks, with Friedman's and Nemenyi's tests (Demsar 2006)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # not its parts: see intervals.py

from fewshot_km.reports.grid_results import GridResults
from fewshot_km.reports.intervals import CONFIDENCE, Array

FEWEST_TASKS_FOR_RANKS = 5  # Demsar 2006: fewer cannot tell methods apart by rank


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over the tasks, 1 the best, with Friedman's p and Nemenyi's critical difference (Demsar 2006)."""

    ranks: Mapping[str, float]
    tasks: int
    friedman_p: float
    critical_difference: float

    def groups(self) -> list[tuple[str, ...]]:
        """The largest sets of neighbours whose ranks differ by less than the critical difference, best first."""
        ordered = sorted(self.ranks, key=lambda method: self.ranks[method])
        groups: list[tuple[str, ...]] = []
        for start, first in enumerate(ordered):
            near = [m for m in ordered[start:] if self.ranks[m] - self.ranks[first] < self.critical_difference]
            if len(near) > 1 and not (groups and set(near) <= set(groups[-1])):
                groups.append(tuple(near))
        return groups


def rank_methods(results: GridResults) -> Ranking | str:
    """Ranks over the tasks on which every method is known; or why there are none."""
    columns = [task for task in results.tasks if len(results.of_task(task)) == len(results.methods)]
    if len(results.methods) < 3:
        return f"none: Friedman's test needs three methods, and there {_is(len(results.methods))}."
    if len(columns) < FEWEST_TASKS_FOR_RANKS:
        return (
            f"none: they need at least {FEWEST_TASKS_FOR_RANKS} tasks with every method "
            f"(Demsar 2006), and there {_is(len(columns))}."
        )
    scores = np.array([[results.scores[task, m].accuracies.mean() for m in results.methods] for task in columns])
    return Ranking(
        dict(zip(results.methods, mean_ranks(scores).tolist(), strict=True)),
        len(columns),
        friedman_test(scores),
        critical_difference(len(results.methods), len(columns)),
    )


def mean_ranks(scores: Array) -> Array:
    """Mean rank of each method over the columns: scores [columns, methods], rank 1 is the best, ties share a rank."""
    ranks: Array = scipy.stats.rankdata(-scores, axis=1).mean(0)
    return ranks


def friedman_test(scores: Array) -> float:
    """p of Friedman's test that all methods rank alike: scores [columns, methods], at least three methods."""
    if (scores == scores[:, :1]).all():
        return 1.0
    return float(scipy.stats.friedmanchisquare(*scores.T).pvalue)


def critical_difference(methods: int, columns: int) -> float:
    """Nemenyi's critical difference of mean ranks (Demsar 2006, section 3.2.2): q sqrt(k (k + 1) / (6 N))."""
    q = float(scipy.stats.studentized_range.ppf(CONFIDENCE, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * columns)))


def _is(number: int) -> str:
    return "is 1" if number == 1 else f"are {number}"
