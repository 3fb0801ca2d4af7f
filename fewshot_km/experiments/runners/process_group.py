"""The processes that share the meta-batches of a grid's cells: rank 0 starts the others, which follow it."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch

from fewshot_km.data import Dataset, load_dataset
from fewshot_km.errors import ConfigError, DivergenceError
from fewshot_km.experiments.cells.cell_task import CellTask
from fewshot_km.experiments.cells.stopping import OUT_OF_TIME, SIGNALS, StoppedRun
from fewshot_km.orphans import ENDS_WITH_STDIN
from fewshot_km.training.launching import LOCAL_RANK, RANK, WORLD_SIZE, launched
from fewshot_km.training.ranks import LostRankError, Ranks, join, leave, own_device

MEETING = "FEWSHOT_KM_MEETING"  # set in the processes that we start; torchrun's meet at an address of its own
EXIT_SECONDS = 10.0  # between the end of a connection and that of its process
MOST_AUTO = 8  # processes: each holds some 300 MB of libraries


def choose_devices(wanted: str, device: torch.device, tasks: int) -> int:
    """Choose how many processes share each meta-batch of `tasks` tasks.

    auto: on a CPU one for each of torch's threads, each with one thread, because tasks side by side share no barriers;
    on a GPU one, as the others may be someone else's. Raises ConfigError for what is not a positive whole number, and
    for more processes than can have a task or half a core (a GPU) of their own.
    """
    if wanted == "auto":
        return min(torch.get_num_threads(), MOST_AUTO, tasks) if device.type == "cpu" else 1
    if not re.fullmatch("[0-9]+", wanted) or not wanted.strip("0"):
        raise ConfigError(f"--devices {wanted}: give auto or a positive whole number")
    cores = os.cpu_count() or 1
    here, are = (2 * cores, f"{cores} cores") if device.type == "cpu" else (torch.cuda.device_count(), "that many GPUs")
    most = min(tasks, here)
    if len(wanted) > len(str(most)) + 9 or int(wanted) > most:
        raise ConfigError(
            f"--devices {wanted[:20]}: at most {most} here: a meta-batch has {tasks} tasks, the machine {are}"
        )
    return int(wanted)


@dataclass(frozen=True)
class Loss:
    """A process that shared meta-batches and has ended.

    was_killed  from outside, by a signal; else its program has ended it
    said        which one, and how it ended, in a few words
    traces      what the processes have written to standard error
    """

    was_killed: bool
    said: str
    traces: str


class ProcessGroup:
    """Rank 0's view of the processes of a run; use as a context manager.

    `command` starts one more of them; they meet this one, then do as it says until it leaves. Processes that torchrun
    started are there already.
    """

    def __init__(self, size: int, device: torch.device, command: Sequence[str]) -> None:
        self._size = size
        self._threads = torch.get_num_threads()
        self._device = device
        self._command = [sys.executable, "-m", "fewshot_km", *command]
        self._others: list[subprocess.Popen[bytes]] = []
        self._folder: Path | None = None
        self.ranks = Ranks(device=device)

    def __enter__(self) -> "ProcessGroup":
        if launched():
            device = own_device(self._device, int(os.environ.get(LOCAL_RANK, 0)))
            self.ranks = join(int(os.environ[RANK]), int(os.environ[WORLD_SIZE]), device)
        elif self._size > 1:
            try:
                self._start()
            except BaseException:  # an interrupt, too, leaves none of them behind
                self._stop()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def tell(self, task: CellTask) -> None:
        """Let the others run the same cell."""
        self.ranks.from_first(task)

    def dismiss(self) -> None:
        """Let the others leave."""
        self.ranks.from_first(None)

    def after_failure(self) -> str:
        """Start the others anew, as what they are doing is unknown; what the first of them said when it died, if any.

        Raises ConfigError where they were started by torchrun, which alone can do that.
        """
        if self.ranks.size == 1:
            return ""
        if launched():
            raise ConfigError("a rank failed, and torchrun's processes cannot go on: start them again for the rest")
        said = self._last_words()
        self._stop()
        self._start()
        return said

    def replace_lost(self) -> Loss:
        """After a LostRankError: start all others anew, and say what became of the one that was lost.

        Raises StoppedRun where torchrun started them, which alone can start them anew.
        """
        if launched():
            raise StoppedRun(OUT_OF_TIME, "a process was lost, and torchrun's processes cannot go on")
        until = time.monotonic() + EXIT_SECONDS
        while all(process.poll() is None for process in self._others) and time.monotonic() < until:
            time.sleep(0.05)  # its connection was closed a moment before it ended
        traces = (self._log(rank).read_text(encoding="utf-8", errors="replace") for rank in range(1, self._size))
        loss = Loss(self._was_killed(), self._last_words(), "".join(traces))
        self._stop()
        self._start()
        return loss

    def _was_killed(self) -> bool:
        return any((process.poll() or 0) < 0 for process in self._others)

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fewshot_km-"))
        meeting = (self._folder / "meeting").as_uri()
        threads = max(1, self._threads // self._size)
        for rank in range(1, self._size):
            names = {RANK: rank, LOCAL_RANK: rank, WORLD_SIZE: self._size, MEETING: meeting, "OMP_NUM_THREADS": threads}
            names |= {ENDS_WITH_STDIN: 1}
            with self._log(rank).open("wb") as log:
                process = subprocess.Popen(
                    self._command,
                    env=os.environ | _LOOPBACK | {name: str(value) for name, value in names.items()},
                    stdin=subprocess.PIPE,  # nothing is written: its end tells them that this process has ended
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,  # an interrupt from the keyboard is for rank 0, which then stops them
                )
            self._others.append(process)
        os.environ.update(_LOOPBACK)
        if self._device.type == "cpu":
            torch.set_num_threads(threads)
        device = own_device(self._device, 0)
        self._wait(lambda: all((self._folder_of() / f"ready{rank}").exists() for rank in range(1, self._size)))
        joined: list[Ranks] = []
        # in a thread, as it waits for a day for a process that ends meanwhile
        threading.Thread(target=lambda: joined.append(join(0, self._size, device, meeting)), daemon=True).start()
        self._wait(lambda: joined)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # torch keeps it by thread
        self.ranks = joined[0]

    def _wait(self, is_over: Callable[[], object]) -> None:
        """Wait; raises StoppedRun where one of the others is killed meanwhile, ConfigError where it ends by itself."""
        while not is_over():
            if any(process.poll() is not None for process in self._others):
                if self._was_killed():
                    raise StoppedRun(OUT_OF_TIME, f"{self._last_words()} while it was starting")
                said = self._last_words()
                raise ConfigError(f"--devices {self._size}: a process could not start ({said}); try --devices 1")
            time.sleep(0.05)

    def _folder_of(self) -> Path:
        assert self._folder is not None
        return self._folder

    def _stop(self) -> None:
        for process in self._others:
            process.kill()  # they write nothing
        for process in self._others:
            process.communicate()
        self._others = []
        leave()
        torch.set_num_threads(self._threads)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _log(self, rank: int) -> Path:
        return self._folder_of() / f"rank{rank}.log"

    def _last_words(self) -> str:
        """Say how the first rank ended that did, or what it complained of."""
        for rank, process in enumerate(self._others, start=1):
            if (process.poll() or 0) < 0:
                return f"rank {rank} (process {process.pid}) was killed by signal {-process.returncode}"
        for rank in range(1, self._size):
            lines = self._log(rank).read_text(encoding="utf-8", errors="replace").split("\n")
            if text := next((line for line in reversed(lines) if line.strip()), ""):
                return f"rank {rank}: {text.removeprefix(f'[rank{rank}]: ')}"  # torch marks every line
        ended = ((rank, process.poll()) for rank, process in enumerate(self._others, start=1))
        return next((f"rank {rank} ended with exit status {code}" for rank, code in ended if code is not None), "")


# local processes meet on the loopback device, wherever the host's name leads
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform.startswith("linux") else {}


def follow(data_root: Path, device: torch.device) -> None:
    """Run the cells that rank 0 names until it leaves, as every other rank does."""
    rank, size = int(os.environ[RANK]), int(os.environ[WORLD_SIZE])
    for number in SIGNALS:  # torchrun passes them on to all: rank 0 keeps its state and leaves, which ends the others
        signal.signal(number, lambda *_: None)
    device = own_device(device, int(os.environ.get(LOCAL_RANK, rank)))
    datasets: dict[str, Dataset] = {}
    try:
        meeting = os.environ.get(MEETING, "env://")
        if meeting.startswith("file://"):
            Path(unquote(urlsplit(meeting).path)).with_name(f"ready{rank}").touch()
        ranks = join(rank, size, device, meeting)
        while (task := ranks.from_first()) is not None:
            wanted = task.config.task.dataset
            key = str(wanted)
            if key not in datasets:
                with contextlib.redirect_stderr(io.StringIO()):  # rank 0 has said what was found
                    datasets[key] = load_dataset(wanted.name, data_root, wanted.options)
            with contextlib.suppress(DivergenceError):  # of the loss of all ranks: rank 0 raises it, too
                task.run(datasets[key], ranks)
    except LostRankError:
        pass  # rank 0 has left, or will say who else was lost
    finally:
        leave()
