"""What a run is asked for, beside the grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.experiments.store.unfinished import PERIOD_SECONDS


class Runner(StrEnum):
    """Where cells run."""

    HERE = "here"
    RAY = "ray"
    SLURM = "slurm"


@dataclass(frozen=True)
class Cluster:
    """Where cells run, and what each of them gets there if that is a cluster.

    address  of a Ray cluster; None: one of this machine's own
    slurm    parameters of submitit's executor
    """

    runner: Runner = Runner.HERE
    address: str | None = None
    cpus: float = 1
    gpus: float = 0
    slurm: Sequence[str] = ()


@dataclass(frozen=True)
class Way:
    """How cells are run, which is not part of what they are.

    backend, task_chunk, tf32  see `Compute`
    checkpoint_seconds  between checkpoints
    retry_failed        whether cells that failed are tried again
    """

    backend: str = AUTO
    task_chunk: int | None = None
    tf32: bool = False
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
    way: Way = field(default_factory=Way)
    cluster: Cluster = field(default_factory=Cluster)
