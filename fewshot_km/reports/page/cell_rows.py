"""What is known of every single cell, done or not, as a page shows it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store.stored_cell import StoredCell
from fewshot_km.reports.grid_results import GridResults, Score
from fewshot_km.reports.table import NOTHING

GROUPS = {
    "settings": ("config_digest", "config"),
    "results": ("results",),
    "data": ("dataset_digest", "dataset_found", "dataset_partial", "test_episodes_digest"),
    "times": ("started", "ended", "analysed"),
    "environment": ("environment",),
}
"""Which parts of a record stand under which heading; whatever else it has comes last."""

Fact = tuple[str, str]


@dataclass(frozen=True)
class CellFacts:
    """One cell of the grid.

    anchor    its place in the page: "cell/<task>/<learner>/seed<k>"
    state     done, failed or to do
    reason    why it failed, else empty
    summary   accuracy in percent, iterations, seconds of training and of the test, the end; NOTHING where not known
    protocol  which one its task follows, and in what it does not; else empty
    groups    headings and facts
    sessions  of each time that it was run or gone on with: its facts
    """

    cell: Cell
    anchor: str
    state: str
    reason: str
    summary: tuple[str, ...]
    protocol: str
    groups: tuple[tuple[str, tuple[Fact, ...]], ...]
    sessions: tuple[tuple[Fact, ...], ...]


def cell_facts(results: GridResults) -> list[CellFacts]:
    """Every cell, in the order of the grid."""
    return [_facts(cell, results.scores[cell.task, cell.learner]) for cell in results.grid.cells]


def _facts(cell: Cell, score: Score) -> CellFacts:
    failures = dict(score.failures)
    stored = dict(zip(score.seeds, score.stored, strict=True)).get(cell.seed)
    record = stored.record if stored else {"config": cell.config.model_dump(mode="json")}
    known = [key for keys in GROUPS.values() for key in keys]
    groups = {title: [key for key in keys if key in record] for title, keys in GROUPS.items()}
    groups["other"] = [key for key in record if key not in (*known, "cell", "sessions")]
    deviations = f", but {', '.join(cell.deviations)}" if cell.deviations else ""
    return CellFacts(
        cell,
        f"cell/{cell}",
        "done" if stored else "failed" if cell.seed in failures else "to do",
        failures.get(cell.seed, "") if stored is None else "",
        _summary(stored),
        f"{cell.protocol}{deviations}" if cell.protocol else "",
        tuple((title, tuple(_flat(record, keys))) for title, keys in groups.items() if keys),
        tuple(tuple(_flat(session, session)) for session in _sequence(record.get("sessions"))),
    )


def _summary(stored: StoredCell | None) -> tuple[str, ...]:
    if stored is None:
        return (NOTHING,) * 5
    results = stored.record["results"]
    numbers = (results.get("iterations", results.get("best_iteration")), *_seconds(results))
    said = (NOTHING if number is None else f"{number:,.0f}" for number in numbers)
    return f"{100 * float(stored.accuracies.mean()):.2f}", *said, str(stored.record.get("ended", NOTHING))


def _seconds(results: Mapping[str, Any]) -> tuple[Any, Any]:
    return results.get("train_seconds"), results.get("test_seconds")


def _sequence(value: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _flat(record: Mapping[str, Any], keys: Sequence[str] | Mapping[str, Any], base: str = "") -> Iterator[Fact]:
    """Dotted names and values; what stands in the headings already is left out of the names."""
    for key in keys:
        value, name = record[key], f"{base}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, value, "" if name in ("config", "environment", "results") else f"{name}.")
        else:
            yield name, _text(value)


def _text(value: object) -> str:
    if value is None or value in ({}, []):
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
