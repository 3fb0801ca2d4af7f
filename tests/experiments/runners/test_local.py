"""Cells side by side: the results of one after the other, whichever process is lost."""

import json
import os
import re
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.experiments.runners.test_process_group import end, needs_proc
from tests.experiments.test_survival import until
from tests.support.command_line import run, said, start, started
from tests.support.made_up_results import LONG_GRID, SMALL_GRID, results, write_grid

RUN = ("run", "small.toml", "--backend", "plain", "--devices", 1)

pytestmark = pytest.mark.slow


def owners(folder: Path) -> list[int]:
    return [json.loads(file.read_text())["process"] for file in folder.rglob("owner.json")]


def workers_of(process: BaseProcess) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def both_train(folder: Path) -> bool:
    """Whether two cells have kept more than the state before their first iteration."""
    return len(list(folder.rglob("previous.safetensors"))) == 2


def test_a_lost_worker_costs_nothing_but_time(tmp_path: Path, long_results: dict[str, bytes]) -> None:
    write_grid(tmp_path, LONG_GRID)
    process = start(tmp_path, *RUN, "--jobs", 2, "--checkpoint-every", 0.2)
    until(process, tmp_path, lambda: both_train(tmp_path))
    os.kill(owners(tmp_path)[0], signal.SIGKILL)
    process.join(180)
    assert process.exitcode == 0, said(tmp_path)
    assert "its process ended (exit code -9); another one goes on with it" in said(tmp_path)
    assert re.search(r"\[\d/2\] \S+: goes on after iteration [1-9]\d* of 60", said(tmp_path))
    assert results(tmp_path / "results") == long_results


def test_an_interrupt_keeps_what_all_have_done(tmp_path: Path, long_results: dict[str, bytes]) -> None:
    write_grid(tmp_path, LONG_GRID)
    process = start(tmp_path, *RUN, "--jobs", 2, "--checkpoint-every", 0.2)
    until(process, tmp_path, lambda: both_train(tmp_path))
    workers = owners(tmp_path)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert said(tmp_path).splitlines()[-1] == "interrupted: the same command goes on from here"
    assert "Traceback" not in said(tmp_path)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert run(tmp_path, *RUN, "--jobs", 2) == 0, said(tmp_path)
    assert len(re.findall(r"goes on after iteration [1-9]", said(tmp_path))) == 2
    assert results(tmp_path / "results") == long_results


@needs_proc
@pytest.mark.parametrize("trains", [False, True], ids=["starting", "training"])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, trains: bool) -> None:
    """Killed, it can tell them nothing. What they have done is kept."""
    write_grid(tmp_path, LONG_GRID.replace("iterations = 60", "iterations = 100_000"))
    with started(tmp_path, *RUN, "--jobs", 2, "--checkpoint-every", 0.2) as process:
        until(process, tmp_path, lambda: len(workers_of(process)) == 2 and (not trains or both_train(tmp_path)))
        workers = workers_of(process)
    assert end(workers, 20)
    if trains:  # amid a start, Python itself may complain that what it was to be told broke off
        assert "Traceback" not in said(tmp_path)
        assert run(tmp_path, *RUN, "--budget", "2s") == 3
        assert re.search(r"goes on after iteration [1-9]", said(tmp_path))


def test_a_cell_that_kills_its_process_each_time_is_marked_failed(tmp_path: Path) -> None:
    plugin = tmp_path / "deadly.py"
    plugin.write_text(
        "import os\n"
        "from fewshot_km.learners import GradientLearner, register\n"
        "@register('deadly')\n"
        "class Deadly(GradientLearner):\n"
        "    def adapted_names(self):\n"
        "        return self.head_names()\n"
        "    def adapt(self, meta, x, y, *, steps):\n"
        "        os._exit(9)\n"
    )
    write_grid(tmp_path, SMALL_GRID.replace('"maml"', '"deadly"').replace("seeds = [0, 1]", "seeds = [0]"))
    assert run(tmp_path, *RUN, "--jobs", 2, "--plugin", plugin) == 1
    assert "deadly/seed0: FAILED: its process ended (exit code 9), 3 times" in said(tmp_path)
    assert "km-maml/seed0: test accuracy" in said(tmp_path)


def test_what_is_wrong_with_a_grid_is_said_once(tmp_path: Path) -> None:
    write_grid(tmp_path, SMALL_GRID.replace("ways = 5", "ways = 200"))
    assert run(tmp_path, *RUN, "--jobs", 2) == 2
    assert said(tmp_path).count("error:") == 1


def test_progress_as_json_lines(tmp_path: Path) -> None:
    write_grid(tmp_path, SMALL_GRID)
    assert run(tmp_path, *RUN, "--jobs", 2, "--json") == 0
    events = [json.loads(line) for line in said(tmp_path).splitlines()]
    assert [event["event"] for event in events].count("finished") == 4
    assert {event["cell"] for event in events if event["event"] == "started"} == {
        f"glyphs-5w1s/{learner}/seed{seed}" for learner in ("maml", "km-maml") for seed in (0, 1)
    }
    assert events[-1]["event"] == "table"
    assert [row["learner"] for row in events[-1]["rows"]] == ["maml", "km-maml"]


def test_quiet_says_nothing_but_the_table(tmp_path: Path) -> None:
    write_grid(tmp_path, SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0]"))
    assert run(tmp_path, *RUN, "--quiet") == 0
    assert said(tmp_path).startswith("Grid small\n")
