"""The fastest backend for each task and learner of a grid on this machine, as `fewshot-km tune` found it.

It stands in results/<grid>/tuning.json, where the user sees it and can delete it; `run` follows it. Nothing else that a
clock has measured decides how a cell is computed.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from fewshot_km.accel.choice import Wanted, Work, by_rule, check_backend, choose_engine
from fewshot_km.accel.timing import fastest, measure_in_turns
from fewshot_km.data import Dataset
from fewshot_km.data.storage import write_text
from fewshot_km.errors import ConfigError, describe_error
from fewshot_km.experiments.cells.parts import make_learner, make_streams
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.training.engine import Engine

FILE = "tuning.json"


def _known(name: str) -> str:
    try:
        check_backend(name)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return name


BackendName = Annotated[str, AfterValidator(_known)]


class TunedCell(BaseModel):
    """The backends for one task and learner, and the median seconds per meta-batch of all that were measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: BackendName
    testing: BackendName
    training_seconds: dict[str, float]
    testing_seconds: dict[str, float]


class Tuning(BaseModel):
    """The content of tuning.json; `cells` by "task/learner", whatever the seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str = ""
    device: str = ""
    threads: int = 0
    cells: dict[str, TunedCell] = {}

    def backends(self, cell: Cell, device: torch.device) -> tuple[str, str] | None:
        """For training and testing; None where the cell was not measured, or on another kind of device."""
        found = self.cells.get(f"{cell.task}/{cell.learner}")
        return (found.training, found.testing) if found and self.device == device.type else None


def read_tuning(folder: Path) -> Tuning:
    """Read the tuning of a grid's results, empty where there is none; raises ConfigError for a damaged file."""
    path = folder / FILE
    try:
        return Tuning.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Tuning()
    except (OSError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise ConfigError(f"{path}: damaged ({why}); delete it, or run `fewshot-km tune` again") from None


def write_tuning(folder: Path, tuning: Tuning) -> Path:
    """Write it whole or not at all; returns the file."""
    write_text(folder / FILE, tuning.model_dump_json(indent=2) + "\n")
    return folder / FILE


def tune_cell(
    cell: Cell,
    dataset: Dataset,
    device: torch.device,
    names: Sequence[str],
    processes: int,
    rounds: int,
    warn: Callable[[str], None],
) -> TunedCell:
    """Measure backends on what one of so many processes does for a meta-batch of a cell.

    `warn` hears which backends cannot run the learner. Raises whatever the learner raises under every backend.
    """
    config = cell.config
    learner, streams = make_learner(config, dataset), make_streams(config, dataset, device)
    meta = {name: value.to(device) for name, value in learner.init(config.seed).items()}
    share = range(0, config.outer.meta_batch, processes)
    train_steps, test_steps = config.inner.train_steps, config.inner.test_steps
    failures: list[Exception] = []

    work = Work(streams.train, streams.validation, train_steps, test_steps, len(share))

    @cache
    def engine(name: str) -> Engine:
        return choose_engine(learner, meta, work, Wanted(name, name))

    def train(name: str) -> None:
        engine(name).outer_step(meta, streams.train, share, steps=train_steps)

    def test(name: str) -> None:
        engine(name).count_correct(meta, streams.validation, len(share), steps=test_steps)

    def failed(name: str, error: Exception) -> None:
        failures.append(error)
        warn(f"'{name}' is left out: {describe_error(error)[:200]}")

    def measure(run: Callable[[str], None]) -> dict[str, float]:
        found = measure_in_turns({name: partial(run, name) for name in names}, device, rounds, failed)
        if not found:
            raise failures[-1]
        return found

    of_training, of_testing = measure(train), measure(test)
    rule = by_rule(device)
    return TunedCell(
        training=fastest(of_training, rule),
        testing=fastest(of_testing, rule),
        training_seconds=of_training,
        testing_seconds=of_testing,
    )
