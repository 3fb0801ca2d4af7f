"""The results table of a grid: a row per task and learner, every ± with its kind and n."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fewshot_km.errors import DataError
from fewshot_km.grid import Cell, Grid, ResultStore, StoredCell
from fewshot_km.reporting.statistics import Interval, episode_interval, seed_interval

ACCURACY = "accuracy_percent"
OVER_EPISODES = "ci95_half_width_over_episodes"
OVER_SEEDS = "ci95_half_width_over_seeds"
COMPLETE = "complete"


SETTINGS = ("data", "inner steps", "norm", "order", "iterations")
"""Columns of the displayed table that tell how a result was made; data only where some of a data set is missing."""

LEFT = ("task", "data", "learner", "norm", "order")
"""Columns that are words; numbers stand to the right."""


@dataclass(frozen=True)
class ResultsTable:
    """A title, rows of unrounded numbers, and notes: what the columns mean, one sentence each."""

    title: str
    rows: pd.DataFrame
    notes: tuple[str, ...]


def results_table(grid: Grid, store: ResultStore) -> ResultsTable:
    """Read every finished cell of the grid; unfinished ones are counted, never dropped.

    Raises DataError where nothing is done yet, a result is damaged, or cells of one task used different data.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in grid.cells:
        groups.setdefault((cell.task, cell.learner), []).append(cell)
    rows = []
    digests: dict[str, str] = {}
    records: list[Mapping[str, Any]] = []
    for (task, learner), cells in groups.items():
        done = [store.read(cell) for cell in cells if store.state(cell) == "done"]
        records += [stored.record for stored in done]
        for stored in done:
            if digests.setdefault(task, stored.record["dataset_digest"]) != stored.record["dataset_digest"]:
                raise DataError(
                    f"{task}: the stored cells used different versions of the data set; delete those of the old one "
                    f"under {store.folder / task} and run again"
                )
        partial = next((stored.record.get("dataset_partial") for stored in done), None)
        data = f"partial: {partial}" if partial else COMPLETE
        rows.append({"task": task, "data": data, "learner": learner} | _summarise(cells, done) | _facts(cells[0], done))
    frame = pd.DataFrame(rows)
    if not frame["seeds_done"].any():
        raise DataError(f"grid '{grid.name}' has no finished cell under {store.folder}: run it first")
    notes = _notes(frame, _provenance(records))
    if any(cell.config.validation.patience != "none" for cell in grid.cells):
        notes += ("iterations: at most; training ended where validations had brought nothing better for long enough.",)
    failures = [f"{cell} failed: {store.failure(cell)}." for cell in grid.cells if store.state(cell) == "failed"]
    return ResultsTable(f"Grid {grid.name}", frame, (*notes, *_protocol_notes(grid), *failures))


def _summarise(cells: Sequence[Cell], done: Sequence[StoredCell]) -> dict[str, object]:
    """Accuracies and half widths in percent; NaN where there is nothing to say."""
    row: dict[str, object] = {ACCURACY: np.nan, OVER_EPISODES: np.nan, OVER_SEEDS: np.nan}
    if done:
        accuracies = np.stack([stored.accuracies for stored in done])
        over_episodes, over_seeds = episode_interval(accuracies), seed_interval(accuracies)
        row = {
            ACCURACY: 100 * over_episodes.mean,
            OVER_EPISODES: _percent(over_episodes),
            OVER_SEEDS: _percent(over_seeds),
        }
    return row | {"seeds_done": len(done), "seeds": len(cells)}


def _facts(cell: Cell, done: Sequence[StoredCell]) -> dict[str, object]:
    """What a reader needs beside the accuracy."""
    config = cell.config
    return {
        "adapted_parameters": done[0].record["results"]["adapted_parameters"] if done else np.nan,
        "train_steps": config.inner.train_steps,
        "test_steps": config.inner.test_steps,
        "norm": config.network.options.get("norm", "–"),
        "order": config.inner.order,
        "iterations": config.outer.iterations,
        "test_episodes": config.test.episodes,
    }


def _percent(interval: Interval) -> float:
    return np.nan if interval.half_width is None else 100 * interval.half_width


