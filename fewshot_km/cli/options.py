"""Options that several commands share, and parsers of numbers in them."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fewshot_km.data.storage import DATA_ROOT_VARIABLE
from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.selection import FILTERS
from fewshot_km.plugins import loading as plugins

DataRoot = Annotated[
    Path | None,
    typer.Option(
        help="Folder with the data sets.",
        show_default=f"${DATA_ROOT_VARIABLE}, else the user's cache",
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that registers learners, networks or data sets; may be repeated."),
]

GridName = Annotated[str, typer.Argument(metavar="GRID", help="A shipped grid's name, or the path of a TOML file.")]
Results = Annotated[Path, typer.Option(help="Folder where results are kept.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=PATTERN",
        help=f"Only cells that match, such as learner=km-maml or seed=0; keys: {', '.join(FILTERS)}; may be repeated.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="A setting of every cell, such as inner.train_steps=3; may be repeated.",
    ),
]
DatasetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="KEY=VALUE", help="An option of the data set, as in a grid file; may be repeated."
    ),
]


def whole_number(least: int, most: int) -> Callable[[str | int], int]:
    """Return a parser of whole numbers from `least` to `most`, in the digits 0 to 9."""

    def parse(value: str | int) -> int:
        text = str(value)
        number = int(text) if re.fullmatch("[0-9]{1,20}", text) else -1  # int() alone takes the digits of any alphabet
        if not least <= number <= most:
            raise typer.BadParameter(f"{text!r} is no whole number from {least:,} to {most:,}")
        return number

    return parse


def real_number(least: float, most: float) -> Callable[[str | float], float]:
    """Return a parser of numbers from `least` to `most`, in the digits 0 to 9."""

    def parse(value: str | float) -> float:
        text = str(value)
        number = float(text) if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?", text) else math.nan
        if not least <= number <= most:
            raise typer.BadParameter(f"{text!r} is no number from {least:,g} to {most:,g}")
        return number

    return parse


def check_out(path: Path | None) -> None:
    """Raise ConfigError unless `path` can name a file in a folder that exists; commands make no folders for `--out`."""
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"--out {path}: that is a folder: name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}: make it, or name another file")


def load_plugins(paths: list[Path] | None) -> None:
    """Load the files given with --plugin."""
    plugins.load_plugins(paths or [])
