"""A grid: tasks x learners x seeds, read from one TOML file and resolved into cells."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from fewshot_km.data.storage import read_text_bounded
from fewshot_km.errors import ConfigError, DataError, UnknownNameError, raise_mistakes
from fewshot_km.experiments.protocols import Protocol
from fewshot_km.experiments.settings.cell_settings import CellConfig, Section, Seed
from fewshot_km.experiments.settings.differences import differences
from fewshot_km.experiments.settings.problems import dotted, explain
from fewshot_km.experiments.settings.resolving import LABEL_RULE, SECTIONS, Entry, Say, is_label, resolve
from fewshot_km.experiments.settings.toml_text import parse_toml
from fewshot_km.registry import did_you_mean

MOST_BYTES = 1 << 20  # of a grid file: as many cells as there may be, with a line each, are not half of it
MOST_CELLS = 10_000  # a minute each would take a week; the largest grids of papers have hundreds


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
    """A named set of cells, in the order tasks, learners, seeds; `only`: the filters that left a part of them."""

    name: str
    description: str
    cells: tuple[Cell, ...]
    only: tuple[str, ...] = ()


class GridFile(BaseModel):
    """The outermost keys of a grid file; see SECTIONS for the tables that tasks and learners may override."""

    model_config = Section.model_config

    description: str = Field(default="", description="One line that `fewshot-km list` prints.")
    seeds: list[Seed] = Field(
        default=[0],
        min_length=1,
        description="One cell per seed for every task and learner. [0]: enough to see how far a learner gets; "
        "algorithms are compared over five or more.",
    )
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
    mistakes: dict[str, None] = {}  # each once: a wrong task has them with every learner
    file = _check_file(path, raw, mistakes.setdefault)
    tasks = _entries(raw, "tasks")
    learners = _entries(raw, "learners") or [Entry("learners", {"name": "maml"})]  # so that the tasks are checked
    count = sum(task.count() for task in tasks) * len(learners) * len(file.seeds)
    if count > MOST_CELLS:
        raise ConfigError(f"{path.name}: {count:,} cells are more than {MOST_CELLS:,}: make several grids of it")
    cells: list[Cell] = []
    taken: dict[str, str] = {}
    several = [entry.tasks(mistakes.setdefault) for entry in tasks]
    pairs = [(task, learner, len(of)) for of in several for task in of for learner in learners]
    for task, learner, count in pairs:
        found = resolve(raw, task, learner, overrides, is_one=count == 1, say=mistakes.setdefault)
        if found is None:
            continue
        folder = f"{found.task}/{found.learner}".lower()  # as file systems that ignore case see it
        place = f"{task.place} and {learner.place}"
        if folder in taken:
            mistakes.setdefault(f"{taken[folder]} and {place} are both '{folder}': give one a label = \"...\"")
        taken.setdefault(folder, place)
        deviations = _deviations(found.protocol, found.config)
        configs = [found.config.model_copy(update={"seed": seed}) for seed in file.seeds]
        name = found.protocol.name if found.protocol else None
        cells += [Cell(found.task, found.learner, one, name, deviations) for one in configs]
    if mistakes:
        raise_mistakes(path.name, mistakes)
    return Grid(path.stem, file.description, tuple(cells))


def _check_file(path: Path, raw: Mapping[str, Any], say: Say) -> GridFile:
    """The outermost keys; of a file with mistakes in them, which are said, none."""
    if not is_label(path.stem):
        say(f"the file's name {LABEL_RULE}")
    try:
        file = GridFile.model_validate(raw)
    except ValidationError as error:
        for mistake in explain(error, GridFile, dotted):
            say(mistake)
        return GridFile.model_construct()
    if len(set(file.seeds)) != len(file.seeds):
        say(f"seeds: each seed once; got {file.seeds}")
    return file


def _entries(raw: Mapping[str, Any], key: str) -> list[Entry]:
    """Tasks or learners, as far as they are well-formed."""
    found = raw.get(key)
    tables = (
        [{"name": entry} if isinstance(entry, str) else entry for entry in found] if isinstance(found, list) else []
    )
    return [Entry(f"{key}[{n}]", table) for n, table in enumerate(tables) if isinstance(table, dict)]


def _deviations(protocol: Protocol | None, config: CellConfig) -> tuple[str, ...]:
    if protocol is None:
        return ()
    settings = config.model_dump(mode="json")
    here = {section: {key: settings[section].get(key) for key in table} for section, table in protocol.tables.items()}
    here["task"]["dataset"] = config.task.dataset.name
    options = [f"task.dataset.{key} {value}" for key, value in config.task.dataset.options.items() if value is True]
    return (*differences(protocol.tables, here), *options)
