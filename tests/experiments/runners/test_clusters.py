"""Cells on a Ray cluster and as Slurm jobs, both of this machine: the results of a run in this process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.runners.ray_runner import _check_fits
from tests.support.command_line import fewshot_km
from tests.support.made_up_results import LONG_GRID, results, write_grid

RUN_BENCHMARKS = Path(__file__).resolve().parents[3] / "run_benchmarks.py"
RUN = ("run", "small.toml", "--backend", "plain")

pytestmark = pytest.mark.slow


def on_cluster(folder: Path, *arguments: object) -> "subprocess.Popen[str]":
    """The command line in a process of its own: Ray and submitit start theirs as it was started."""
    command = [sys.executable, RUN_BENCHMARKS, *RUN, *arguments]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(list(map(str, command)), cwd=folder, stdout=log, stderr=log, text=True)


def test_ray_goes_on_with_a_cell_whose_worker_is_lost(tmp_path: Path, long_results: dict[str, bytes]) -> None:
    """Two workers; one is killed amid its training."""
    write_grid(tmp_path, LONG_GRID)
    process = on_cluster(tmp_path, "--runner", "ray", "--checkpoint-every", 0.2)
    try:
        end = time.monotonic() + 120
        while not (owners := list(tmp_path.glob("results/**/previous.safetensors"))):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(json.loads((owners[0].parent / "owner.json").read_text())["process"], signal.SIGKILL)
        assert process.wait(180) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    log = (tmp_path / "log").read_text()
    assert re.search(r"\[\d/2\] \S+: goes on after iteration [1-9]\d* of 60", log), log
    assert "Traceback" not in log
    assert results(tmp_path / "results") == long_results


def test_ray_says_what_the_cluster_lacks() -> None:
    with pytest.raises(ConfigError, match=r"a cell asks for 0.5 GPUs, the whole cluster has 0: lower --cell-gpus"):
        _check_fits({"CPU": 4.0}, {"CPU": 1, "GPU": 0.5})
    _check_fits({"CPU": 4.0, "GPU": 1.0}, {"CPU": 1, "GPU": 0.5})


def test_slurm_jobs_give_the_results_of_a_run_here(tmp_path: Path, long_results: dict[str, bytes]) -> None:
    """submitit's local executor, which starts, watches and collects jobs as its Slurm executor does."""
    write_grid(tmp_path, LONG_GRID)
    process = on_cluster(tmp_path, "--runner", "slurm", "--slurm", "cluster=local", "--slurm", "timeout_min=5")
    try:
        assert process.wait(180) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    log = (tmp_path / "log").read_text()
    assert len(re.findall(r"seed0: queued as job \d+", log)) == 2
    assert len(re.findall(r"seed0: test accuracy \d", log)) == 2
    assert results(tmp_path / "results") == long_results


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runner", "slurm"], "error: --runner slurm: the jobs cannot be queued: RuntimeError: Could not detect"),
        (["--runner", "ray", "--ray-address", "nowhere:1"], "error: --ray-address nowhere:1: cannot be reached: "),
    ],
)
def test_a_cluster_that_is_not_there_is_one_error(tmp_path: Path, arguments: list[str], message: str) -> None:
    write_grid(tmp_path)
    done = fewshot_km(*RUN, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(message)
    assert not (tmp_path / "results").exists()  # no empty folder is left


def test_parameters_that_submitit_refuses_leave_nothing(tmp_path: Path) -> None:
    write_grid(tmp_path)
    slurm = ("--runner", "slurm", "--slurm", "cluster=local", "--slurm", "no_such=1")
    done = fewshot_km(*RUN, *slurm, "--results", "a/b", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --runner slurm: the jobs cannot be queued: NameError")
    assert not (tmp_path / "a").exists()
