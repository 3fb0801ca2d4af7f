"""What the papers report and claim, and how a grid's results stand to it."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.reports.comparisons import Contrast, Contrasts, Outcome
from fewshot_km.reports.grid_results import GridResults
from fewshot_km.reports.intervals import FEWEST_SEEDS_FOR_ALGORITHMS

FAMILIES = {"omniglot": "omniglot", "omniglot-vinyals": "omniglot", "mini-imagenet": "mini-imagenet"}
"""The published data set that a data set's protocol is of."""


Verdict = Literal["supported", "contradicted", "undecided", "not tested"]


@dataclass(frozen=True)
class PublishedRow:
    """A row of a paper's table: accuracies and what stands behind its ±, in percent, by the published task's name."""

    method: str
    source: str
    plus_minus: str
    accuracies: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Claim:
    """An ordering that a paper states: one learner above another on a task, both by registered name."""

    better: str
    worse: str
    task: str
    source: str


@dataclass(frozen=True)
class CheckedClaim:
    """A claim beside what the results say: `contrast` is better minus worse, or None where nothing could be tested."""

    claim: Claim
    verdict: Verdict
    contrast: Contrast | None
    why: str = ""


def published_task(config: CellConfig) -> str | None:
    """The published task that settings are of, such as "omniglot-20w1s"; None where there is none."""
    family = FAMILIES.get(config.task.dataset.name)
    return family and f"{family}-{config.task.ways}w{config.task.shots}s"


def published_rows() -> tuple[PublishedRow, ...]:
    """All rows, in the order of the file."""
    named = ("method", "source", "plus_minus")
    return tuple(
        PublishedRow(
            row["method"],
            row["source"],
            row["plus_minus"],
            {task: tuple(pair) for task, pair in row.items() if task not in named},
        )
        for row in _content()["results"]
    )


def published_claims() -> tuple[Claim, ...]:
    """All claims, one for each task."""
    return tuple(
        Claim(claim["better"], claim["worse"], task, claim["source"])
        for claim in _content()["claims"]
        for task in claim["tasks"]
    )


def check_claims(results: GridResults, contrasts: Contrasts) -> list[CheckedClaim]:
    """Test every claim on every pair of the grid's rows that it speaks of; nothing is left out silently."""
    checked = []
    for claim in published_claims():
        found = [
            CheckedClaim(claim, _verdict(contrast), contrast, _scope(contrast))
            for task in results.tasks
            for better in _methods(results, task, claim.better, claim.task)
            for worse in _methods(results, task, claim.worse, claim.task)
            if (contrast := contrasts.between(task, better, worse))
        ]
        checked += found or [CheckedClaim(claim, "not tested", None, _reason(results, claim))]
    return checked


def _verdict(contrast: Contrast) -> Verdict:
    """A claim is about algorithms: what was trained with fewer than five seeds cannot decide it."""
    if contrast.over_seeds is None:
        return "undecided"
    outcomes: dict[Outcome, Verdict]
    outcomes = {"better": "supported", "worse": "contradicted", "undecided": "undecided"}
    return outcomes[contrast.outcome]


def _scope(contrast: Contrast) -> str:
    if contrast.over_seeds is not None:
        return ""
    agreement = {"better": "agree with it", "worse": "disagree with it", "undecided": "do not differ significantly"}
    said = f"these trained models {agreement[contrast.outcome]}"
    return f"{said}; a claim about algorithms needs {FEWEST_SEEDS_FOR_ALGORITHMS} seeds of both"


def _reason(results: GridResults, claim: Claim) -> str:
    configs = [cell.config for cell in results.grid.cells]
    if not any(published_task(config) == claim.task for config in configs):
        return "the grid has no such task"
    if partial := [task for task in results.tasks if results.partial(task)]:
        return f"only a part of the data was there ({', '.join(partial)})"
    names = {config.learner.name for config in configs if published_task(config) == claim.task}
    absent = [name for name in (claim.better, claim.worse) if name not in names]
    return f"the grid has no {' and no '.join(absent)}" if absent else "not both are finished"


def _methods(results: GridResults, task: str, learner: str, published: str) -> list[str]:
    if results.partial(task):
        return []
    configs = ((score.method, score.config) for score in results.of_task(task))
    return [m for m, c in configs if c and c.learner.name == learner and published_task(c) == published]


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("papers.toml").read_text(encoding="utf-8"))
