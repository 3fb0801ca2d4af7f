"""The command `fewshot-km run`: which cells, how, and what is told meanwhile."""

from typing import Annotated, get_args

import typer

from fewshot_km.accel.backend_names import AUTO, BackendName
from fewshot_km.cli.options import DataRoot, GridName, Only, Plugins, Results, Settings, load_plugins
from fewshot_km.cli.run_options import CellCpus, CellGpus, CheckpointEvery, Devices, Jobs, Slurm, TaskChunk
from fewshot_km.experiments.settings.run_settings import PERIOD_SECONDS, Cluster, Runner, RunOptions, RunSettings

BACKEND_NAMES = ", ".join(get_args(BackendName))


def run_command(
    grid: GridName,
    results: Results = RunOptions.results,
    data_root: DataRoot = None,
    only: Only = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="The I-th of N shares of the cells: for a batch queue, one share a job."),
    ] = None,
    settings: Settings = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1, ...")] = "auto",
    devices: Devices = "auto",
    jobs: Jobs = 1,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop cleanly after 90s, 30m, 2h, ...; go on later.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run nothing: say what would run, and what time and memory it would take.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try cells again that failed with these settings.")
    ] = False,
    checkpoint_every: CheckpointEvery = PERIOD_SECONDS,
    backend: Annotated[
        str, typer.Option(help=f"How tasks are run: auto (see `tune`; else a fixed rule), {BACKEND_NAMES}.")
    ] = AUTO,
    task_chunk: TaskChunk = None,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="On a GPU: faster products with factors rounded to 10 bits; records say so.")
    ] = False,
    runner: Annotated[
        Runner, typer.Option(help="Where cells run: on this machine, a Ray or a Slurm cluster.")
    ] = Runner.HERE,
    ray_address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster.", show_default="one of this machine's own")
    ] = None,
    slurm: Slurm = None,
    cell_cpus: CellCpus = 1,
    cell_gpus: CellGpus = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write what TensorBoard shows to RESULTS/GRID/tensorboard.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Tell of failures only.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on standard output, instead of progress and table.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Run the cells of a grid that are not done yet, then print and save its table.

    Leave it at any time: the same command goes on where it was.
    """
    load_plugins(plugin)
    options = RunOptions(
        results=results,
        data_root=data_root,
        only=only or (),
        shard=shard,
        settings=settings or (),
        device=device,
        devices=devices,
        jobs=jobs,
        budget=budget,
        quiet=quiet,
        json=as_json,
        plugins=plugin or (),
        run=RunSettings(backend, task_chunk, tf32, checkpoint_every, tensorboard, retry_failed),
        cluster=Cluster(runner, ray_address, cell_cpus, cell_gpus, slurm or ()),
    )
    from fewshot_km.cli.running import plan_run, run  # torch, which takes seconds to import

    if dry_run:
        plan_run(grid, options)
    else:
        run(grid, options)
