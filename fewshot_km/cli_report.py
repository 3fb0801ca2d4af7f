"""The command `fewshot-km report`: tables, comparisons, claims, pictures and pages from stored results."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewshot_km.cli_options import GridName, Plugins, Results, Settings, load_plugins
from fewshot_km.cli_tables import print_table
from fewshot_km.grid import ResultStore, find_grid, load_grid
from fewshot_km.grid.options import RunOptions
from fewshot_km.grid.selection import parse_settings
from fewshot_km.reporting.compared_stores import compare_stores, compared_table
from fewshot_km.reporting.markup import to_csv, to_html, to_latex, to_markdown
from fewshot_km.reporting.report import make_report
from fewshot_km.reporting.statistics import Kind
from fewshot_km.reporting.table import Table


class TableFormat(StrEnum):
    """How tables are printed."""

    TEXT = "text"
    MD = "md"
    LATEX = "latex"
    CSV = "csv"
    HTML = "html"


def report_command(
    grid: GridName,
    results: Results = RunOptions.results,
    settings: Settings = None,
    table_format: Annotated[TableFormat, typer.Option("--format", help="How tables are printed.")] = TableFormat.TEXT,
    interval: Annotated[
        Kind | None,
        typer.Option(
            help="What stands behind ± in the first table.", show_default="seeds where there are five, else episodes"
        ),
    ] = None,
    pairwise: Annotated[bool, typer.Option("--pairwise", help="Compare every pair of methods on every task.")] = False,
    check_claims: Annotated[
        bool, typer.Option("--check-claims", help="Test the orderings that the paper states.")
    ] = False,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            help="A CSV file of another code base's accuracies on the grid's test episodes, which stand beside ours; "
            "columns method, task, episode, accuracy, episodes, and perhaps seed; may be repeated."
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Print the tables of a grid from its stored results."""
    load_plugins(plugin)
    loaded = load_grid(find_grid(grid), parse_settings(settings or ()))
    report = make_report(loaded, ResultStore(results, loaded.name), others or (), interval)
    asked = [
        *([report.pairwise(), report.ranks()] if pairwise else []),
        *([report.claims_table()] if check_claims else []),
    ]
    if table_format is TableFormat.CSV and not asked:
        sys.stdout.write(report.csv())
    else:
        _show(asked or report.tables(), table_format)


def compare_command(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A folder of a grid's results, such as results/quickstart.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one: of another version, machine or setting.")],
    table_format: Annotated[TableFormat, typer.Option("--format", help="How the table is printed.")] = TableFormat.TEXT,
) -> None:
    """Say what changed between two folders of results, and what it did to the accuracies, paired by episode."""
    _show([compared_table(compare_stores(first, second), first, second)], table_format)


def _show(tables: list[Table], table_format: TableFormat) -> None:
    if table_format is TableFormat.TEXT:
        for table in tables:
            print_table(table)
        return
    write = {
        TableFormat.MD: to_markdown,
        TableFormat.LATEX: to_latex,
        TableFormat.CSV: to_csv,
        TableFormat.HTML: to_html,
    }[table_format]
    sys.stdout.write(write(tables))
