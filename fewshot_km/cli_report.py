"""The command `fewshot-km report`: tables, comparisons, claims, pictures and pages from stored results."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from fewshot_km.cli_options import GridName, Plugins, Results, Settings, load_plugins
from fewshot_km.cli_tables import print_table
from fewshot_km.grid import ResultStore, find_grid, load_grid
from fewshot_km.grid.options import RunOptions
from fewshot_km.grid.selection import parse_settings
from fewshot_km.reporting.markup import to_html, to_latex, to_markdown
from fewshot_km.reporting.report import make_report
from fewshot_km.reporting.statistics import Kind


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
    figures: Annotated[
        bool, typer.Option("--figures", help="Write pictures as SVG, PDF and PNG into results/<grid>/figures.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Print the tables of a grid from its stored results, or draw its pictures."""
    load_plugins(plugin)
    loaded = load_grid(find_grid(grid), parse_settings(settings or ()))
    store = ResultStore(results, loaded.name)
    report = make_report(loaded, store, kind=interval)
    if figures:
        from fewshot_km.reporting.pictures import draw_pictures, save_pictures  # tables need no matplotlib

        for path in save_pictures(draw_pictures(report), store.folder / "figures"):
            print(path)
        return
    if table_format is TableFormat.CSV:
        sys.stdout.write(report.csv())
        return
    tables = [*([report.pairwise()] if pairwise else []), *([report.claims_table()] if check_claims else [])]
    tables = tables or report.tables()
    if table_format is TableFormat.TEXT:
        for table in tables:
            print_table(table)
        return
    render = {TableFormat.MD: to_markdown, TableFormat.LATEX: to_latex, TableFormat.HTML: to_html}[table_format]
    sys.stdout.write(render(tables))
