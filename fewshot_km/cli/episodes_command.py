"""The commands `fewshot-km episodes ...`, which write the test episodes of a grid for use by other code."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fewshot_km.cli.options import DataRoot, GridName, Plugins, Settings, check_out, load_plugins
from fewshot_km.cli.output import print_line
from fewshot_km.data import load_dataset
from fewshot_km.data.storage import default_data_root, write_text
from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.grid import find_grid, load_grid
from fewshot_km.experiments.settings.selection import parse_settings

episodes_commands = typer.Typer(
    help="The test episodes of a grid, for use elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@episodes_commands.callback()
def episodes() -> None:
    """The test episodes of a grid, for use elsewhere."""


@episodes_commands.command()
def dump(
    grid: GridName,
    task: Annotated[
        str | None, typer.Option(metavar="LABEL", help="A task of the grid.", show_default="its only one")
    ] = None,
    is_open: Annotated[bool, typer.Option("--open", help="The episodes that share no image.")] = False,
    out: Annotated[Path | None, typer.Option(help="The file to write.", show_default="standard output")] = None,
    settings: Settings = None,
    data_root: DataRoot = None,
    plugin: Plugins = None,
) -> None:
    """Write the test episodes of a task as CSV, a line for each image, in the order in which learners get them.

    \b
    episodes    the digest of all of them, as records name it; the same on every line
    episode     its number
    label       of the class, in this episode
    role        support or query
    class_name  as in the data set; a rotation of a class ends in its angle, as @90.
                Behind a ' where a spreadsheet would take it for a formula (= + - @)
    image       its position in the class, from 0 on
    file        the image's file in the folder or archive of the data set,
                where it came as image files: else there is no such column
    """
    from fewshot_km.experiments.store.frozen_episodes import episodes_frame, frozen_open, frozen_test
    from fewshot_km.reports.results_frame import csv_text  # pandas and torch, which take seconds to import

    check_out(out)
    load_plugins(plugin)
    loaded = load_grid(find_grid(grid), parse_settings(settings or ()))
    configs = {cell.task: cell.config for cell in loaded.cells}  # learners and seeds of a task share its episodes
    if task not in configs and (task is not None or len(configs) > 1):
        what = "name one with --task" if task is None else f"--task {task}: the grid has none of that name"
        raise ConfigError(f"{what}: {', '.join(configs)}")
    config = configs[task] if task is not None else next(iter(configs.values()))
    wanted = config.task.dataset
    dataset = load_dataset(wanted.name, data_root or default_data_root(), wanted.options)
    sampler, count = frozen_test(config, dataset), config.test.episodes
    if is_open:
        sampler = opened = frozen_open(config, dataset)
        count = min(len(opened), count)  # those that are in an analysis
    frame = episodes_frame(dataset, sampler.spec, sampler.present(range(count)))
    text = csv_text(frame)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        print_line(out)
