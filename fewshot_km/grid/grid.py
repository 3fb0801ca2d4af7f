"""A grid: tasks x learners x seeds, read from one TOML file and resolved into cells."""

import difflib
import hashlib
import inspect
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from fewshot_km.datasets import DATASETS
from fewshot_km.errors import ConfigError, FewshotError, UnknownNameError
from fewshot_km.grid.config import (
    CellConfig,
    InnerConfig,
    LearnerConfig,
    NetworkConfig,
    OuterConfig,
    Section,
    Seed,
    TestConfig,
    ValidationConfig,
)
from fewshot_km.learners import LEARNERS
from fewshot_km.learners.base import learner_options
from fewshot_km.networks.base import network_options

SECTIONS: dict[str, type[Section]] = {
    "network": NetworkConfig,
    "inner": InnerConfig,
    "outer": OuterConfig,
    "validation": ValidationConfig,
    "test": TestConfig,
}
"""Tables that may stand at the top of a grid file and, for what differs, inside a task or a learner."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


@dataclass(frozen=True)
class Cell:
    """One (task, learner, seed) of a grid: the unit of work and of storage."""

    task: str
    learner: str
    config: CellConfig

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
        raise UnknownNameError(f"there is no grid file {path}: check the path")
    near = difflib.get_close_matches(name, shipped, n=1, cutoff=0.5)
    guess = f"did you mean '{near[0]}'? " if near else ""
    raise UnknownNameError(
        f"unknown grid '{name}': {guess}shipped grids: {', '.join(shipped)}; or give the path of a .toml file"
    )


def load_grid(path: Path) -> Grid:
    """Read and check a grid file; raises ConfigError with file, key and allowed values for anything wrong in it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path.name}: cannot be read as TOML: {error}") from error
    try:
        grid = GridFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path.name}: {_explain(error, GridFile, lambda loc: _dotted(loc))}") from None
    if len(set(grid.seeds)) != len(grid.seeds):
        raise ConfigError(f"{path.name}: seeds: each seed once; got {grid.seeds}")
    if not _LABEL.fullmatch(path.stem):
        raise ConfigError(f"{path.name}: the file's name becomes a folder: use letters, digits and ._+=- only")
    cells: list[Cell] = []
    taken: dict[str, str] = {}
    for t, task in enumerate(grid.tasks):
        for n, entry in enumerate(grid.learners):
            learner = {"name": entry} if isinstance(entry, str) else entry
            where = {"task": f"tasks[{t}]", "learner": f"learners[{n}]"}
            task_label, learner_label, config = _resolve(path.name, raw, task, learner, where)
            folder = f"{task_label}/{learner_label}"
            place = f"{where['task']} and {where['learner']}"
            if folder in taken:
                raise ConfigError(
                    f"{path.name}: {taken[folder]} and {place} are both '{folder}': give one a label = \"...\""
                )
            taken[folder] = place
            cells += [Cell(task_label, learner_label, config.model_copy(update={"seed": s})) for s in grid.seeds]
    return Grid(path.stem, grid.description, tuple(cells))


def _resolve(
    file: str, raw: Mapping[str, Any], task: Mapping[str, Any], learner: Mapping[str, Any], where: Mapping[str, str]
) -> tuple[str, str, CellConfig]:
    """Labels and settings of one task and learner: the learner's tables over the task's over the file's."""
    merged: dict[str, Any] = {"seed": 0}
    origin: dict[tuple[str, ...], str] = {("task",): where["task"], ("learner",): where["learner"]}
    for layer, place in ((raw, ""), (task, where["task"] + "."), (learner, where["learner"] + ".")):
        for section in SECTIONS:
            table = layer.get(section, {})
            if not isinstance(table, Mapping):
                raise ConfigError(f"{file}: {place}{section}: must be a table of keys, not {table!r}")
            merged.setdefault(section, {}).update(table)
            origin.update({(section, str(key)): f"{place}{section}.{key}" for key in table})
    beside = {*SECTIONS, "label"}
    merged["task"] = {k: v for k, v in task.items() if k not in beside}
    merged["learner"] = {k: v for k, v in learner.items() if k not in beside}

    def locate(loc: tuple[str, ...]) -> str:
        for depth in range(len(loc), 0, -1):
            if loc[:depth] in origin:
                return _dotted((origin[loc[:depth]], *loc[depth:]))
        return _dotted(loc)

    try:
        config = CellConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_explain(error, CellConfig, locate)}") from None
    task_label = task.get("label", f"{config.task.dataset}-{config.task.ways}w{config.task.shots}s")
    learner_label = learner.get("label", config.learner.name)
    for label, place in ((task_label, where["task"]), (learner_label, where["learner"])):
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise ConfigError(f"{file}: {place}.label: {label!r} becomes a folder: use letters, digits and ._+=- only")
    return task_label, learner_label, _resolve_names(file, config, locate)


def _resolve_names(file: str, config: CellConfig, locate: Callable[[tuple[str, ...]], str]) -> CellConfig:
    """Check registered names and their options, and write every option out, so that a record says all of them."""
    try:
        place = locate(("task", "dataset"))
        DATASETS.get(config.task.dataset)
        place = locate(("network",))
        network = network_options(config.network.name, config.network.options)
        place = locate(("learner",))
        learner = learner_options(config.learner.name, config.learner.options)
    except FewshotError as error:
        raise ConfigError(f"{file}: {place}: {error}") from None
    return config.model_copy(
        update={
            "network": NetworkConfig(name=config.network.name, **network),
            "learner": LearnerConfig(name=config.learner.name, **learner),
            "learner_source": _source_digest(config.learner.name),
        }
    )


def _source_digest(learner: str) -> str | None:
    """SHA-256 of the file of a learner from outside the package; None for our own."""
    factory = LEARNERS.get(learner)
    if factory.__module__.split(".")[0] == __package__.split(".")[0]:
        return None
    source = inspect.getsourcefile(factory)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None


def _explain(error: ValidationError, model: type[BaseModel], locate: Callable[[tuple[str, ...]], str]) -> str:
    """The first error of a validation as one line: where, what is wrong, what is allowed."""
    errors = error.errors()
    first = errors[0]
    loc = tuple(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        problem = _unknown_key(loc[-1], list(_model_at(model, loc[:-1]).model_fields))
    elif first["type"] == "missing":
        field = _model_at(model, loc[:-1]).model_fields[loc[-1]]
        problem = "is missing" + (f": {field.description}" if field.description else "")
    elif first["type"] == "literal_error":
        problem = f"{first['input']!r} is not allowed; allowed: {first['ctx']['expected']}"
    else:
        problem = f"{first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{locate(loc)}: {problem}{more}"


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    guess = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown key{guess} (allowed: {', '.join(known)})"


def _model_at(model: type[BaseModel], loc: tuple[str, ...]) -> type[BaseModel]:
    for part in loc:
        annotation = model.model_fields[part].annotation
        assert inspect.isclass(annotation)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return model


def _dotted(loc: tuple[str, ...]) -> str:
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in loc).lstrip(".")
