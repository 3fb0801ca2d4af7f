"""Cells side by side: worker processes with a part of the threads each, one display for all."""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from fewshot_km.errors import ConfigError, FewshotError
from fewshot_km.experiments.cells.cell_worker import TRIES, Outcome
from fewshot_km.experiments.cells.stopping import Stop, StoppedRun
from fewshot_km.experiments.events.event import CellFailed, Event, ProcessLost, Subscriber
from fewshot_km.experiments.runners.run_grid import Outcomes
from fewshot_km.experiments.runners.worker_setup import WorkerSetup
from fewshot_km.experiments.settings.grid import Cell

POLL_SECONDS = 0.2  # between looks at a signal or a budget; nobody reads faster
PATIENCE_SECONDS = 60.0  # for workers that are to keep their state and end: an iteration takes a few at most


MOST_JOBS_A_CORE = 2  # one waits while another reads or writes; beyond, they only take each other's memory


def check_jobs(jobs: int) -> None:
    """Raise ConfigError for more processes than this machine's cores can serve."""
    cores = os.cpu_count() or 1
    if jobs > MOST_JOBS_A_CORE * cores:
        raise ConfigError(
            f"--jobs: {jobs} processes of some 300 MB each are too many for {cores} cores: "
            f"{MOST_JOBS_A_CORE * cores} at most"
        )


def run_parallel(
    waiting: Sequence[Cell], setup: WorkerSetup, stop: Stop, display: Subscriber, *, jobs: int
) -> Outcomes:
    """Run cells in `jobs` processes; raises FewshotError and OSError as they do, and StoppedRun when all have ended.

    A process that is lost costs nothing but time: another one goes on from the cell's checkpoint.
    """
    return _Pool(setup, display).run(waiting, min(jobs, len(waiting)), stop)


@dataclass
class _Worker:
    number: int
    process: BaseProcess
    pipe: Connection
    cell: Cell | None = None


class _Pool:
    def __init__(self, setup: WorkerSetup, display: Subscriber) -> None:
        self._setup = setup
        self._display = display
        self._outcomes = Outcomes()
        self._queue: deque[Cell] = deque()
        self._losses: Counter[str] = Counter()
        self._workers: list[_Worker] = []

    def run(self, waiting: Sequence[Cell], jobs: int, stop: Stop) -> Outcomes:
        self._queue.extend(waiting)
        try:
            self._workers = [self._start(number) for number in range(jobs)]
            while self._workers:
                stop.check()
                for worker in self._workers:
                    if worker.cell is None and self._queue:
                        self._give(worker, self._queue.popleft())
                for pipe in wait([worker.pipe for worker in self._workers], timeout=POLL_SECONDS):
                    self._hear(next(worker for worker in self._workers if worker.pipe is pipe))
        except StoppedRun:
            for worker in self._workers:
                worker.process.terminate()  # it keeps its state and ends
            end = time.monotonic() + PATIENCE_SECONDS
            for worker in self._workers:
                worker.process.join(max(0.0, end - time.monotonic()))
            raise
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
        return self._outcomes

    def _start(self, number: int) -> _Worker:
        context = multiprocessing.get_context("spawn")  # a copy of a process that uses threads or a GPU may hang
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, self._setup, number))
        # the keyboard's interrupt is for this process, which passes it on; the other inherits that it is ignored
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, before)
        there.close()  # so that its end is noticed here
        return _Worker(number, process, here)

    def _give(self, worker: _Worker, cell: Cell) -> None:
        worker.cell = cell
        with suppress(OSError):  # it has ended: hearing from it finds that out
            worker.pipe.send(cell)

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, *content = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if kind == "event":
            self._display(*content)
        elif kind == "error":
            raise content[0]
        else:
            assert worker.cell is not None
            self._outcomes.note(worker.cell, content[0])
            worker.cell = None
            if not self._queue:
                self._retire(worker)

    def _retire(self, worker: _Worker) -> None:
        with suppress(OSError):
            worker.pipe.send(None)
        worker.process.join(PATIENCE_SECONDS)
        self._workers.remove(worker)

    def _replace(self, lost: _Worker) -> None:
        lost.process.join(PATIENCE_SECONDS)
        self._workers.remove(lost)
        cell, why = lost.cell, f"its process ended (exit code {lost.process.exitcode})"
        if cell is not None:
            self._losses[str(cell)] += 1
            if self._losses[str(cell)] < TRIES:
                self._display(cell, ProcessLost(f"{why}; another one goes on with it"))
                self._queue.appendleft(cell)
            else:
                why += f", {TRIES} times"
                self._setup.store.write_failure(cell, why)
                self._display(cell, CellFailed(why))
                self._outcomes.note(cell, Outcome("failed", why))
        elif not any(self._losses.values()):
            raise ConfigError(f"--jobs: a process could not start ({why}); try --jobs 1")
        if self._queue:
            self._workers.append(self._start(lost.number))


def _work(pipe: Connection, setup: WorkerSetup, number: int) -> None:
    """Run the cells that come through the pipe, until None comes or the other end is closed."""

    def send(cell: Cell, event: Event) -> None:
        pipe.send(("event", cell, event))

    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        with Stop(silent=True) as stop, setup.opened(stop, send, number) as worker:
            while (cell := pipe.recv()) is not None:
                pipe.send(("outcome", worker.run(cell)))
    except (StoppedRun, EOFError, BrokenPipeError):
        pass
    except (FewshotError, OSError) as error:
        pipe.send(("error", error))


def _end_with_starter() -> None:
    """Wait for the end of the process that the user started; then keep the state, and end."""
    starter = multiprocessing.parent_process()
    assert starter is not None
    starter.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)
