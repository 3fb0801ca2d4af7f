"""What a run is asked for, beside the grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fewshot_km.accel.backend_names import AUTO

PERIOD_SECONDS = 60.0  # between checkpoints: little to lose, and writing takes some hundredths of a second


class Runner(StrEnum):
    """Where cells run."""

    HERE = "here"
    RAY = "ray"
    SLURM = "slurm"


@dataclass(frozen=True)
class Cluster:
    """Where cells run, and what each gets on a cluster.

    address  of a Ray cluster; None: one of this machine's own
    slurm    parameters of submitit's executor
    """

    runner: Runner = Runner.HERE
    address: str | None = None
    cpus: float = 1
    gpus: float = 0
    slurm: Sequence[str] = ()


@dataclass(frozen=True)
class RunSettings:
    """How cells are run: it decides about time and rounding, never about what is computed.

    backend             for training and testing; AUTO: what `tune` found, or a fixed rule
    task_chunk          tasks at once on each rank; None: what memory allows
    tf32                see `allow_tf32`
    checkpoint_seconds  between checkpoints
    retry_failed        whether cells that failed are tried again
    """

    backend: str = AUTO  # the same bytes today and tomorrow, as no clock decides
    task_chunk: int | None = None
    tf32: bool = False  # 10 bits of a product's factors instead of 23: only who asks for it
    checkpoint_seconds: float = PERIOD_SECONDS
    tensorboard: bool = False
    retry_failed: bool = False  # what failed would mostly fail again


@dataclass(frozen=True)
class RunOptions:
    """What `run` was asked for; the defaults are those of its options."""

    results: Path = Path("results")
    data_root: Path | None = None
    only: Sequence[str] = ()
    shard: str | None = None
    settings: Sequence[str] = ()
    device: str = "auto"
    devices: str = "auto"
    jobs: int = 1  # one cell uses all cores by itself, and is done sooner than two side by side
    budget: str | None = None
    quiet: bool = False
    json: bool = False
    plugins: Sequence[Path] = ()
    run: RunSettings = field(default_factory=RunSettings)
    cluster: Cluster = field(default_factory=Cluster)
