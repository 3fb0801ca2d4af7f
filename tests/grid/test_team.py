"""Processes that run cells together, as the command line starts them: the same results; what happens to the dead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fewshot_km.errors import ConfigError
from fewshot_km.grid import ResultStore, load_grid
from fewshot_km.grid.team import Team, choose_devices
from tests.grid.made_up import SMALL_GRID, write_grid

ROOT = Path(__file__).resolve().parents[2]
ONE_LEARNER = SMALL_GRID.replace(', { name = "km-maml", norm_affine = "bias" }', "")
ONE_CELL = ONE_LEARNER.replace("seeds = [0, 1]", "seeds = [0]")
LONG = ONE_LEARNER.replace("iterations = 4", "iterations = 100_000")

pytestmark = pytest.mark.slow


@contextmanager
def started(folder: Path, *command: object) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A running process, and what it has said so far on standard error."""
    log = folder / "stderr.log"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, *map(str, command)]
    with log.open("wb") as file:
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=file)
    try:
        yield process, lambda: log.read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()


def run(folder: Path, *command: object) -> str:
    with started(folder, *command) as (process, said):
        assert process.wait(timeout=200) == 0, said()
        return said()


def followers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that it has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children]


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize(
    "launch",
    [
        ["-m", "fewshot_km", "run", "small.toml", "--devices", "2", "--execution", "plain"],
        [
            *("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"),
            *("--rdzv-endpoint", "localhost:0", "-m", "fewshot_km", "run", "small.toml", "--execution", "plain"),
        ],
    ],
    ids=["devices", "torchrun"],
)
def test_two_processes_give_the_results_of_one(tmp_path: Path, launch: list[str]) -> None:
    grid = load_grid(write_grid(tmp_path, ONE_CELL))
    run(tmp_path, "-m", "fewshot_km", "run", "small.toml", "--execution", "plain", "--results", "alone", "--devices", 1)
    said = run(tmp_path, *launch)
    assert said.count("[1/1] glyphs-5w1s/maml/seed0: test accuracy") == 1
    alone, shared = ResultStore(tmp_path / "alone", grid.name), ResultStore(tmp_path / "results", grid.name)
    assert shared.read(grid.cells[0]).record["environment"]["ranks"] == 2
    analyses = [store.read(grid.cells[0]).analysis for store in (alone, shared)]
    for analysis in analyses:
        assert analysis is not None
        assert len(analysis.open_accuracies) == 5
        assert [len(found.accuracies) for found in analysis.inner_steps] == [3] * 5
    weights = [load_file(s.cell_folder(grid.cells[0]) / "weights.safetensors") for s in (alone, shared)]
    for name in weights[0]:
        if not name.endswith("conv.bias"):  # no effect under batch norm: rounding, which Adam magnifies
            torch.testing.assert_close(weights[1][name], weights[0][name], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc, which only Linux has")
def test_a_follower_that_dies_costs_one_cell_and_an_interrupt_ends_all(tmp_path: Path) -> None:
    write_grid(tmp_path, LONG)
    with started(tmp_path, "-m", "fewshot_km", "run", "small.toml", "--devices", 2, "--execution", "plain") as (
        process,
        said,
    ):
        until(lambda: "seed0: meta-training" in said())
        time.sleep(2)  # it trains
        (first,) = followers_of(process)
        os.kill(first, signal.SIGKILL)
        until(lambda: "[1/2] glyphs-5w1s/maml/seed0: FAILED: " in said())
        until(lambda: "[2/2] glyphs-5w1s/maml/seed1: meta-training" in said())
        time.sleep(2)
        (second,) = followers_of(process)
        assert second != first
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert not is_running(second)
        assert "Traceback" not in said()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc, which only Linux has")
def test_followers_of_a_dead_process_end(tmp_path: Path) -> None:
    write_grid(tmp_path, LONG)
    with started(tmp_path, "-m", "fewshot_km", "run", "small.toml", "--devices", 3, "--execution", "plain") as (
        process,
        said,
    ):
        until(lambda: "meta-training" in said())
        time.sleep(2)
        followers = followers_of(process)
        assert len(followers) == 2
        process.kill()
        process.wait()
        until(lambda: not any(map(is_running, followers)), 60)


def test_devices_are_one_per_thread_unless_told() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_devices("auto", cpu, 16) == torch.get_num_threads()
    assert choose_devices("auto", gpu, 16) == 1
    assert choose_devices("3", cpu, 2) == 3
    for wrong in ("0", "-1", "two", ""):
        with pytest.raises(ConfigError, match="give auto or a positive whole number"):
            choose_devices(wrong, cpu, 16)


def test_a_process_that_cannot_start_is_an_error_not_a_wait() -> None:
    with (
        pytest.raises(ConfigError, match=r"--devices 2: a process could not start \(rank 1: error: .*no-such-file.*\)"),
        Team(2, torch.device("cpu"), ["run", "quickstart", "--plugin=no-such-file.py"]),
    ):
        pass
