"""One cell from its claim to its result: it goes on where it was left, and is stored, or noted as failed."""

import io
import traceback
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fewshot_km.accel.backend_names import AUTO
from fewshot_km.data import Dataset, load_dataset
from fewshot_km.errors import CellError, DataError, DivergenceError, FewshotError, describe_error, message_of
from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.cells.cell_task import CellTask
from fewshot_km.experiments.cells.checkpoints import Checkpoints
from fewshot_km.experiments.cells.stages import DONE, run_stages
from fewshot_km.experiments.cells.stopping import OUT_OF_TIME, Stop, StoppedRun
from fewshot_km.experiments.events.event import (
    CellFailed,
    CellFinished,
    CellSkipped,
    CellStarted,
    Event,
    ProcessLost,
    Subscriber,
    Warned,
)
from fewshot_km.experiments.events.tensorboard import TensorBoardLog
from fewshot_km.experiments.runners.process_group import ProcessGroup
from fewshot_km.experiments.runners.tuning import read_tuning
from fewshot_km.experiments.settings.cell_settings import DatasetConfig
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.settings.plugin_use import say_loaded_late
from fewshot_km.experiments.settings.run_settings import RunSettings
from fewshot_km.experiments.store.environment import describe_environment
from fewshot_km.experiments.store.example_images import write_examples
from fewshot_km.experiments.store.frozen_episodes import digest_of_test
from fewshot_km.experiments.store.record import Results
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.experiments.store.unfinished import UnfinishedCell, now
from fewshot_km.plugins.boundary import was_raised_in_plugin
from fewshot_km.training.history import Validated
from fewshot_km.training.ranks import LostRankError

TRIES = 3  # of a cell whose process is lost: a machine's bad moment passes, a cell that kills its process does not


@dataclass(frozen=True)
class Outcome:
    """How a cell ended; "elsewhere": another process runs it, which `text` names."""

    kind: Literal["done", "failed", "elsewhere"]
    text: str = ""


