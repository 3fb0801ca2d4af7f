"""Cells on a Ray cluster: a task each, gone on with from its checkpoint where its machine is lost.

All machines must see the results and the data sets at the same paths.
"""

import io
import re
import socket
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from queue import Empty
from typing import Any

from fewshot_km.errors import ConfigError, FewshotError, describe_error
from fewshot_km.experiments.cells.cell_worker import TRIES, Outcome
from fewshot_km.experiments.cells.stopping import Stop, StoppedRun
from fewshot_km.experiments.events.event import CellFailed, Event, Subscriber
from fewshot_km.experiments.runners.run_grid import Outcomes
from fewshot_km.experiments.runners.worker_setup import WorkerSetup, run_one_cell
from fewshot_km.experiments.settings.grid import Cell

CONNECT_SECONDS = 10.0  # for a cluster's head to answer


def run_on_ray(
    waiting: Sequence[Cell],
    setup: WorkerSetup,
    stop: Stop,
    display: Subscriber,
    *,
    address: str | None,
    cpus: float,
    gpus: float,
) -> Outcomes:
    """Run cells on the cluster at `address`, or on one of this machine's own, with so many CPUs and GPUs for each cell.

    Raises ConfigError where Ray is not installed or the cluster cannot be reached or has no such machine, FewshotError
    as the cells do, and StoppedRun, which ends them at their last checkpoints.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError, WorkerCrashedError
        from ray.util.queue import Queue
    except ImportError as error:
        raise ConfigError("--runner ray: Ray is not installed: pip install 'fewshot_km[ray]'") from error
    try:
        _check_reachable(address)
        with redirect_stderr(io.StringIO()):  # what it says of itself
            ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    except (OSError, RayError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--ray-address {address}: cannot be reached: {describe_error(error)}") from error
    try:
        _check_fits(ray.cluster_resources(), {"CPU": cpus, "GPU": gpus})  # type: ignore[no-untyped-call]
        queue = Queue(actor_options={"num_cpus": 0})
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES - 1)(_run)
        running = {remote.remote(setup, cell, queue): cell for cell in waiting}
        outcomes = Outcomes()
        while running:
            stop.check()
            done, _ = ray.wait(list(running), timeout=0.2)
            _show(queue, display)
            for ref in done:
                cell = running.pop(ref)
                try:
                    outcomes.note(cell, ray.get(ref))
                except WorkerCrashedError:
                    why = f"its process was lost, {TRIES} times"
                    setup.store.write_failure(cell, why)
                    display(cell, CellFailed(why))
                    outcomes.note(cell, Outcome("failed", why))
                except RayTaskError as error:
                    raise error.cause if isinstance(error.cause, FewshotError | OSError) else error from None
        return outcomes
    except StoppedRun:
        for ref in running:
            with suppress(RayError):
                ray.cancel(ref, force=True)
        raise
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise OSError where nothing listens at host:port, for which Ray itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and re.fullmatch("[0-9]{1,5}", port) and int(port) < 2**16:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _run(setup: WorkerSetup, cell: Cell, queue: Any) -> Outcome:
    def send(cell: Cell, event: Event) -> None:
        queue.put((cell, event))

    return run_one_cell(setup, cell, send)


def _show(queue: Any, display: Subscriber) -> None:
    with suppress(Empty):
        while True:
            display(*queue.get(block=False))


def _check_fits(there: dict[str, float], wanted: dict[str, float]) -> None:
    for kind, amount in wanted.items():
        if amount > there.get(kind, 0):
            raise ConfigError(
                f"--runner ray: a cell asks for {amount:g} {kind}s, the whole cluster has {there.get(kind, 0):g}: "
                f"lower --cell-{kind.lower()}s"
            )
