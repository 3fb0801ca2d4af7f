"""A grid: tasks x learners x seeds, read from one TOML file and resolved into cells."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from fewshot_km.datasets import DATASETS
from fewshot_km.datasets.storage import read_text_bounded
from fewshot_km.errors import ConfigError, DataError, FewshotError, UnknownNameError
from fewshot_km.grid.changes import differences
from fewshot_km.grid.config import (
    CellConfig,
    DatasetConfig,
    InnerConfig,
    LearnerConfig,
    NetworkConfig,
    OuterConfig,
    Section,
    Seed,
    TestConfig,
    ValidationConfig,
)
from fewshot_km.grid.mistakes import Place, dotted, explain
from fewshot_km.grid.plugin_use import source_digests
from fewshot_km.grid.protocols import Protocol, find_protocol
from fewshot_km.grid.toml_text import parse_toml
from fewshot_km.learners import LEARNERS
from fewshot_km.networks import NETWORKS
from fewshot_km.registry import did_you_mean

SECTIONS: dict[str, type[Section]] = {
    "network": NetworkConfig,
    "inner": InnerConfig,
    "outer": OuterConfig,
    "validation": ValidationConfig,
    "test": TestConfig,
}
"""Tables that may stand at the top of a grid file and, for what differs, inside a task or a learner."""

SHARED_BY_LEARNERS = ("validation", "test")

MOST_BYTES = 1 << 20  # of a grid file: as many cells as there may be, with a line each, are not half of it
MOST_CELLS = 10_000  # a minute each would take a week; the largest grids of papers have hundreds

# what else lies beside the folders of tasks and of learners
_TAKEN = "figures|jobs|tensorboard|(?:table|report|tuning|test_examples)[.].*"
_LABEL = re.compile(rf"(?i:(?!(?:{_TAKEN})$))[A-Za-z0-9][A-Za-z0-9._+=-]{{0,99}}")
_LABEL_RULE = (
    "becomes a folder: use at most 100 letters, digits and ._+=-, but neither 'figures', 'jobs' or 'tensorboard' nor "
    "what begins with 'table.', 'report.', 'tuning.' or 'test_examples.', which lie beside it"
)


@dataclass(frozen=True)
class Cell:
    """One (task, learner, seed) of a grid: the unit of work and of storage.

    `deviations` are the settings that are not those of the task's protocol, if it names one.
    """

    task: str
    learner: str
    config: CellConfig
    protocol: str | None = None
    deviations: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """Seed of the initialisation and of the training episodes."""
        return self.config.seed

    def __str__(self) -> str:
        return f"{self.task}/{self.learner}/seed{self.seed}"


@dataclass(frozen=True)
class Grid:
    """A named set of cells, in the order tasks, learners, seeds."""

    name: str
    description: str
    cells: tuple[Cell, ...]


class GridFile(BaseModel):
    """The outermost keys of a grid file; see SECTIONS for the tables that tasks and learners may override."""

    model_config = Section.model_config

    description: str = Field(default="", description="One line that `fewshot-km list` prints.")
    seeds: list[Seed] = Field(min_length=1, description="One cell per seed for every task and learner.")
    tasks: list[dict[str, Any]] = Field(min_length=1)
    learners: list[str | dict[str, Any]] = Field(min_length=1)
    network: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    outer: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    test: dict[str, Any] = {}


def shipped_grids() -> dict[str, Path]:
    """Grids that come with the suite, by name: those in the wheel, or benchmarks/grids of a checkout."""
    package = Path(str(files("fewshot_km")))
    folder = package / "shipped_grids"
    if not folder.is_dir():
        folder = package.parent / "benchmarks" / "grids"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_grid(name: str) -> Path:
    """The file of a shipped grid, or `name` itself where it is a TOML file; raises UnknownNameError."""
    shipped = shipped_grids()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.suffix == ".toml":
        if path.is_file():
            return path
        if path.exists():
            raise ConfigError(f"{path} is no ordinary file: name a grid's TOML file")
        raise UnknownNameError(f"there is no grid file {path}: check the path")
    known = f"{did_you_mean(name, shipped)}shipped grids: {', '.join(shipped)}"
    raise UnknownNameError(f"unknown grid '{name}': {known}; or give the path of a .toml file")


def load_grid(path: Path, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Grid:
    """Read and check a grid file; raises ConfigError with file, key and allowed values for anything wrong in it.

    `overrides` are tables by section that replace settings of every cell, whatever its task and learner say.
    """
    overrides = overrides or {}
    if unknown := sorted(set(overrides) - set(SECTIONS)):
        raise ConfigError(f"--set {unknown[0]}.: unknown section; allowed: {', '.join(SECTIONS)}")
    try:
        raw = parse_toml(read_text_bounded(path, MOST_BYTES))
    except DataError as error:  # names the file
        raise ConfigError(f"{error}: a grid is a short TOML file in UTF-8") from error
    except (ConfigError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path.name}: cannot be read as TOML: {error}") from error
    try:
        grid = GridFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path.name}: {explain(error, GridFile, dotted)}") from None
    if len(set(grid.seeds)) != len(grid.seeds):
        raise ConfigError(f"{path.name}: seeds: each seed once; got {grid.seeds}")
    if not _LABEL.fullmatch(path.stem):
        raise ConfigError(f"{path.name}: the file's name {_LABEL_RULE}")
    count = len(grid.tasks) * len(grid.learners) * len(grid.seeds)
    if count > MOST_CELLS:
        raise ConfigError(f"{path.name}: {count:,} cells are more than {MOST_CELLS:,}: make several grids of it")
    cells: list[Cell] = []
    taken: dict[str, str] = {}
    for t, task in enumerate(grid.tasks):
        for n, entry in enumerate(grid.learners):
            learner = {"name": entry} if isinstance(entry, str) else entry
            where = {"task": f"tasks[{t}]", "learner": f"learners[{n}]"}
            protocol = _protocol(path.name, task, where["task"])
            task_label, learner_label, config = _resolve(path.name, raw, protocol, task, learner, overrides, where)
            deviations = _deviations(protocol, config)
            folder = f"{task_label}/{learner_label}".lower()  # as file systems that ignore case see it
            place = f"{where['task']} and {where['learner']}"
            if folder in taken:
                raise ConfigError(
                    f"{path.name}: {taken[folder]} and {place} are both '{folder}': give one a label = \"...\""
                )
            taken[folder] = place
            configs = [config.model_copy(update={"seed": seed}) for seed in grid.seeds]
            name = protocol.name if protocol else None
            cells += [Cell(task_label, learner_label, one, name, deviations) for one in configs]
    return Grid(path.stem, grid.description, tuple(cells))


def _protocol(file: str, task: Mapping[str, Any], where: str) -> Protocol | None:
    if "protocol" not in task:
        return None
    try:
        return find_protocol(task["protocol"])
    except UnknownNameError as error:
        raise ConfigError(f"{file}: {where}.protocol: {error}") from None


def _deviations(protocol: Protocol | None, config: CellConfig) -> tuple[str, ...]:
    if protocol is None:
        return ()
    settings = config.model_dump(mode="json")
    here = {section: {key: settings[section].get(key) for key in table} for section, table in protocol.tables.items()}
    here["task"]["dataset"] = config.task.dataset.name
    options = [f"task.dataset.{key} {value}" for key, value in config.task.dataset.options.items() if value is True]
    return (*differences(protocol.tables, here), *options)


def _resolve(
    file: str,
    raw: Mapping[str, Any],
    protocol: Protocol | None,
    task: Mapping[str, Any],
    learner: Mapping[str, Any],
    overrides: Mapping[str, Any],
    where: Mapping[str, str],
) -> tuple[str, str, CellConfig]:
    """Labels and settings of one task and learner.

    Overrides stand over the learner's tables, these over the task's, over the file's, over the protocol's.
    """
    merged: dict[str, Any] = {"seed": 0}
    origin: dict[Place, str] = {("task",): where["task"], ("learner",): where["learner"]}
    base = protocol.tables if protocol else {}
    layers = (
        (base, f"protocol {protocol}: "),
        (raw, ""),
        (task, where["task"] + "."),
        (learner, where["learner"] + "."),
        (overrides, "--set "),
    )
    for layer, place in layers:
        for section in SECTIONS:
            table = layer.get(section, {})
            if not isinstance(table, Mapping):
                raise ConfigError(f"{file}: {place}{section}: must be a table of keys, not {table!r}")
            if layer is learner and table and section in SHARED_BY_LEARNERS:
                raise ConfigError(f"{file}: {place}{section}: all learners share their episodes; put it into the task")
            settings = merged.setdefault(section, {})
            if "name" in table and table["name"] != settings.get("name"):
                settings.clear()  # another network: options of the one before are not its own
            settings.update(table)
            origin.update({(section, str(key)): f"{place}{section}.{key}" for key in table})
    beside = {*SECTIONS, "label", "protocol"}
    merged["task"] = dict(base.get("task", {})) | {k: v for k, v in task.items() if k not in beside}
    merged["learner"] = {k: v for k, v in learner.items() if k not in beside}

    def locate(loc: Place) -> str:
        for depth in range(len(loc), 0, -1):
            if loc[:depth] in origin:
                return dotted((origin[loc[:depth]], *loc[depth:]))
        return dotted(loc)

    try:
        config = CellConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{file}: {explain(error, CellConfig, locate)}") from None
    task_label = task.get("label", f"{config.task.dataset.name}-{config.task.ways}w{config.task.shots}s")
    learner_label = learner.get("label", config.learner.name)
    for label, place in ((task_label, where["task"]), (learner_label, where["learner"])):
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise ConfigError(f"{file}: {place}.label: {label!r} {_LABEL_RULE}")
    return task_label, learner_label, _resolve_names(file, config, locate)


def _resolve_names(file: str, config: CellConfig, locate: Callable[[Place], str]) -> CellConfig:
    """Check registered names and their options, and write every option out, so that a record says all of them."""
    try:
        place = locate(("task", "dataset"))
        dataset = DATASETS.options(config.task.dataset.name, config.task.dataset.options)
        place = locate(("network", "name"))
        network = NETWORKS.options(config.network.name, config.network.options)
        place = locate(("learner",))
        learner = LEARNERS.options(config.learner.name, config.learner.options)
    except FewshotError as error:
        raise ConfigError(f"{file}: {place}: {error}") from None
    return config.model_copy(
        update={
            "task": config.task.model_copy(update={"dataset": DatasetConfig(name=config.task.dataset.name, **dataset)}),
            "network": NetworkConfig(name=config.network.name, **network),
            "learner": LearnerConfig(name=config.learner.name, **learner),
            "plugin_sources": source_digests(config),
        }
    )
