"""Cells as jobs of a Slurm cluster, through submitit; a preempted job is queued again and goes on from its checkpoint.

All machines must see the results and the data sets at the same paths.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fewshot_km.errors import ConfigError, describe_error
from fewshot_km.experiments.cells.cell_worker import Outcome
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.events.event import CellFailed, CellFinished, Subscriber, Warned
from fewshot_km.experiments.runners.run_grid import Outcomes
from fewshot_km.experiments.runners.worker_setup import WorkerSetup, run_one_cell
from fewshot_km.experiments.settings.grid import Cell

LOOK_SECONDS = 5.0  # between looks at the jobs: a login node is shared


class CellJob:
    """The function of a job; submitit calls `checkpoint` when the job's time is up or it is preempted."""

    def __call__(self, setup: WorkerSetup, cell: Cell) -> Outcome:
        """Run the cell."""
        return run_one_cell(setup, cell)

    def checkpoint(self, setup: WorkerSetup, cell: Cell) -> Any:
        """Queue the job again: it goes on from the cell's own checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, setup, cell)


def run_on_slurm(
    waiting: Sequence[Cell],
    setup: WorkerSetup,
    stop: Stop,
    display: Subscriber,
    *,
    cluster: str,
    parameters: Mapping[str, Any],
    look_seconds: float = LOOK_SECONDS,
) -> Outcomes:
    """Queue a job for each cell and wait for them; jobs go on where this process is stopped.

    cluster     "slurm", or "local" for processes of this machine
    parameters  of submitit's executor, such as timeout_min, slurm_partition, cpus_per_task, gpus_per_node
    Raises ConfigError where submitit is not installed, or Slurm is not there or refuses the jobs.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError, UncompletedJobError
    except ImportError as error:
        raise ConfigError("--runner slurm: submitit is not installed: pip install 'fewshot_km[slurm]'") from error
    try:
        executor = submitit.AutoExecutor(setup.store.folder / "jobs", cluster=cluster)
        executor.update_parameters(name=f"fewshot-km-{setup.store.folder.name}", **parameters)
        with executor.batch():
            jobs = [(executor.submit(CellJob(), setup, cell), cell) for cell in waiting]
    except (RuntimeError, NameError, TypeError, ValueError, AssertionError, FailedJobError) as error:
        raise ConfigError(f"--runner slurm: the jobs cannot be queued: {describe_error(error)}") from error
    for job, cell in jobs:
        display(cell, Warned(f"queued as job {job.job_id}"))
    outcomes = Outcomes()
    while jobs:
        stop.check()
        for job, cell in [(job, cell) for job, cell in jobs if job.done()]:
            jobs.remove((job, cell))
            with suppress(Exception):
                job.wait()
            try:
                outcome = job.result()
            except (FailedJobError, UncompletedJobError) as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                outcome = Outcome("failed", f"job {job.job_id}: {lines[-1] if lines else 'ended without a result'}")
                setup.store.write_failure(cell, outcome.text, str(error))
            outcomes.note(cell, outcome)
            if outcome.kind == "failed":
                display(cell, CellFailed(outcome.text))
            elif outcome.kind == "done":
                display(cell, CellFinished(setup.store.read(cell).record["results"]))
        if jobs:
            time.sleep(look_seconds)
    return outcomes
