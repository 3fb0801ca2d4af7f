"""Real processes that are killed, interrupted, run twice or out of room: nothing is lost, nothing done twice."""

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest

from tests.support.command_line import run, said, start
from tests.support.made_up_results import SMALL_GRID, results, write_grid

ONE_CELL = SMALL_GRID.replace('["maml", { name = "km-maml", norm_affine = "bias" }]', '["km-maml"]').replace(
    "seeds = [0, 1]", "seeds = [0]"
)
QUICK = ONE_CELL.replace("episodes = 3", "episodes = 1").replace("episodes = 5", "episodes = 2")  # the same files
QUICK = QUICK.replace("lr = 0.4", "lr = 0.4\ntest_steps = 1")
SHORT = QUICK.replace("iterations = 4", "iterations = 80").replace("every = 2", "every = 40")
LONG = QUICK.replace("iterations = 4", "iterations = 120").replace("every = 2", "every = 60")
ENDLESS = ONE_CELL.replace("iterations = 4", "iterations = 1_000_000").replace("every = 2", "every = 1_000_000")
RUN = ("run", "small.toml", "--backend", "plain", "--devices", 1)
MODES: dict[str, tuple[str, tuple[object, ...], int]] = {  # grid, options, kills
    "plain": (LONG, ("--backend", "plain", "--devices", 1), 12),
    "fused": (LONG, ("--backend", "fused", "--devices", 1), 6),
    "jobs": (LONG.replace("seeds = [0]", "seeds = [0, 1]"), ("--backend", "plain", "--devices", 1, "--jobs", 2), 4),
    "devices": (LONG, ("--backend", "plain", "--devices", 2), 4),
}
CELL = Path("results/small/glyphs-5w1s/km-maml")

pytestmark = pytest.mark.slow


def result(folder: Path) -> list[object]:
    """All that must not depend on what happened on the way."""
    history = pd.read_csv(folder / CELL / "seed0" / "history.csv").drop(columns="seconds").to_csv()
    files = ("test_episodes.csv", "weights.safetensors", "analysis.json")
    return [history, *((folder / CELL / "seed0" / name).read_bytes() for name in files)]


def undisturbed(folder: Path, text: str) -> list[object]:
    folder.mkdir(exist_ok=True)
    write_grid(folder, text)
    assert run(folder, *RUN) == 0, said(folder)
    return result(folder)


def until(process: BaseProcess, folder: Path, condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), said(folder)
        assert time.monotonic() < end, said(folder)
        time.sleep(0.02)


def kept(folder: Path) -> list[int]:
    """When the checkpoints were written that are there."""
    times = []
    for file in (folder / "results").rglob("checkpoint.safetensors"):
        with suppress(FileNotFoundError):
            times.append(file.stat().st_mtime_ns)
    return times


def is_training(folder: Path) -> bool:
    return bool(kept(folder))


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    tmp_path: Path, mode: str, once: Callable[[str, Callable[[Path], object]], Path]
) -> None:
    text, options, kills = MODES[mode]
    command = ("run", "small.toml", *options)

    def undisturbed(folder: Path) -> None:
        write_grid(folder, text)
        assert run(folder, *command) == 0, said(folder)

    write_grid(tmp_path, text)
    moments = random.Random(0)
    for kill in range(kills):
        before, seen = set(kept(tmp_path)), set[int]()
        process = start(tmp_path, *command, "--checkpoint-every", 0)  # so that many a moment is amid a write
        if kill % 2:  # after its first iteration, else from the start on
            until(process, tmp_path, lambda b=before, s=seen: s.update(kept(tmp_path)) or len(s - b) > 1)  # type: ignore[misc]
        process.join(moments.uniform(0, 0.1 if kill % 2 else 0.5))
        assert process.exitcode is None, "it was done before it was killed often enough"
        process.kill()
        process.join()
    assert run(tmp_path, *command) == 0, said(tmp_path)
    assert "Traceback" not in said(tmp_path)
    assert results(tmp_path / "results") == results(once(f"survival {mode}", undisturbed) / "results")
    assert not list(tmp_path.rglob("*unfinished*")) + list(tmp_path.rglob("*.part"))
    sessions = json.loads(next(tmp_path.rglob("record.json")).read_text())["sessions"]
    assert len(sessions) > kills / 3  # the others had not come so far
    assert sessions[-1]["after_iteration"] > 0


