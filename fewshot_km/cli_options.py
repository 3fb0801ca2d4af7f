"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from fewshot_km.datasets.storage import DATA_ROOT_VARIABLE
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


def load_plugins(paths: list[Path] | None) -> None:
    """Load the files given with --plugin."""
    for path in paths or []:
        load_plugin(path)
