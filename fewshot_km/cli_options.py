"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from fewshot_km import plugins
from fewshot_km.datasets.storage import DATA_ROOT_VARIABLE
from fewshot_km.grid.selection import FILTERS

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


def load_plugins(paths: list[Path] | None) -> None:
    """Load the files given with --plugin."""
    plugins.load_plugins(paths or [])
