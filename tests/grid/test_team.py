"""Processes that run cells together, as the command line starts them: the same results; what happens to the dead."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fewshot_km.errors import ConfigError
from fewshot_km.grid import ResultStore, load_grid
from fewshot_km.grid.team import Team, choose_devices
from tests.command_line import ROOT, run, said, started
from tests.grid.made_up import SMALL_GRID, write_grid
from tests.grid.test_survival import kept, until

RUN = ("run", "small.toml", "--execution", "plain")
ONE_LEARNER = SMALL_GRID.replace(', { name = "km-maml", norm_affine = "bias" }', "")
ONE_CELL = ONE_LEARNER.replace("seeds = [0, 1]", "seeds = [0]")
ENDLESS = ONE_LEARNER.replace("iterations = 4", "iterations = 100_000")

pytestmark = pytest.mark.slow
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds processes in /proc, which only Linux has"
)


def followers_of(process: BaseProcess) -> list[int]:
    """The processes that it has started, apart from git, which ends at once."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"fewshot_km" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:
        return []


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def end(pids: list[int], seconds: float) -> bool:
    """Whether they all end within so many seconds."""
    until = time.monotonic() + seconds
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_running, pids))


def test_two_processes_give_the_results_of_one(tmp_path: Path) -> None:
    """Started by ourselves, and by torchrun."""
    grid = load_grid(write_grid(tmp_path, ONE_CELL))
    for devices in (1, 2):
        assert run(tmp_path, *RUN, "--results", f"of {devices}", "--devices", devices) == 0, said(tmp_path)
    elastic = (
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "localhost:0",
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", *elastic, "-m", "fewshot_km", *RUN]
    done = subprocess.run(
        [*torchrun, "--results", "of torchrun"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("[1/1] glyphs-5w1s/maml/seed0: test accuracy") == 1
    assert said(tmp_path).count("[1/1] glyphs-5w1s/maml/seed0: test accuracy") == 2
    alone, *shared = (ResultStore(tmp_path / f"of {who}", grid.name) for who in (1, 2, "torchrun"))
    expected = load_file(alone.cell_folder(grid.cells[0]) / "weights.safetensors")
    for store in shared:
        assert store.read(grid.cells[0]).record["environment"]["ranks"] == 2
        analysis = store.read(grid.cells[0]).analysis
        assert analysis is not None
        assert len(analysis.open_accuracies) == 5
        assert [len(found.accuracies) for found in analysis.inner_steps] == [3] * 5
        weights = load_file(store.cell_folder(grid.cells[0]) / "weights.safetensors")
        for name in expected:
            if not name.endswith("conv.bias"):  # no effect under batch norm: rounding, which Adam magnifies
                torch.testing.assert_close(weights[name], expected[name], rtol=1e-3, atol=1e-4)


@needs_proc
def test_a_follower_that_dies_costs_one_cell_and_an_interrupt_ends_all(tmp_path: Path) -> None:
    write_grid(tmp_path, ENDLESS)
    with started(tmp_path, *RUN, "--devices", 2) as process:
        until(process, tmp_path, lambda: len(kept(tmp_path)) == 1)
        (first,) = followers_of(process)
        os.kill(first, signal.SIGKILL)
        until(process, tmp_path, lambda: len(kept(tmp_path)) == 2)
        assert "[1/2] glyphs-5w1s/maml/seed0: FAILED: " in said(tmp_path)
        assert "[2/2] glyphs-5w1s/maml/seed1: meta-training" in said(tmp_path)
        (second,) = followers_of(process)
        assert second != first
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 130, said(tmp_path)
        assert not is_running(second)
        assert "Traceback" not in said(tmp_path)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("trains", [False, True], ids=["starting", "training"])
def test_followers_end_with_their_leader(tmp_path: Path, number: signal.Signals, trains: bool) -> None:
    """Also before they have met, when they would wait for it for a day."""
    write_grid(tmp_path, ENDLESS)
    with started(tmp_path, *RUN, "--devices", 3) as process:
        until(process, tmp_path, lambda: len(followers_of(process)) == 2 and (not trains or kept(tmp_path)))
        followers = followers_of(process)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode == (130 if number == signal.SIGINT else -number)
        assert end(followers, 0 if number == signal.SIGINT and trains else 60)  # amid a start, one may be unknown yet
        assert "Traceback" not in said(tmp_path)


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
