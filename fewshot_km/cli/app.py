"""The command line: `fewshot-km ...`, and `python run_benchmarks.py ...` from a checkout."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from fewshot_km.cli.clean_command import clean_command
from fewshot_km.cli.config_command import config_commands
from fewshot_km.cli.data_command import data_commands
from fewshot_km.cli.episodes_command import episodes_commands
from fewshot_km.cli.evaluate_command import evaluate_command
from fewshot_km.cli.learners_command import learners_commands
from fewshot_km.cli.list_command import add_names_command, list_command, protocols_command
from fewshot_km.cli.output import print_line
from fewshot_km.cli.report_command import compare_command, report_command
from fewshot_km.cli.run_command import run_command
from fewshot_km.cli.tune_command import tune_command
from fewshot_km.data import DATASETS
from fewshot_km.data.storage import describe_os_error
from fewshot_km.errors import FewshotError, ProblemsError, message_of
from fewshot_km.experiments.cells.stopping import StoppedRun
from fewshot_km.learners import LEARNERS
from fewshot_km.models import NETWORKS
from fewshot_km.plugins.loading import load_entry_points
from fewshot_km.text import one_line
from fewshot_km.training.launching import follows

BAD_INPUT, INTERRUPTED = 2, 130  # exit status


UsageError: Any = typer.BadParameter.__base__  # which typer takes from click, or has a copy of: by its version


class Commands(TyperGroup):
    """Turns our errors into one line on standard error and the exit status that goes with them."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """Read the options before the command."""
        with _in_one_line():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except ProblemsError as error:
        _leave(error.heading, error, error.problems)
    except FewshotError as error:
        _leave(message_of(error), error)
    except UsageError as error:
        if error.ctx is not None and error.message == error.ctx.get_help():
            raise  # it shows the help
        see = f" (see '{error.ctx.command_path} --help')" if error.ctx is not None else ""
        _leave(error.format_message() + see, error)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        mend = "check the path, that it can be read and written, and that the disk has room"
        _leave(f"{describe_os_error(error)}: {mend}", error)
    except StoppedRun as stopped:
        print_line(f"{stopped.why}: the same command goes on from here", sys.stderr)
        raise typer.Exit(stopped.status) from None
    except KeyboardInterrupt:
        print_line("interrupted", sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _leave(why: str, error: Exception, more: Sequence[str] = ()) -> NoReturn:
    print_line(f"error: {why}", sys.stderr)
    for line in more:
        print(f"  {one_line(line)}", file=sys.stderr)
    raise typer.Exit(BAD_INPUT) from error


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands, name="data")
app.add_typer(config_commands, name="config")
app.add_typer(episodes_commands, name="episodes")
app.add_typer(learners_commands, name="learners")


@app.callback(invoke_without_command=True)
def start(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    """Few-shot benchmarks: MAML, ANIL and KM-MAML with intervals that can be trusted.

    \b
    To start, without any data of yours, in about three minutes:
      fewshot-km run quickstart
    Then: `list` shows other grids, `config explain` what a
    grid of your own can say, `data info NAME` your images.

    \b
    Exit status: 0 all is done, 1 a cell failed,
    2 wrong use or bad input, 3 cells are left (no
    time, or another run has them), 130 interrupted,
    143 terminated.
    """
    if follows() and ctx.invoked_subcommand != "run":
        raise typer.Exit  # only `run` shares its work: of torchrun's processes, rank 0 alone does the rest
    if version:
        from fewshot_km import __version__  # unknown where the package is not installed

        print(f"fewshot-km {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit
    load_entry_points()


app.command("run")(run_command)
app.command("tune")(tune_command)
app.command("evaluate")(evaluate_command)
app.command("list")(list_command)
app.command("clean")(clean_command)
app.command("report")(report_command)
app.command("compare")(compare_command)
add_names_command(learners_commands, "list", LEARNERS)
add_names_command(app, "networks", NETWORKS)
add_names_command(app, "datasets", DATASETS)
app.command("protocols")(protocols_command)
