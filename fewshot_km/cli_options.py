"""Options that several commands share."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from fewshot_km.datasets.storage import DATA_ROOT_VARIABLE
from fewshot_km.errors import ConfigError
from fewshot_km.grid.selection import FILTERS
from fewshot_km.plugins import load_plugin

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


def parse_options(given: list[str] | None) -> dict[str, Any]:
    """key=value texts as the keys and values that a grid file would hold; a value that is no TOML is a text.

    Raises ConfigError for one without a key.
    """
    options = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise ConfigError(f"--option {text}: write KEY=VALUE")
        try:
            options[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[key.strip()] = value
    return options


def load_plugins(paths: list[Path] | None) -> None:
    """Load the files given with --plugin."""
    for path in paths or []:
        load_plugin(path)