def test_killed_between_all_operations_on_files_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Each life dies one operation on a file later than the one before, until one reaches its end."""
    short = QUICK.replace("iterations = 4", "iterations = 1").replace("every = 2", "every = 1")
    expected = undisturbed(tmp_path / "undisturbed", short)
    for dies_at in range(1, 200):
        folder = tmp_path / f"dies-at-{dies_at}"
        folder.mkdir()
        write_grid(folder, short)
        code = run(folder, *RUN, "--checkpoint-every", 0, dies_at=dies_at)
        assert code in (0, -signal.SIGKILL), said(folder)
        if code == 0:
            break
        assert run(folder, *RUN) == 0, said(folder)
        assert result(folder) == expected, dies_at
        left = sorted(p.name for p in (folder / CELL).iterdir() if not p.name.startswith("."))
        assert left == ["seed0"], dies_at
    assert dies_at > 15, dies_at  # the claim, checkpoints, the history, the result, the table


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_keeps_the_state_and_says_so(tmp_path: Path, number: signal.Signals, code: int, word: str) -> None:
    write_grid(tmp_path, ENDLESS)
    process = start(tmp_path, *RUN)
    until(process, tmp_path, lambda: is_training(tmp_path))
    time.sleep(1)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(20)
    assert process.exitcode == code
    assert said(tmp_path).splitlines()[-1] == f"{word}: the same command goes on from here"
    assert "Traceback" not in said(tmp_path)
    assert run(tmp_path, "list", "small.toml") == 0
    assert re.search(r"km-maml +0 +unfinished +\d+ s +iteration \d+ of 1000000", said(tmp_path))
    assert run(tmp_path, "run", "small.toml", "--budget", "1s") == 3
    (iteration,) = re.findall(r"goes on after iteration (\d+) of 1000000", said(tmp_path))
    assert int(iteration) > 3  # more than the checkpoint of the start: the last minute's work was kept
    assert said(tmp_path).splitlines()[-1] == "the time budget of 1s is used up: the same command goes on from here"


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """While the first one waits for the end of an iteration, which here never comes."""
    plugin = tmp_path / "stuck.py"
    plugin.write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from fewshot_km.learners import GradientLearner, register\n"
        "@register('stuck')\n"
        "class Stuck(GradientLearner):\n"
        "    def adapted_names(self):\n"
        "        return self.head_names()\n"
        "    def adapt(self, meta, x, y, *, steps):\n"
        "        end = time.monotonic() + 100\n"
        "        while any(Path('results').rglob('checkpoint.safetensors')) and time.monotonic() < end:\n"
        "            time.sleep(0.01)\n"
        "        return super().adapt(meta, x, y, steps=steps)\n"
    )
    write_grid(tmp_path, ENDLESS.replace('"km-maml"', '"stuck"'))
    process = start(tmp_path, *RUN, "--plugin", plugin)
    until(process, tmp_path, lambda: is_training(tmp_path))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(5)
    assert process.exitcode == 130


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "undisturbed", SHORT)
    for harmed in (["checkpoint"], ["checkpoint", "previous"]):
        folder = tmp_path / "-".join(harmed)
        folder.mkdir()
        write_grid(folder, SHORT)
        process = start(folder, *RUN, "--checkpoint-every", 0)
        until(process, folder, lambda folder=folder: any((folder / CELL).glob("seed0.unfin*/previous.safetensors")))  # type: ignore[misc]
        time.sleep(0.3)
        process.kill()
        process.join()
        (unfinished,) = (folder / CELL).glob("seed0.unfinished-*")
        for name in harmed:
            file = unfinished / f"{name}.safetensors"
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 8
            file.write_bytes(content)
        assert run(folder, *RUN) == 0, said(folder)
        for name in harmed:
            assert f"{name}.safetensors is damaged (its content is not what was written" in said(folder)
        assert ("goes on after iteration" in said(folder)) == (harmed == ["checkpoint"])
        assert result(folder) == expected


def test_two_runs_at_once_share_the_cells(tmp_path: Path) -> None:
    """Each cell is run by one of them, once, and comes out as in a run alone."""
    write_grid(tmp_path, SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3]"))
    both = [start(tmp_path, *RUN) for _ in range(2)]
    for process in both:
        process.join(120)
    codes = sorted(process.exitcode or 0 for process in both)
    assert codes in ([0, 0], [0, 3]), said(tmp_path)
    assert said(tmp_path).count("test accuracy") == 8
    records = list((tmp_path / "results").rglob("record.json"))
    assert len(records) == 8
    assert all(len(json.loads(record.read_text())["sessions"]) == 1 for record in records)
    assert not list((tmp_path / "results").rglob("*unfinished*"))
    if codes == [0, 3]:
        assert re.search(r"seed\d: left to process \d+ on \S+ since 20\S+, which runs it", said(tmp_path))


def test_a_full_disk_is_one_error_and_costs_nothing_that_was_there(tmp_path: Path) -> None:
    """The system refuses files beyond a size: the checkpoint's, after a first cell was stored."""
    write_grid(tmp_path, ONE_CELL)
    assert run(tmp_path, *RUN) == 0
    before = result(tmp_path)
    table = (tmp_path / "results/small/table.md").read_bytes()
    write_grid(tmp_path, ONE_CELL.replace("seeds = [0]", "seeds = [0, 1]"))
    assert run(tmp_path, *RUN, largest_file=8_000) == 2
    last = said(tmp_path).splitlines()[-1]
    assert re.fullmatch(r"error: results/.*/next.safetensors: File too large: check .* that the disk has room", last)
    assert "Traceback" not in said(tmp_path)
    assert result(tmp_path) == before
    assert (tmp_path / "results/small/table.md").read_bytes() == table
    assert not list((tmp_path / "results").rglob("*.part"))
    assert run(tmp_path, *RUN) == 0