def _notes(frame: pd.DataFrame, mixed: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    seeds = _numbers(frame["seeds_done"])
    notes = [
        "accuracy: percent of query images, mean over test episodes and seeds; all learners and seeds were tested on "
        "the same episodes.",
        f"± episodes: 95 % t interval over n = {_numbers(frame['test_episodes'])} test episodes, each averaged over "
        "the seeds; speaks of these trained models only, on episodes drawn with replacement from this pool of images.",
        f"± seeds: 95 % t interval over n = {seeds} independently meta-trained seeds; a single seed has none.",
        "adapted parameters: numbers that one task stores. inner steps: at training / at test.",
    ]
    if (frame["norm"] == "batch").any():
        notes.append("norm batch: statistics of the batch at hand, at test too (transductive), as in MAML.")
    if (frame["data"] != COMPLETE).any():
        notes.append(
            "partial: so much of the published data set was there; such accuracies compare with none on all of it, nor "
            "on another part."
        )
    notes += [f"Cells differ in {what}: {', '.join(seen)}." for what, seen in mixed.items() if len(seen) > 1]
    if (frame["seeds_done"] < frame["seeds"]).any():
        notes.append("Not finished: some rows rest on fewer seeds than the grid asks for.")
    return tuple(notes)


def _protocol_notes(grid: Grid) -> list[str]:
    """Of each task that follows a protocol: which, and in what it does not, by learner where they differ."""
    followed: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    learners: dict[str, set[str]] = {}
    for cell in grid.cells:
        if cell.protocol:
            of = followed.setdefault((cell.task, cell.protocol, cell.deviations), [])
            of += [] if cell.learner in of else [cell.learner]
            learners.setdefault(cell.task, set()).add(cell.learner)
    notes = []
    for (task, protocol, deviations), names in followed.items():
        who = "" if set(names) == learners[task] else f" ({', '.join(names)})"
        notes.append(f"{task}{who}: protocol {protocol}" + (f", but {', '.join(deviations)}." if deviations else "."))
    return notes


def _provenance(records: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the cells were computed with, as far as it bears on their numbers: each thing's values, sorted."""
    facts: dict[str, set[str]] = {"code (git commit)": set(), "version": set(), "torch": set(), "device": set()}
    for record in records:
        environment = record["environment"]
        commit, _, changes = (environment["git_commit"] or "none").partition("+")
        facts["code (git commit)"].add(f"{commit[:12]} with changes" if changes else commit[:12])
        facts["version"].add(environment["fewshot_km"])
        facts["torch"].add(environment["libraries"]["torch"])
        facts["device"].add(environment["device"])
    return {what: sorted(values) for what, values in facts.items()}


def _numbers(column: "pd.Series[int]") -> str:
    return " or ".join(str(n) for n in sorted(set(column) - {0}))


def display_frame(table: ResultsTable) -> pd.DataFrame:
    """The rows as text, rounded for reading: what the terminal and Markdown show."""
    rows = table.rows
    frame = pd.DataFrame(
        {
            "task": rows["task"],
            "data": rows["data"],
            "learner": rows["learner"],
            "accuracy %": rows[ACCURACY].map(lambda v: _text(v, ".2f")),
            "± episodes": rows[OVER_EPISODES].map(lambda v: _text(v, ".2f")),
            "± seeds": rows[OVER_SEEDS].map(lambda v: _text(v, ".2f")),
            "seeds": [
                f"{d}" if d == s else f"{d} of {s}" for d, s in zip(rows["seeds_done"], rows["seeds"], strict=True)
            ],
            "adapted parameters": rows["adapted_parameters"].map(lambda v: _text(v, ",.0f")),
            "inner steps": [f"{a} / {b}" for a, b in zip(rows["train_steps"], rows["test_steps"], strict=True)],
            "norm": rows["norm"],
            "order": rows["order"],
            "iterations": rows["iterations"].map(lambda v: _text(v, ",d")),
        }
    )
    return frame.drop(columns="data") if (rows["data"] == COMPLETE).all() else frame


def _text(value: float, form: str) -> str:
    return "–" if pd.isna(value) else format(value, form)


def to_markdown(table: ResultsTable) -> str:
    """The table with its notes in Markdown."""
    frame = display_frame(table)
    alignment = ["left" if name in LEFT else "right" for name in frame.columns]
    body = frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"## {table.title}\n\n{body}\n\n{notes}\n"


def to_csv(table: ResultsTable) -> str:
    """The unrounded numbers as CSV; accuracies and half widths in percent."""
    return str(table.rows.to_csv(index=False, lineterminator="\n"))
