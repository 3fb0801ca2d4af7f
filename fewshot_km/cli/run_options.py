"""Options of `fewshot-km run` and their bounds."""

from typing import Annotated

import typer

from fewshot_km.cli.options import real_number, whole_number

MOST = 1_000_000  # cells or tasks at once: more than there will ever be
MOST_CORES = 4096  # and GPUs of one cell, which runs on one machine: none has more
LONGEST_SECONDS = 30 * 24 * 3600.0  # between checkpoints: longer than queues let a job run

Devices = Annotated[
    str, typer.Option(help="Processes that share each meta-batch: auto (CPU: one per core; GPU: one) or a number.")
]
Jobs = Annotated[
    int,
    typer.Option(metavar="N", parser=whole_number(1, MOST), help="Cells at once, in processes that share the cores."),
]
CheckpointEvery = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        parser=real_number(0, LONGEST_SECONDS),
        help="How much work may be lost when the machine dies.",
    ),
]
TaskChunk = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(1, MOST),
        help="Tasks at once in each process.",
        show_default="what fits into memory",
    ),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="For Slurm's jobs, in submitit's names: timeout_min=600, slurm_partition=gpu; may be repeated.",
    ),
]
CellCpus = Annotated[
    float, typer.Option(metavar="N", parser=real_number(1, MOST_CORES), help="On a cluster: CPU cores of each cell.")
]
CellGpus = Annotated[
    float,
    typer.Option(
        metavar="N", parser=real_number(0, MOST_CORES), help="On a cluster: GPUs of each cell; on Ray also parts."
    ),
]
