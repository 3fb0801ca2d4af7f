"""Running cells: prepare all of them first, then train, test and store one after the other."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from fewshot_km.datasets import DATASETS, Dataset
from fewshot_km.engine import OuterLoop, Progress, evaluate, meta_train
from fewshot_km.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.errors import ConfigError, DivergenceError, FewshotError
from fewshot_km.grid.config import CellConfig
from fewshot_km.grid.environment import describe_environment
from fewshot_km.grid.grid import Cell, Grid
from fewshot_km.grid.store import ResultStore
from fewshot_km.learners import InnerLoop, Learner, Params, build_learner
from fewshot_km.networks import Network, build_network

VALIDATION_STREAM = Stream("validation", 0)  # one for all seeds: they are selected on the same episodes


class Display(Protocol):
    """What is told to the user while cells run."""

    def cell_started(self, cell: Cell) -> None:
        """A cell begins."""

    def trained(self, cell: Cell, progress: Progress) -> None:
        """One iteration of meta-training is done."""

    def tested(self, cell: Cell, episodes: int) -> None:
        """So many more test episodes are done."""

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """A cell is stored; `summary` is the `results` part of its record."""

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """A cell stopped without a result."""


@dataclass(frozen=True)
class Streams:
    """The samplers of one cell."""

    train: EpisodeSampler
    validation: EpisodeSampler
    test: EpisodeSampler


def run_grid(grid: Grid, store: ResultStore, data_root: Path, device: torch.device, display: Display) -> list[Cell]:
    """Run the cells that are not done yet and return those that failed.

    Data sets are read, and every learner is built, before the first cell starts: whatever is wrong with the grid or the
    data raises here, as FewshotError, at once. A cell that diverges is marked failed and the others go on.
    """
    waiting = [cell for cell in grid.cells if store.state(cell) != "done"]
    datasets = {name: DATASETS.get(name)(data_root) for name in _unique(cell.config.task.dataset for cell in waiting)}
    for cell in waiting:
        try:
            dataset = datasets[cell.config.task.dataset]
            make_learner(cell.config, dataset)
            make_streams(cell.config, dataset, torch.device("cpu"))
        except FewshotError as error:
            raise type(error)(f"{grid.name}: {cell.task}/{cell.learner}: {error}") from error
    store.prepare()
    environment = describe_environment(device)  # now: a checkout may change while this process computes
    failed = []
    for cell in waiting:
        try:
            run_cell(cell, datasets[cell.config.task.dataset], store, device, environment, display)
        except DivergenceError as error:
            store.write_failure(cell, str(error))
            display.cell_failed(cell, str(error))
            failed.append(cell)
    return failed


def run_cell(
    cell: Cell,
    dataset: Dataset,
    store: ResultStore,
    device: torch.device,
    environment: Mapping[str, Any],
    display: Display,
) -> None:
    """Meta-train, select on validation, test once, and store the whole result; raises DivergenceError."""
    display.cell_started(cell)
    config = cell.config
    started = datetime.now(UTC)
    learner = make_learner(config, dataset)
    streams = make_streams(config, dataset, device)
    meta = {name: value.to(device) for name, value in learner.init(config.seed).items()}

    def validate(current: Params) -> float:
        accuracies = evaluate(
            learner,
            current,
            streams.validation,
            episodes=config.validation.episodes,
            steps=config.inner.test_steps,
            batch=config.outer.meta_batch,
            execution=config.outer.execution,
        )
        return float(accuracies.mean())

    outer = OuterLoop(
        lr=config.outer.lr,
        meta_batch=config.outer.meta_batch,
        iterations=config.outer.iterations,
        steps=config.inner.train_steps,
        clip_value=config.outer.clip_value,
        validate_every=config.validation.every,
        execution=config.outer.execution,
    )
    clock = time.monotonic()
    training = meta_train(
        learner, meta, streams.train, validate, outer, lambda progress: display.trained(cell, progress)
    )
    train_seconds = time.monotonic() - clock
    clock = time.monotonic()
    accuracies = evaluate(
        learner,
        training.meta,
        streams.test,
        episodes=config.test.episodes,
        steps=config.inner.test_steps,
        batch=config.outer.meta_batch,
        execution=config.outer.execution,
        on_batch=lambda episodes: display.tested(cell, episodes),
    )
    test_seconds = time.monotonic() - clock
    adapted = adapted_sizes(learner, training.meta, streams.validation)
    summary = {
        "test_accuracy": float(accuracies.mean()),
        "test_episodes": len(accuracies),
        "best_val_accuracy": training.best_val_accuracy,
        "best_iteration": training.best_iteration,
        "adapted_parameters": adapted[0],
        "bytes_per_task": adapted[1],
        "meta_parameters": int(sum(value.numel() for value in training.meta.values())),
        "train_seconds": round(train_seconds, 2),
        "test_seconds": round(test_seconds, 2),
    }
    record = {
        "cell": str(cell),
        "config_digest": config.digest(),
        "config": config.model_dump(mode="json"),
        "dataset_digest": dataset.digest,
        "results": summary,
        "environment": environment,
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store.write(cell, record, training, np.asarray(accuracies))
    display.cell_finished(cell, summary)


def make_learner(config: CellConfig, dataset: Dataset) -> Learner:
    """The learner of a cell on its network; raises ConfigError for options whose values do not work."""

    def make_network() -> Network:
        network = config.network
        return build_network(network.name, network.options, dataset.bank.image_shape, config.task.ways)

    inner = InnerLoop(lr=config.inner.lr, order=config.inner.order)
    return build_learner(config.learner.name, config.learner.options, make_network, inner)


def make_streams(config: CellConfig, dataset: Dataset, device: torch.device) -> Streams:
    """The training, validation and test episodes of a cell; raises DataError where the classes do not suffice."""
    task = config.task
    train = TaskSpec(task.ways, task.shots, task.train_queries)
    test = TaskSpec(task.ways, task.shots, task.test_queries)
    return Streams(
        EpisodeSampler(dataset, "train", train, Stream("train", config.seed), device),
        EpisodeSampler(dataset, "val", test, VALIDATION_STREAM, device),
        EpisodeSampler(dataset, "test", test, Stream("test", config.test.stream), device),
    )


@torch.no_grad()
def adapted_sizes(learner: Learner, meta: Params, sampler: EpisodeSampler) -> tuple[int, int]:
    """Numbers and bytes of one task's delta: what must be stored for a task beside the meta-parameters."""
    episode = sampler.draw(range(1))
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
    return (
        sum(value.numel() for value in delta.values()),
        sum(value.numel() * value.element_size() for value in delta.values()),
    )


def _unique(names: Iterable[str]) -> Iterator[str]:
    return iter(dict.fromkeys(names))


def choose_device(name: str) -> torch.device:
    """ "auto": a CUDA device where there is one, else the CPU; raises ConfigError for a device that cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {name}: cannot be used here ({str(error).splitlines()[0]}); try auto or cpu"
        ) from None
    return device
