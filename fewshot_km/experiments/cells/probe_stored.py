"""The probe stage of cells that were finished without it, from the weights that were kept."""

from collections.abc import Mapping
from typing import Any

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.data import Dataset
from fewshot_km.errors import DataError
from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.cells.parts import Parts, make_learner, make_streams
from fewshot_km.experiments.cells.stages import run_probe
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.events.event import to_nobody
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store.example_images import FACTS, write_examples
from fewshot_km.experiments.store.frozen_episodes import digest_of_test
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.experiments.store.stored_cell import StoredCell
from fewshot_km.experiments.store.unfinished import now
from fewshot_km.learners import Learner, Params
from fewshot_km.training.devices import allow_tf32
from fewshot_km.training.engine import MOST_TASKS, Engine
from fewshot_km.training.ranks import Ranks

MACHINE = ("git_commit", "device", "threads")  # the part of the environment that decides about times and rounding


def is_probed(cell: Cell, store: ResultStore) -> bool:
    """Whether a finished cell knows all that `run` finds out now; raises DataError where it is damaged."""
    stored = store.read(cell)
    knows = "test_episodes_digest" in stored.record and "adaptation_seconds" in stored.record["results"]
    return stored.analysis is not None and knows


def has_images(cell: Cell, store: ResultStore) -> bool:
    """Whether the images of the examples are there: they are neither published nor kept with results."""
    return (store.task_folder(cell) / FACTS).is_file()


def make_images(cell: Cell, store: ResultStore, dataset: Dataset) -> None:
    """Write the images of the examples of a finished cell's task; raises DataError for another version of the data."""
    _check_same(store.read(cell), dataset)
    write_examples(store.task_folder(cell), cell.config, dataset, digest_of_test(cell.config, dataset))


def probe_stored(
    cell: Cell, store: ResultStore, dataset: Dataset, ranks: Ranks, environment: Mapping[str, Any], stop: Stop
) -> StoredCell:
    """Give a finished cell what `run` would have given it, and return it.

    Its record then says when this was, and the part of `environment` that matters. Raises StoppedRun, and DataError
    where the weights are gone or not the cell's, or the data is another version.
    """
    stored = store.read(cell)
    _check_same(stored, dataset)
    record, config = stored.record, cell.config
    learner = make_learner(config, dataset)
    weights = _weights(cell, store, learner)
    allow_tf32(bool(record["environment"].get("tf32")))
    with stop.asking():
        engine = _engine_of(learner, record["environment"].get("backends", {}), ranks)
        state = CellState("probe", weights, results=record["results"]).to(ranks.device)
        streams = make_streams(config, dataset, ranks.device)
        parts = Parts(config, engine, streams, state.weights, check=lambda *_: stop.check())
        state = run_probe(state, parts, to_nobody)
        make_images(cell, store, dataset)
        added = {
            "results": dict(state.results),
            "test_episodes_digest": digest_of_test(config, dataset),
            "analysed": {"at": now(), **{name: environment[name] for name in MACHINE}},
        }
        store.amend(cell, {**record, **added}, state.files)
    return store.read(cell)


def _weights(cell: Cell, store: ResultStore, learner: Learner) -> Params:
    kept = store.weights(cell)
    if {n: v.shape for n, v in kept.items()} != {n: v.shape for n, v in learner.init(cell.seed).items()}:
        raise DataError(f"the weights.safetensors of {cell} are another learner's or network's: put its own back")
    return kept


def _check_same(stored: StoredCell, dataset: Dataset) -> None:
    if stored.record["dataset_digest"] != dataset.digest:
        raise DataError(f"it was run on another version of '{dataset.name}' than the one at hand; bring that back")


def _engine_of(learner: Learner, backends: Mapping[str, Any], ranks: Ranks) -> Engine:
    """The engine that the cell was tested with, for the same rounding; the plain one where that is not known here."""
    if backends.get("testing") not in BACKENDS:
        return Engine(learner, ranks=ranks)
    chunk = backends.get("testing_chunk", MOST_TASKS)
    return Engine(learner, testing=BACKENDS[backends["testing"]], testing_chunk=chunk, ranks=ranks)