@dataclass
class CellWorker:
    """Runs cells one after the other in this process, with the ranks of a process group."""

    store: ResultStore
    data_root: Path
    group: ProcessGroup
    stop: Stop
    subscriber: Subscriber
    settings: RunSettings
    says_data: bool = True  # only the process that the user started says what was found
    datasets: dict[str, Dataset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # now: a checkout may change while this runs
        self.environment = describe_environment(self.group.ranks.device, self.group.ranks.size)

    def dataset(self, config: DatasetConfig) -> Dataset:
        """Load a data set; it is kept for the cells to come."""
        key = str(config)
        if key not in self.datasets:
            with nullcontext() if self.says_data else redirect_stderr(io.StringIO()):
                self.datasets[key] = load_dataset(config.name, self.data_root, config.options)
        return self.datasets[key]

    def run(self, cell: Cell) -> Outcome:
        """Run a cell unless another process does, or has meanwhile; raises FewshotError, OSError, StoppedRun.

        A cell that diverges, or whose learner raises, exits or breaks its contract, is noted as failed.
        """
        unfinished = self.store.unfinished(cell)
        with unfinished.claim() as is_mine:
            if not is_mine:
                owner = unfinished.owner()
                self.subscriber(cell, CellSkipped(f"{owner} runs it"))
                return Outcome("elsewhere", owner)
            state = self.store.state(cell)
            if state == "done":
                unfinished.remove()
                self.subscriber(cell, CellSkipped("another run has finished it meanwhile"))
                return Outcome("done")
            if state == "failed" and not self.settings.retry_failed:
                reason = self.store.failure(cell)
                self.subscriber(cell, CellSkipped(f"it failed in another run meanwhile: {reason}"))
                return Outcome("failed", reason)
            return self._run_claimed(cell, unfinished)

    def _run_claimed(self, cell: Cell, unfinished: UnfinishedCell, tries: int = 1) -> Outcome:
        dataset = self.dataset(cell.config.task.dataset)
        kept, how = self._kept(cell, unfinished, dataset)
        done_before = kept.reached.iteration if kept else 0
        self.subscriber(cell, CellStarted(done_before))
        if unfinished.abandoned_by:
            why = "it was killed, or a plug-in ended it, as os._exit does"
            text = f"{unfinished.abandoned_by} ended while it ran this cell, and left no word: {why}"
            self.subscriber(cell, Warned(text))
        session = {"started": now(), "after_iteration": done_before, **self._machine()}
        facts = {"dataset_digest": dataset.digest, "sessions": [*how.get("sessions", []), session]}
        tensorboard = self._tensorboard(cell, done_before)

        def emit(event: Event) -> None:
            self.subscriber(cell, event)
            if isinstance(event, Validated):
                unfinished.write_history(event.rows)
            if tensorboard:
                tensorboard(cell, event)

        try:
            task = CellTask(cell.config, self.settings, self._tuned(cell), how.get("backends"), kept)
            self.group.tell(task)
            parts, state = task.begin(dataset, self.group.ranks, emit)
            seconds = self.settings.checkpoint_seconds
            checkpoints = Checkpoints(unfinished, self.stop, seconds, lambda: {"backends": parts.backends, **facts})
            with checkpoints.keeping():
                parts = replace(parts, pause=checkpoints.pause, check=checkpoints.check)
                for after in run_stages(state, parts, emit):
                    state = after
                    if state.stage != DONE:  # what is done is stored next
                        checkpoints.keep(state)
        except BaseException as error:  # whichever way a learner ends must not cost the cells after it
            if self._ends_the_run(error):
                raise
            if not isinstance(error, LostRankError):
                return self._note(cell, error)
            outcome = self._replace_lost(cell, tries)
            return outcome or self._run_claimed(cell, unfinished, tries + 1)
        finally:
            if tensorboard:
                tensorboard.close()
        for text in say_loaded_late(cell.config):
            self.subscriber(cell, Warned(text))
        results = {name: state.results[name] for name in (*Results.__annotations__, *state.results)}
        with self.stop.asking():
            digest = digest_of_test(cell.config, dataset)
            write_examples(self.store.task_folder(cell), cell.config, dataset, digest)  # first: no cell is without them
            record = {
                "cell": str(cell),
                "config_digest": cell.config.digest(),
                "config": cell.config.model_dump(mode="json"),
                "dataset_digest": dataset.digest,
                "dataset_found": dataset.found,
                "dataset_partial": dataset.partial,
                "test_episodes_digest": digest,
                "results": results,
                "environment": {**self.environment, "tf32": self.settings.tf32, "backends": parts.backends},
                "started": facts["sessions"][0]["started"],
                "ended": now(),
                "sessions": facts["sessions"],
            }
            self.store.write(cell, record, state.files)
            unfinished.remove()
        self.subscriber(cell, CellFinished(results))
        return Outcome("done")

    def _kept(
        self, cell: Cell, unfinished: UnfinishedCell, dataset: Dataset
    ) -> tuple[CellState | None, Mapping[str, Any]]:
        """The state that was kept last, and facts about how it came about."""
        loaded = unfinished.load(lambda text: self.subscriber(cell, Warned(text)))
        if loaded is None:
            return None, {}
        tensors, facts = loaded
        if facts["dataset_digest"] != dataset.digest:
            raise DataError(
                f"{cell} was begun on another version of '{dataset.name}' than the one at hand; "
                f"bring that back, or delete {unfinished.folder}"
            )
        return CellState.unpack(tensors, facts), facts

    def _tuned(self, cell: Cell) -> tuple[str, str] | None:
        return read_tuning(self.store.folder).backends(cell, self.group.ranks.device)

    def _tensorboard(self, cell: Cell, after_iteration: int) -> TensorBoardLog | None:
        if not self.settings.tensorboard:
            return None
        return TensorBoardLog(self.store.folder / "tensorboard" / str(cell), after_iteration)

    def _ends_the_run(self, error: BaseException) -> bool:
        """Whether the error ends the run: the user interrupts, or the disk is full; but no error of a plug-in does."""
        if self.stop.is_asked_for(error):
            return True
        is_ours = isinstance(error, FewshotError | OSError) and not isinstance(error, CellError)
        return is_ours and not was_raised_in_plugin(error)

    def _note(self, cell: Cell, error: BaseException) -> Outcome:
        """Note that the cell failed with this error."""
        self.stop.check()  # ranks that are stopped together with this one end its exchange with them
        is_ours = isinstance(error, CellError) and not was_raised_in_plugin(error)
        reason, trace = (message_of(error), "") if is_ours else (describe_error(error), traceback.format_exc())
        if "vmap" in reason and self.settings.backend != AUTO:
            reason += f"; this learner cannot run with --backend {self.settings.backend}"
        outcome = self._failed(cell, reason, trace)
        if is_ours and isinstance(error, DivergenceError):
            return outcome  # all ranks have noticed it, and wait for the next cell
        if said := self.group.after_failure():
            self.store.write_failure(cell, f"{reason}; {said}", trace)
        return outcome

    def _replace_lost(self, cell: Cell, tries: int) -> Outcome | None:
        """Start other ranks anew; None where the cell can go on. A program that ended by itself has failed the cell.

        Raises StoppedRun where ranks are killed again and again.
        """
        self.stop.check()  # ranks that are stopped together with this one end its exchange with them
        loss = self.group.replace_lost()
        if not loss.was_killed:
            return self._failed(cell, loss.said or "a process that shares the meta-batches ended", loss.traces)
        if tries == TRIES:
            raise StoppedRun(OUT_OF_TIME, f"{cell}: {loss.said}, the {TRIES}rd process to be lost")
        self.subscriber(cell, ProcessLost(f"{loss.said}; going on from the last checkpoint"))
        return None

    def _failed(self, cell: Cell, reason: str, trace: str = "") -> Outcome:
        self.store.write_failure(cell, reason, trace)
        where = f" (the traceback is in {self.store.failure_file(cell)})" if trace else ""
        self.subscriber(cell, CellFailed(reason + where))
        return Outcome("failed", reason)

    def _machine(self) -> dict[str, Any]:
        return {name: self.environment[name] for name in ("git_commit", "device", "ranks", "threads")}
