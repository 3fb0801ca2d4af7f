"""Which method is better, on what evidence: paired on the same episodes, or on the same seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from fewshot_km.reports.grid_results import GridResults, Score
from fewshot_km.reports.intervals import CONFIDENCE, FEWEST_SEEDS_FOR_ALGORITHMS, Interval
from fewshot_km.reports.paired_tests import PairedComparison, compare_paired, holm

Outcome = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Contrast:
    """One pair of methods on one task, first minus second.

    over_episodes  paired on the test episodes, each averaged over the seeds: compares these trained models
    over_seeds     paired on the seeds: compares the algorithms; None where fewer than five seeds are common to both
    adjusted_p     of the paired t test that decides, Holm-corrected over all comparisons of the table
    """

    task: str
    first: str
    second: str
    over_episodes: PairedComparison
    over_seeds: PairedComparison | None
    adjusted_p: float

    @property
    def deciding(self) -> PairedComparison:
        """Over seeds where there are enough of them, else over episodes."""
        return self.over_seeds or self.over_episodes

    @property
    def compares(self) -> Literal["algorithms", "trained models"]:
        """What a claim from this comparison is about."""
        return "algorithms" if self.over_seeds else "trained models"

    @property
    def outcome(self) -> Outcome:
        """Of the first method."""
        if self.adjusted_p > 1 - CONFIDENCE:
            return "undecided"
        return "better" if self.deciding.difference.mean > 0 else "worse"

    def flipped(self) -> "Contrast":
        """Second minus first."""
        over_seeds = self.over_seeds and _flipped(self.over_seeds)
        return replace(
            self,
            first=self.second,
            second=self.first,
            over_episodes=_flipped(self.over_episodes),
            over_seeds=over_seeds,
        )


class Contrasts:
    """All pairs of methods on all tasks where both are known."""

    def __init__(self, contrasts: list[Contrast]) -> None:
        self.all = contrasts
        self._between: Mapping[tuple[str, str, str], Contrast] = {
            (one.task, one.first, one.second): one for contrast in contrasts for one in (contrast, contrast.flipped())
        }

    def between(self, task: str, first: str, second: str) -> Contrast | None:
        """First minus second; None where one of them is not known on the task."""
        return self._between.get((task, first, second))


def contrast_all(results: GridResults) -> Contrasts:
    """Compare every pair of methods on every task, and adjust all their p values together."""
    pairs = [pair for task in results.tasks for pair in combinations(results.of_task(task), 2)]
    found = [
        Contrast(
            a.task, a.method, b.method, compare_paired(a.accuracies.mean(0), b.accuracies.mean(0)), _by_seed(a, b), 1
        )
        for a, b in pairs
    ]
    adjusted = holm([contrast.deciding.p_t for contrast in found])
    return Contrasts([replace(contrast, adjusted_p=p) for contrast, p in zip(found, adjusted, strict=True)])


def best_methods(results: GridResults, contrasts: Contrasts, task: str) -> set[str]:
    """The method with the highest mean, and all that are not significantly worse: those that a table prints bold."""
    scores = results.of_task(task)
    if len(scores) < 2:
        return set()
    best = max(scores, key=lambda score: float(score.accuracies.mean())).method
    behind = {score.method: contrasts.between(task, score.method, best) for score in scores}
    return {method for method, contrast in behind.items() if contrast is None or contrast.outcome != "worse"}


def _by_seed(a: Score, b: Score) -> PairedComparison | None:
    common = sorted(set(a.seeds) & set(b.seeds))
    if len(common) < FEWEST_SEEDS_FOR_ALGORITHMS:
        return None
    first, second = (score.accuracies[[score.seeds.index(seed) for seed in common]].mean(1) for score in (a, b))
    return compare_paired(first, second)


def _flipped(comparison: PairedComparison) -> PairedComparison:
    difference, better = comparison.difference, comparison.first_better
    return replace(
        comparison,
        difference=_mirrored(difference, 0.0),
        first_better=_mirrored(better, 1.0),
    )


def _mirrored(interval: Interval, total: float) -> Interval:
    low = None if interval.high is None else total - interval.high
    high = None if interval.low is None else total - interval.low
    return replace(interval, mean=total - interval.mean, low=low, high=high)
