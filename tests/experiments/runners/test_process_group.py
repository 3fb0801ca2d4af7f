"""Processes that run cells together, as the command line starts them: the same results; what happens to the dead."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.runners.process_group import ProcessGroup, choose_devices
from fewshot_km.experiments.settings.grid import load_grid
from fewshot_km.experiments.store.result_store import ResultStore
from tests.experiments.test_survival import kept, until
from tests.support.command_line import ROOT, run, said, started
from tests.support.made_up_results import SMALL_GRID, results, write_grid

RUN = ("run", "small.toml", "--backend", "plain")
ONE_LEARNER = SMALL_GRID.replace(', { name = "km-maml", norm_affine = "bias" }', "")
ONE_CELL = ONE_LEARNER.replace("seeds = [0, 1]", "seeds = [0]")
LONG_CELL = ONE_CELL.replace("iterations = 4", "iterations = 60").replace("every = 2", "every = 30")
ENDLESS = ONE_LEARNER.replace("iterations = 4", "iterations = 100_000")

pytestmark = pytest.mark.slow
needs_time = pytest.mark.skipif(
    "FEWSHOT_KM_COMPILE_ALL" not in os.environ, reason="FEWSHOT_KM_COMPILE_ALL is not set: compiling takes minutes"
)
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


def kill_a_rank_amid_training(process: BaseProcess, folder: Path) -> None:
    before = set(kept(folder))
    until(process, folder, lambda: set(kept(folder)) - before, seconds=600)  # compiling comes first
    (follower,) = followers_of(process)
    os.kill(follower, signal.SIGKILL)


@needs_proc
@pytest.mark.parametrize("backend", ["auto", "vmap", pytest.param("compiled", marks=needs_time)])
def test_a_killed_rank_costs_nothing_but_time(
    tmp_path: Path, backend: str, once: Callable[[str, Callable[[Path], object]], Path]
) -> None:
    """Killed amid a start and twice amid training; the same bytes as without."""
    command = ("run", "small.toml", "--backend", backend, "--devices", 2, "--checkpoint-every", 0)
    tiny = LONG_CELL.replace("filters = 8", "filters = 1") if backend == "compiled" else LONG_CELL

    def undisturbed(folder: Path) -> None:
        write_grid(folder, tiny)
        assert run(folder, *command, seconds=600) == 0, said(folder)

    write_grid(tmp_path, tiny)
    with started(tmp_path, *command) as process:
        until(process, tmp_path, lambda: followers_of(process))
        os.kill(followers_of(process)[0], signal.SIGKILL)
        process.join(60)
        assert process.exitcode == 3, said(tmp_path)
        last = said(tmp_path).splitlines()[-1]
        assert re.fullmatch(r"rank 1 \(process \d+\) was killed by signal 9 while it was starting: the same .*", last)
    with started(tmp_path, *command) as process:
        for kills in range(1, 3):
            kill_a_rank_amid_training(process, tmp_path)
            going_on = r"rank 1 \(process \d+\) was killed by signal 9; going on from the last checkpoint"
            until(process, tmp_path, lambda n=kills, text=going_on: len(re.findall(text, said(tmp_path))) == n, 600)  # type: ignore[misc]
        process.join(60)
        assert process.exitcode == 0, said(tmp_path)
    assert not list(tmp_path.rglob("*failed*"))
    assert "Traceback" not in said(tmp_path)
    assert results(tmp_path / "results") == results(once(f"killed {backend}", undisturbed) / "results")


@needs_proc
def test_a_rank_that_is_killed_again_and_again_is_an_interruption(tmp_path: Path) -> None:
    write_grid(tmp_path, ENDLESS)
    with started(tmp_path, *RUN, "--devices", 2) as process:
        for kills in range(1, 4):
            kill_a_rank_amid_training(process, tmp_path)
            if kills < 3:
                until(process, tmp_path, lambda kills=kills: said(tmp_path).count("going on from") == kills)  # type: ignore[misc]
        process.join(60)
        assert process.exitcode == 3, said(tmp_path)
    assert said(tmp_path).splitlines()[-1].endswith("the 3rd process to be lost: the same command goes on from here")
    assert not list(tmp_path.rglob("*failed*"))
    assert list(tmp_path.rglob("checkpoint.safetensors"))


@needs_proc
def test_an_interrupt_ends_all_ranks(tmp_path: Path) -> None:
    write_grid(tmp_path, ENDLESS)
    with started(tmp_path, *RUN, "--devices", 2) as process:
        until(process, tmp_path, lambda: kept(tmp_path))
        (follower,) = followers_of(process)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 130, said(tmp_path)
        assert not is_running(follower)
        assert "Traceback" not in said(tmp_path)


FAILING_RANK = """
import os, sys
from fewshot_km.learners import GradientLearner, register
@register("failing")
class Failing(GradientLearner):
    def adapted_names(self):
        return self.head_names()
    def adapt(self, meta, x, y, *, steps):
        if os.environ.get("RANK") == "1":
            HOW
        return super().adapt(meta, x, y, steps=steps)
