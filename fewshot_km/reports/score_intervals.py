"""Intervals of a grid's scores, by kind, and the sentences that explain each kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import get_args

from fewshot_km.reports.grid_results import GridResults, Score
from fewshot_km.reports.intervals import (
    FEWEST_SEEDS_FOR_ALGORITHMS,
    Interval,
    Kind,
    episode_interval,
    hierarchical_interval,
    seed_interval,
)

KINDS: tuple[Kind, ...] = get_args(Kind)
WHY_NONE: dict[Kind, str] = {
    "episodes": "a single episode has none",
    "open": "there is no test on episodes that share no image",
    "seeds": "a single seed has no spread",
    "hierarchical": "a single seed has no spread",
}


@dataclass
class ScoreIntervals:
    """The intervals of a grid's scores, each computed once."""

    results: GridResults
    _known: dict[tuple[str, str, Kind], Interval | None] = field(default_factory=dict)

    def get(self, task: str, method: str, kind: Kind) -> Interval | None:
        """None where the kind needs what is not there."""
        key = (task, method, kind)
        if key not in self._known:
            self._known[key] = _interval(self.results.scores[task, method], kind)
        return self._known[key]

    def default_kind(self) -> Kind:
        """Over seeds where every finished score of the grid has enough of them to speak of an algorithm, else episodes.

        Methods of another code base have no say: a file put beside the results must not change what their ± is.
        """
        known = [score for score in self.results.scores.values() if score.is_known and score.cells]
        enough = all(len(score.seeds) >= FEWEST_SEEDS_FOR_ALGORITHMS for score in known)
        return "seeds" if enough else "episodes"

    def note(self, kind: Kind) -> str:
        """What the intervals of a kind are, over how many, and which methods have none of it."""
        known = [key for key, score in self.results.scores.items() if score.is_known]
        found = {key: interval for key in known if (interval := self.get(*key, kind))}
        said = kind_note(kind, list(found.values()))
        many = len(self.results.tasks) > 1
        without = [f"{method} on {task}" if many else method for task, method in known if (task, method) not in found]
        return f"{said} None for {', '.join(without)}: {WHY_NONE[kind]}." if found and without else said


def _interval(score: Score, kind: Kind) -> Interval | None:
    compute: dict[Kind, Callable[[], Interval | None]] = {
        "episodes": lambda: episode_interval(score.accuracies),
        "open": lambda: None if score.open_accuracies is None else episode_interval(score.open_accuracies),
        "seeds": lambda: seed_interval(score.accuracies) if score.seeds else None,
        "hierarchical": lambda: hierarchical_interval(score.accuracies) if score.seeds else None,
    }
    interval = compute[kind]() if score.is_known else None
    return interval if interval and interval.low is not None else None


def counts_text(interval: Interval) -> str:
    """What an interval is over: "600", or "5 x 600" for seeds and episodes."""
    return " x ".join(str(n) for n in interval.n)


def kind_note(kind: Kind, intervals: Sequence[Interval]) -> str:
    """What an interval is, over how many; the same words wherever it stands."""
    counts = " or ".join(sorted({counts_text(interval) for interval in intervals}, key=lambda text: [len(text), text]))
    s = "" if counts == "1" else "s"
    methods = {interval.method for interval in intervals}
    said = {
        "episodes": f"episodes: 95 % t interval over n = {counts} test episode{s}, each averaged over the seeds; "
        "speaks of these trained models only, on episodes drawn with replacement from this pool of images.",
        "open": f"open: the same over n = {counts} test episode{s} that share no image; speaks of the data.",
        "seeds": f"seeds: 95 % t interval over n = {counts} independently meta-trained seed{s}.",
        "hierarchical": f"hierarchical: 95 % t interval over n = {counts} (seeds x episodes), both a sample (two-way "
        "analysis of variance); never narrower than the one over seeds.",
    }[kind]
    if not intervals:
        said = f"{kind}: none, {WHY_NONE[kind]}."
    if "logit" in methods:
        said += " Two distances: accuracies are so close to 0 or 1 that the interval is on the logit scale."
    if "exact" in methods:
        unit = "seeds" if kind in ("seeds", "hierarchical") else "episodes"
        said += f" Where every episode is perfect, it bounds the share of {unit} that are not (Clopper and Pearson)."
    return said
