"""The command `fewshot-km report`: tables, comparisons, claims, figures and pages from stored results."""

import io
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewshot_km.cli.options import GridName, Only, Plugins, Results, Settings, check_out, load_plugins
from fewshot_km.cli.output import print_line, print_table
from fewshot_km.data.storage import write_text
from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.grid import find_grid, load_grid
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.experiments.settings.selection import parse_settings, part_of
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.compared_stores import compare_stores, compared_table
from fewshot_km.reports.intervals import Kind
from fewshot_km.reports.markup import to_csv, to_html, to_latex, to_markdown
from fewshot_km.reports.report import Report, TableName, make_report
from fewshot_km.reports.table import Table

if TYPE_CHECKING:
    from fewshot_km.reports.figures import ReportFigure

PAGE = "report.html"


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
    only: Only = None,
    table: Annotated[
        list[TableName] | None,
        typer.Option(help="Only this table; may be repeated.", show_default="accuracy, intervals, costs"),
    ] = None,
    pairwise: Annotated[
        bool,
        typer.Option(
            "--pairwise",
            help="Compare every pair of methods on every task: tables pairwise and ranks; as csv, pairwise alone.",
        ),
    ] = False,
    check_claims: Annotated[
        bool, typer.Option("--check-claims", help="Test the orderings that the paper states: table claims.")
    ] = False,
    baselines: Annotated[
        list[Path] | None,
        typer.Option(
            help="A CSV file of another code base's accuracies on the grid's test episodes, which stand beside ours; "
            "columns method, task, episode, accuracy, episodes, and perhaps seed; may be repeated."
        ),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Write figures as SVG, PDF and PNG into results/<grid>/figures.")
    ] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write one HTML page with everything, to be opened in a browser.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, in a folder that is there.",
            show_default="standard output; for --html, report.html beside the results",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Print the tables of a grid from its stored results, or draw its figures, or write a page with everything."""
    if out is not None and figures and not html:
        raise ConfigError("--out names one file, and --figures writes many: they go to results/<grid>/figures")
    check_out(out)
    load_plugins(plugin)
    loaded = load_grid(find_grid(grid), parse_settings(settings or ()))
    store = ResultStore(results, loaded.name)
    report = make_report(part_of(loaded, only or ()), store, baselines or (), interval)
    if figures or html:
        from fewshot_km.reports.figures import (  # tables need no matplotlib
            draw_figures,
            draw_narrow,
            save_figures,
        )

        drawn = draw_figures(report)
        if figures:
            for path in save_figures(drawn, store.folder / "figures"):
                print_line(path)
        if html:
            print_line(_write_page(report, drawn, draw_narrow(report), out or store.folder / PAGE))
        return
    is_csv = table_format is TableFormat.CSV
    asked = list(table or [])
    asked += [TableName.PAIRWISE, *([] if is_csv else [TableName.RANKS])] if pairwise else []
    asked += [TableName.CLAIMS] if check_claims else []
    names = list(dict.fromkeys(asked))
    if is_csv:
        numbers = {TableName.PAIRWISE: report.pairwise_csv}
        parts = [numbers[name]() if name in numbers else to_csv([report.table(name)]) for name in names]
        _put("\n".join(parts) if parts else report.csv(), out)
    else:
        tables = [report.table(name) for name in names] or report.tables()
        _show(tables, table_format, out, prefix=f"{loaded.name}-")


def compare_command(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A folder of a grid's results, such as results/quickstart.")
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one: of another version, machine or setting.")],
    table_format: Annotated[TableFormat, typer.Option("--format", help="How the table is printed.")] = TableFormat.TEXT,
) -> None:
    """Say what changed between two folders of results, and what it did to the accuracies, paired by episode."""
    _show([compared_table(compare_stores(first, second), first, second)], table_format)


def _show(tables: list[Table], table_format: TableFormat, out: Path | None = None, prefix: str = "") -> None:
    if table_format is TableFormat.TEXT:
        file = io.StringIO() if out else None
        for table in tables:
            print_table(table, file)
        if file is not None:
            _put(file.getvalue(), out)
        return
    writers: dict[TableFormat, Callable[[list[Table]], str]] = {
        TableFormat.MD: to_markdown,
        TableFormat.LATEX: partial(to_latex, prefix=prefix),
        TableFormat.CSV: to_csv,
        TableFormat.HTML: to_html,
    }
    _put(writers[table_format](tables), out)


def _put(text: str, out: Path | None) -> None:
    """To standard output, or whole into a file, whose name is printed then."""
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        print_line(out)


def _write_page(
    report: Report, figures: Sequence["ReportFigure"], narrow: Sequence["ReportFigure"], path: Path
) -> Path:
    """Write the page whole or not at all; raises ConfigError where it cannot be written."""
    from fewshot_km.reports.page import report_page

    page = report_page(report, figures, narrow)
    try:
        write_text(path, page)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror or error}); name another with --out") from error
    return path
