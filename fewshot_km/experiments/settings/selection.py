"""What options say about a grid: which cells, which share of them, which other settings, for how long."""

import fnmatch
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.grid import Cell, Grid
from fewshot_km.experiments.settings.toml_text import parse_toml

FILTERS = ("task", "learner", "seed", "dataset", "ways", "shots")


def select(cells: Sequence[Cell], only: Sequence[str], shard: str | None) -> list[Cell]:
    """Return the cells that match `only`, reduced to the share `shard`, in the order of the grid.

    only   "key=pattern" with a key of FILTERS and a shell pattern; a cell matches one pattern of every key given
    shard  "i/n": every n-th cell, from the i-th on
    Raises ConfigError for anything else, and if no cell matches.
    """
    wanted: dict[str, list[str]] = {}
    for text in only:
        key, equals, pattern = text.partition("=")
        if key not in FILTERS or not equals:
            raise ConfigError(f"--only {text}: write KEY=PATTERN with a key of {', '.join(FILTERS)}")
        wanted.setdefault(key, []).append(pattern)
    chosen = [
        cell
        for cell in cells
        if all(any(fnmatch.fnmatchcase(_value(cell, key), p) for p in patterns) for key, patterns in wanted.items())
    ]
    if not chosen:
        raise ConfigError(f"no cell of the grid matches {' '.join(f'--only {text}' for text in only)}")
    return chosen if shard is None else _share(chosen, shard)


def part_of(grid: Grid, only: Sequence[str]) -> Grid:
    """Return the grid with only the cells that match `only`; raises ConfigError as `select` does."""
    return replace(grid, cells=tuple(select(grid.cells, only, None)), only=tuple(only)) if only else grid


def parse_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse "section.key=value" texts into tables by section; raises ConfigError."""
    tables: dict[str, dict[str, Any]] = {}
    for place, value in parse_pairs("--set", texts).items():
        section, dot, key = place.partition(".")
        if not (section and dot and key):
            raise ConfigError(f"--set {place}: write SECTION.KEY=VALUE, such as inner.train_steps=3")
        tables.setdefault(section, {})[key] = value
    return tables


def parse_pairs(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Parse "key=value" texts as a grid file would; a value that is no TOML is a text.

    Raises ConfigError for a text without a key, and for a value beyond the bounds of `parse_toml`.
    """
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise ConfigError(f"{option} {text}: write KEY=VALUE")
        try:
            parsed = parse_toml(f"value = {value}")
        except tomllib.TOMLDecodeError:
            parsed = {}
        except ConfigError as error:
            raise ConfigError(f"{option} {key.strip()}: {error}") from None
        pairs[key.strip()] = parsed["value"] if list(parsed) == ["value"] else value  # not more than the value
    return pairs


def parse_duration(text: str) -> float:
    """Parse 90s, 30m, 2h or 1h30m into seconds; raises ConfigError for anything else."""
    part = "([0-9]{1,6})"  # a million hours is more than a century
    match = re.fullmatch(f"(?:{part}h)?(?:{part}m)?(?:{part}s)?", text.strip())
    if not match or not any(match.groups()):
        raise ConfigError(f"--budget {text}: write a time such as 90s, 30m, 2h or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def _value(cell: Cell, key: str) -> str:
    task = cell.config.task
    values = {"task": cell.task, "learner": cell.learner, "seed": cell.seed, "dataset": task.dataset.name}
    return str((values | {"ways": task.ways, "shots": task.shots})[key])


def _share(cells: list[Cell], shard: str) -> list[Cell]:
    match = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", shard)  # more shares than any grid has cells
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ConfigError(f"--shard {shard}: write i/n with i from 1 to n, such as 2/8")
    return cells[number - 1 :: count]