"""


@pytest.mark.parametrize(
    ("how", "reason"), [("1 / 0", "rank 1: ZeroDivisionError"), ("os._exit(0)", "rank 1 ended with exit status 0")]
)
def test_a_rank_that_ends_by_itself_fails_the_cell(tmp_path: Path, how: str, reason: str) -> None:
    """What a learner does on one rank only is its own mistake, and the other cells go on."""
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING_RANK.replace("HOW", how))
    write_grid(tmp_path, ONE_CELL.replace('"maml"', '"failing", "maml"'))
    assert run(tmp_path, *RUN, "--devices", 2, "--plugin", plugin) == 1
    assert f"failing/seed0: FAILED: {reason}" in said(tmp_path)
    assert "maml/seed0: test accuracy" in said(tmp_path)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("trains", [False, True], ids=["starting", "training"])
def test_followers_end_with_their_leader(tmp_path: Path, number: signal.Signals, trains: bool) -> None:
    """Also before they have met, when they would wait for it for a day."""
    write_grid(tmp_path, ENDLESS.replace("meta_batch = 2", "meta_batch = 3"))
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
    assert choose_devices("2", cpu, 2) == 2
    for wrong in ("0", "00", "-1", "two", "", "\uff12", "1.5"):
        with pytest.raises(ConfigError, match="give auto or a positive whole number"):
            choose_devices(wrong, cpu, 16)


@pytest.mark.parametrize("wanted", ["3", "100000", "9" * 50, "9" * 10_000])
def test_more_processes_than_tasks_or_twice_the_cores_are_refused(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for tasks in (2, 100):
        with pytest.raises(ConfigError, match=f"at most 2 here: a meta-batch has {tasks} tasks, the machine 1 cores"):
            choose_devices(wanted, torch.device("cpu"), tasks)


@needs_proc
@pytest.mark.parametrize("seconds", [0, 0.1, 0.5, 1, 2])
def test_a_process_ends_with_its_starter_at_any_stage_of_its_start(tmp_path: Path, seconds: float) -> None:
    """The pipe that the starter holds is closed; what follows rank 0 otherwise waits for it for a day."""
    names = {"RANK": "1", "WORLD_SIZE": "2", "FEWSHOT_KM_MEETING": (tmp_path / "meeting").as_uri()}
    process = subprocess.Popen(
        [sys.executable, "-m", "fewshot_km", "run", "quickstart"],
        stdin=subprocess.PIPE,
        env=os.environ | names | {"FEWSHOT_KM_ENDS_WITH_STDIN": "1", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    time.sleep(seconds)
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 1


@pytest.mark.parametrize("option", [("--jobs", "2"), ("--runner", "ray")])
def test_torchrun_and_other_ways_of_running_cells_are_one_error(tmp_path: Path, option: tuple[str, str]) -> None:
    write_grid(tmp_path, ONE_CELL)
    done = subprocess.run(
        [sys.executable, "-m", "fewshot_km", *RUN, *option],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "RANK": "0", "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"error: --(jobs|runner ray): torchrun's processes share .*; use one or the other\n", done.stderr
    )


def test_a_process_that_cannot_start_is_an_error_not_a_wait() -> None:
    with (
        pytest.raises(ConfigError, match=r"--devices 2: a process could not start \(rank 1: error: .*no-such-file.*\)"),
        ProcessGroup(2, torch.device("cpu"), ["run", "quickstart", "--plugin=no-such-file.py"]),
    ):
        pass
