"""The analysis of cells that were finished without one, from the weights that were kept."""

from collections.abc import Mapping
from typing import Any

import torch

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.data import Dataset
from fewshot_km.errors import DataError
from fewshot_km.experiments.cells.parts import make_learner, make_streams
from fewshot_km.experiments.cells.probe import adaptation_seconds, analyse
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store.example_images import FACTS, write_examples
from fewshot_km.experiments.store.frozen_episodes import digest_of_test
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.experiments.store.stored_cell import StoredCell
from fewshot_km.experiments.store.unfinished import now
from fewshot_km.learners import Learner, Params
from fewshot_km.training.devices import allow_tf32
from fewshot_km.training.engine import MOST_TASKS, Engine

MACHINE = ("git_commit", "device", "threads")  # what of the environment decides about times and rounding


def is_analysed(cell: Cell, store: ResultStore) -> bool:
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


def analyse_stored(
    cell: Cell, store: ResultStore, dataset: Dataset, device: torch.device, environment: Mapping[str, Any], stop: Stop
) -> StoredCell:
    """Give a finished cell what `run` would have given it, and return it.

    Its record says when and of `environment` what matters. Raises DataError where the weights are gone or do not
    belong to the cell, or the data is another version, and StoppedRun.
    """
    stored = store.read(cell)
    _check_same(stored, dataset)
    record, config = stored.record, cell.config
    learner = make_learner(config, dataset)
    meta = _weights(cell, store, learner, device)
    allow_tf32(bool(record["environment"].get("tf32")))
    with stop.asking():
        streams = make_streams(config, dataset, device)
        engine = _engine_of(learner, record["environment"].get("backends", {}))
        analysis = analyse(config, engine, meta, streams, stop.check)
        seconds = adaptation_seconds(config, engine, meta, streams, stop.check)
        make_images(cell, store, dataset)
        added = {
            "results": {**record["results"], "adaptation_seconds": seconds},
            "test_episodes_digest": digest_of_test(config, dataset),
            "analysed": {"at": now(), **{name: environment[name] for name in MACHINE}},
        }
        store.amend(cell, {**record, **added}, analysis)
    return store.read(cell)


def _weights(cell: Cell, store: ResultStore, learner: Learner, device: torch.device) -> Params:
    kept = store.weights(cell)
    if {n: v.shape for n, v in kept.items()} != {n: v.shape for n, v in learner.init(cell.seed).items()}:
        raise DataError(f"the weights.safetensors of {cell} are another learner's or network's: put its own back")
    return {name: value.to(device) for name, value in kept.items()}


def _check_same(stored: StoredCell, dataset: Dataset) -> None:
    if stored.record["dataset_digest"] != dataset.digest:
        raise DataError(f"it was run on another version of '{dataset.name}' than the one at hand; bring that back")


def _engine_of(learner: Learner, how: Mapping[str, Any]) -> Engine:
    """Tests as it was tested, for the same rounding; task after task where that is not known here."""
    if how.get("testing") not in BACKENDS:
        return Engine(learner)
    return Engine(learner, testing=BACKENDS[how["testing"]], testing_chunk=how.get("testing_chunk", MOST_TASKS))
