"""The command line in a process that was started quickly, and that can be made to die at a given write."""

import multiprocessing
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(  # seconds of imports are not paid for each life
    [
        "fewshot_km.cli.app",
        "fewshot_km.cli.running",
        "fewshot_km.training.checkpoint",
        "fewshot_km.learners.km_maml",
        "fewshot_km.models.conv4",
        "fewshot_km.reports.results_frame",
        "fewshot_km.reports.report",
        "pandas.io.formats.csvs",
        "safetensors.torch",
        "scipy.special",
        "torch.fx.experimental.symbolic_shapes",  # for sizes without memory
    ]
)


@dataclass(frozen=True)
class Done:
    """What a process ended with; what a signal ended has a negative `returncode`."""

    returncode: int | None
    stdout: str
    stderr: str


def start(
    folder: Path,
    *arguments: object,
    stdout: Path = Path("said"),
    stderr: Path = Path("said"),
    dies_at: int | None = None,
    largest_file: int | None = None,
) -> BaseProcess:
    """A process that runs the command line in `folder`, where warnings are errors.

    `dies_at`: it is killed before the operation of that number among those that make files durable or rename them.
    """
    environment = {name: os.environ[name] for name in ("FEWSHOT_KM_CACHE", "FEWSHOT_KM_DATA")}
    environment |= {"COLUMNS": "200", "PYTHONPATH": str(ROOT)}  # for the processes that it starts
    texts = [str(argument) for argument in arguments]
    process = FORKSERVER.Process(
        target=_run, args=(folder, texts, environment, (stdout, stderr), dies_at, largest_file)
    )
    process.start()
    return process


def fewshot_km(*arguments: object, folder: Path) -> Done:
    """Run the command line in `folder`."""
    with tempfile.TemporaryDirectory() as outside:
        out, err = Path(outside) / "out", Path(outside) / "err"
        process = start(folder, *arguments, stdout=out, stderr=err)
        process.join(300)
        return Done(process.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


@contextmanager
def started(folder: Path, *arguments: object) -> Iterator[BaseProcess]:
    """A process that runs the command line in `folder`, and does not outlive the block."""
    process = start(folder, *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def run(
    folder: Path, *arguments: object, dies_at: int | None = None, largest_file: int | None = None, seconds: float = 120
) -> int:
    """Its exit code; what a signal ended has a negative one."""
    process = start(folder, *arguments, dies_at=dies_at, largest_file=largest_file)
    process.join(seconds)
    assert process.exitcode is not None
    return process.exitcode


def said(folder: Path) -> str:
    """What processes in this folder have said so far."""
    file = folder / "said"
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _run(
    folder: Path,
    arguments: list[str],
    environment: dict[str, str],
    said: tuple[Path, Path],
    dies_at: int | None,
    largest_file: int | None,
) -> None:
    import torch

    from fewshot_km.cli.app import app

    os.environ.update(environment)
    os.chdir(folder)
    for number, path in enumerate(said, start=1):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)  # torch's compiler imports what torch gives up
    warnings.simplefilter("ignore", ResourceWarning)  # a signal amid open() leaves the file to the garbage collector
    signal.signal(signal.SIGINT, signal.default_int_handler)  # started in a shell's background, tests ignore it
    torch.set_num_threads(1)
    if dies_at is not None:
        _die_at(dies_at)
    if largest_file is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    app(arguments)


def _die_at(operation: int) -> None:
    count = 0

    def deadly(inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*arguments)

        return outer

    os.fsync = deadly(os.fsync)
    Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
    Path.rename = deadly(Path.rename)  # type: ignore[method-assign]
