"""A grid: tasks x learners x seeds, read from one TOML file and resolved into cells."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from fewshot_km.data.storage import read_text_bounded
from fewshot_km.errors import ConfigError, DataError, UnknownNameError, raise_problems
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.settings.grid_file import GridFile, Sections
from fewshot_km.experiments.settings.problems import Place, dotted, find_problems, touched
from fewshot_km.experiments.settings.resolving import LABEL_RULE, Resolver, count_tasks, is_label
from fewshot_km.experiments.settings.toml_text import parse_toml
from fewshot_km.registry import did_you_mean

MOST_BYTES = 1 << 20  # of a grid file: the largest grid, with a line for each cell, takes less than half of it
MOST_CELLS = 10_000  # a minute each would take a week; the largest grids of papers have hundreds


@dataclass(frozen=True)
class Cell:
    """One (task, learner, seed) of a grid: the unit of work and of storage.

    `deviations` are the settings that differ from those of the task's protocol, if it names one.
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
    """A named set of cells, in the order tasks, learners, seeds; `only`: the filters that selected them."""

    name: str
    description: str
    cells: tuple[Cell, ...]
    only: tuple[str, ...] = ()


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
    """Read and check a grid file; raises ConfigError with file, key and allowed values for everything wrong in it.

    `overrides` are tables by section that replace settings of every cell, whatever its task and learner say.
    """
    overrides = overrides or {}
    if wrong := find_problems(Sections, overrides):
        raise_problems(path.name, [f"--set {dotted(place)}: {problem}" for place, problem in wrong.items()])
    content = _read(path)
    wrong = find_problems(GridFile, content)
    lines = [f"{dotted(place)}: {problem}" for place, problem in wrong.items()]
    if not is_label(path.stem):
        lines.append(f"the file's name {LABEL_RULE}")
    # what is right is checked further, so that all problems are told at once
    file = GridFile.model_validate({"tasks": [{}], "learners": [{}], **_right_part(content, wrong, touched(wrong))})
    count = sum(map(count_tasks, file.tasks)) * len(file.learners) * len(file.seeds)
    if count > MOST_CELLS:
        raise ConfigError(f"{path.name}: {count:,} cells are more than {MOST_CELLS:,}: make several grids of it")
    resolver = Resolver(file, Sections.model_validate(overrides), wrong)
    cells: list[Cell] = []
    for found in resolver.resolve_all():
        configs = (found.config.model_copy(update={"seed": seed}) for seed in file.seeds)
        cells += [Cell(found.task, found.learner, config, found.protocol, found.deviations) for config in configs]
    if lines := [*lines, *resolver.problems]:
        raise_problems(path.name, lines)
    return Grid(path.stem, file.description, tuple(cells))


def _read(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(read_text_bounded(path, MOST_BYTES))
    except DataError as error:  # names the file
        raise ConfigError(f"{error}: a grid is a short TOML file in UTF-8") from error
    except (ConfigError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path.name}: cannot be read as TOML: {error}") from error


def _right_part(content: Any, wrong: Collection[Place], touched: Collection[Place], here: Place = ()) -> Any:
    """A table of the file without the keys in which something is wrong; in lists of tables, an empty one instead."""
    if not isinstance(content, dict):
        return content  # a name that stands for a table
    kept: dict[str, Any] = {}
    for key, value in content.items():
        place = (*here, key)
        if place not in touched:
            kept[key] = value
        elif place not in wrong and key in Sections.model_fields:
            kept[key] = _right_part(value, wrong, touched, place)
        elif place not in wrong and place in (("tasks",), ("learners",)):
            places = [((*place, n), entry) for n, entry in enumerate(value)]
            kept[key] = [{} if at in wrong else _right_part(entry, wrong, touched, at) for at, entry in places]
    return kept
