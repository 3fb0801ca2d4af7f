"""The commands `fewshot-km config ...`: what a grid file can say."""

import json
from typing import Annotated

import typer

from fewshot_km.cli.output import print_rows
from fewshot_km.experiments.settings.explain import explain_keys, json_schema

config_commands = typer.Typer(
    help="What a grid file can say.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


@config_commands.command()
def explain(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="A section, a key, or a shell pattern, such as 'inner.*'.")
    ] = None,
) -> None:
    """Print keys with the kind of their values, default, and what they are and why the default is what it is."""
    rows = ((found.name, found.kind, found.default, found.description) for found in explain_keys(key))
    print_rows(("key", "value", "default", "what it is, and why the default"), rows)


@config_commands.command()
def schema() -> None:
    """Print a JSON Schema of grid files, for editors that complete and check TOML."""
    print(json.dumps(json_schema(), indent=2))
