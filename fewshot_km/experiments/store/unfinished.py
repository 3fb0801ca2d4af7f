"""A cell that is being run: who runs it, and what the next run goes on from.

seed<k>.unfinished-<digest of its settings>/ beside the results of finished cells holds

claim                   a lock, which ends with its process however that ends
owner.json              who holds it: host, process, since when; left behind by a process that ended without a word
checkpoint.safetensors  the cell's state; previous.safetensors, the one before
history.csv             meta-training so far
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, FileLock, Timeout

from fewshot_km.data.storage import read_text_bounded, write_text
from fewshot_km.errors import ConfigError, DataError
from fewshot_km.experiments.store.csv_files import history_csv
from fewshot_km.experiments.store.record import MOST_BYTES
from fewshot_km.text import parse_json
from fewshot_km.training.checkpoint import DamagedCheckpointError, load_checkpoint, read_facts, save_checkpoint
from fewshot_km.training.history import HistoryRow, Reached

if TYPE_CHECKING:
    from fewshot_km.learners import Params

CLAIM, OWNER = "claim", "owner.json"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"
ATTEMPTS = 10  # to lock a folder that others remove


class UnfinishedCell:
    """The folder of a cell that is being run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.abandoned_by = ""  # the process that held the last claim and never ended it, once there is another claim

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Whether this process alone may run the cell; the claim ends with the block, or with the process.

        Raises ConfigError where the folder cannot be made.
        """
        lock = FileLock(self.folder / CLAIM)
        try:
            self._acquire(lock)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise ConfigError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
        try:
            if (self.folder / OWNER).exists():
                self.abandoned_by = self.owner()
            owner = {"host": platform.node(), "process": os.getpid(), "since": now()}
            write_text(self.folder / OWNER, json.dumps(owner) + "\n")
            yield True
        finally:
            with suppress(OSError):
                (self.folder / OWNER).unlink(missing_ok=True)
            lock.release()

    def _acquire(self, lock: BaseFileLock) -> None:
        for _ in range(ATTEMPTS):
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # who has just finished the cell removed the folder: make it again
                lock.acquire(timeout=1)  # `list` looks for an instant whether it is free
                return
        raise FileNotFoundError(f"{self.folder} vanishes")

    def owner(self) -> str:
        """Say who holds the claim."""
        try:
            owner = parse_json(read_text_bounded(self.folder / OWNER, MOST_BYTES))
            return f"process {owner['process']} on {owner['host']} since {owner['since']}"
        except (DataError, ValueError, KeyError, TypeError):
            return "another process"

    def load(self, warn: Callable[[str], None]) -> "tuple[Params, dict[str, Any]] | None":
        """The tensors and facts that were kept last; None where there are none.

        A damaged checkpoint falls back to the one before, and `warn` hears of it.
        """
        for name in (CHECKPOINT, PREVIOUS):
            try:
                return load_checkpoint(self.folder / name)
            except FileNotFoundError:
                continue
            except DamagedCheckpointError as error:
                kept = self.folder / f"damaged-{int(time.time())}-{name}"
                (self.folder / name).rename(kept)  # not to take the place of the one before, and to be looked at
                warn(f"{name} is damaged ({error}; kept as {kept.name}): going on with the one before, if any")
        return None

    def save(self, tensors: "Params", facts: Mapping[str, Any]) -> None:
        """Keep a state; the one kept before becomes the previous one. Raises OSError where it cannot be written."""
        new = self.folder / "next.safetensors"
        save_checkpoint(new, tensors, facts)
        with suppress(FileNotFoundError):
            (self.folder / CHECKPOINT).replace(self.folder / PREVIOUS)
        new.replace(self.folder / CHECKPOINT)

    def write_history(self, rows: Sequence[HistoryRow]) -> None:
        """Let the training be watched while it runs."""
        write_text(self.folder / "history.csv", history_csv(rows))

    def look(self) -> Reached | None:
        """How far the last state that was kept has come; its tensors are not read, and damage is not told."""
        for name in (CHECKPOINT, PREVIOUS):
            with suppress(FileNotFoundError, DamagedCheckpointError, KeyError, TypeError):
                return Reached(**read_facts(self.folder / name)["reached"])
        return None

    def is_claimed(self) -> bool:
        """Whether a process is running the cell."""
        if not self.folder.is_dir():
            return False
        lock = FileLock(self.folder / CLAIM)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            return True
        lock.release()
        return False

    def remove(self) -> None:
        """Delete the folder of a cell that is finished; call it with the claim."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def discard(self) -> None:
        """Delete what a process has left that died just after the cell was finished, if anything."""
        if self.folder.is_dir():
            with self.claim() as is_mine:
                if is_mine:
                    self.remove()


def now() -> str:
    """The date and time that records hold."""
    return datetime.now(UTC).isoformat(timespec="seconds")