def test_divergence_keeps_the_last_good_state_and_its_reason(tmp_path: Path) -> None:
    """Steps of Adam that are far too large: after the first one, statistics overflow."""
    text = SMALL_GRID.replace("meta_batch = 2", "meta_batch = 2\nlr = 1e18").replace(
        "iterations = 4", "iterations = 200"
    )
    write_grid(tmp_path, text.replace("seeds = [0, 1]", "seeds = [0]"))
    assert run(tmp_path, *RUN, "--checkpoint-every", 0) == 1
    failed = json.loads((tmp_path / CELL / "seed0.failed.json").read_text())
    (iteration,) = re.findall(r"the outer loss became \S+ at iteration (\d+): lower inner.lr", failed["reason"])
    assert 1 <= failed["kept_iteration"] < int(iteration)
    assert (tmp_path / CELL / failed["kept_in"] / "checkpoint.safetensors").is_file()
    said_first = said(tmp_path)
    assert said_first.count("FAILED") == 2
    assert "goes on" not in said_first
    assert run(tmp_path, *RUN) == 1
    again = said(tmp_path)[len(said_first) :]
    assert "km-maml/seed0: failed before (the outer loss became" in again
    assert "FAILED" not in again
    assert run(tmp_path, *RUN, "--retry-failed", "--only", "learner=km-maml") == 1
    assert f"km-maml/seed0: goes on after iteration {failed['kept_iteration']} of 200" in said(tmp_path)
