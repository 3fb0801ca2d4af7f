"""Set up a worker in a process other than the user's own: in a pool on this machine, or on a cluster."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fewshot_km.experiments.cells.cell_worker import CellWorker, Outcome
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.events.event import Event, Subscriber
from fewshot_km.experiments.runners.process_group import ProcessGroup, choose_devices
from fewshot_km.experiments.runners.run_grid import Outcomes
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.settings.run_settings import RunSettings
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.plugins.loading import load_entry_points, load_plugins
from fewshot_km.training.devices import choose_device
from fewshot_km.training.history import IterationDone
from fewshot_km.training.ranks import own_device

TELL_SECONDS = 0.2  # between reports of iterations; nobody reads faster


@dataclass(frozen=True)
class WorkerSetup:
    """All that a process needs to run cells of a grid.

    store       the results
    data_root   the data sets
    plugins     files to be loaded
    device      of each worker, as --device names it
    devices     processes of each worker that share a meta-batch (see `choose_devices`)
    threads     of each worker
    most_tasks  of a meta-batch of these cells
    command     that starts one more rank (see `ProcessGroup`)
    """

    store: ResultStore
    data_root: Path
    plugins: tuple[Path, ...]
    device: str
    devices: str
    threads: int
    most_tasks: int
    command: tuple[str, ...]
    settings: RunSettings

    @contextmanager
    def opened(self, stop: Stop, subscriber: Subscriber, number: int = 0) -> Iterator[CellWorker]:
        """Open a worker in this process, the `number`-th on its machine; its events go to `subscriber`."""
        torch.set_num_threads(self.threads)
        load_entry_points()
        load_plugins(self.plugins)
        device = own_device(choose_device(self.device), number)
        with ProcessGroup(choose_devices(self.devices, device, self.most_tasks), device, self.command) as group:
            yield CellWorker(
                self.store, self.data_root, group, stop, _some_a_second(subscriber), self.settings, says_data=False
            )


RunCells = Callable[[Sequence[Cell], WorkerSetup, Stop, Subscriber], Outcomes]
"""A runner: it runs the waiting cells in other processes until it is to stop; their events go to the subscriber."""


def run_one_cell(setup: WorkerSetup, cell: Cell, subscriber: Subscriber = lambda *_: None) -> Outcome:
    """Run one cell in a process that a cluster has started and may end at any time."""
    with setup.opened(Stop(), subscriber) as worker:
        return worker.run(cell)


def _some_a_second(subscriber: Subscriber) -> Subscriber:
    """Pass on all events but most iterations."""
    last = -TELL_SECONDS

    def hear(cell: Cell, event: Event) -> None:
        nonlocal last
        if isinstance(event, IterationDone) and event.iteration < cell.config.outer.iterations:
            if time.monotonic() - last < TELL_SECONDS:
                return
            last = time.monotonic()
        subscriber(cell, event)

    return hear
