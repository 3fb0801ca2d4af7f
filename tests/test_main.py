"""How the command line's process behaves beside other work, and what it imports."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from fewshot_km.training.history import NOT_BEGUN
from tests.support.made_up_pages import made_up_store

ROOT = Path(__file__).resolve().parents[1]
WAITING = """
import time
import torch
torch.set_num_threads(2)
x = torch.ones(200_000)  # large enough for both threads
x + 1
began, before = time.perf_counter(), time.process_time()
for _ in range(300):
    x + 1
    time.sleep(0.002)
print("busy", (time.process_time() - before) / (time.perf_counter() - began))
"""


def busy(folder: Path, **environment: str) -> float:
    """Seconds of processors per second in a process whose second thread has hardly anything to do."""
    (folder / "waiting.py").write_text(WAITING)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-m", "fewshot_km", "learners", "--plugin", str(folder / "waiting.py")]
    done = subprocess.run(
        command, env=mine | environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("busy"))
    return float(line.split()[1])


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no second thread to wait")
def test_threads_that_wait_leave_the_cores_to_others(tmp_path: Path) -> None:
    """Unless the user wants them to spin."""
    assert busy(tmp_path) < 0.3 < busy(tmp_path, OMP_WAIT_POLICY="ACTIVE")  # seen: 0.16 and 1.0, beside others 0.5


COMMANDS = """
import contextlib, io, json, sys
import typer
from fewshot_km.cli.app import app

def helps(command, words):
    yield [*words, "--help"]
    for name, below in getattr(command, "commands", {}).items():
        yield from helps(below, [*words, name])

first, failed = {}, []
for arguments in [*helps(typer.main.get_command(app), []), *json.loads(sys.argv[1])]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            app(arguments, standalone_mode=False)
        except SystemExit as end:
            if end.code:
                failed.append(arguments)
    if not out.getvalue():
        failed.append(arguments)
    for name in json.loads(sys.argv[2]):
        if name in sys.modules:
            first.setdefault(name, arguments)
print(json.dumps([first, failed]))
"""


SLOW = ("torch", "pandas", "scipy.stats", "matplotlib", "jinja2")  # each takes a tenth of a second or more


def test_commands_import_nothing_slow_that_they_do_without(tmp_path: Path) -> None:
    """The help of every command, and whatever lists, explains and reports: the first of them that needs a library."""
    grid, store = made_up_store(tmp_path)
    unfinished = store.unfinished(grid.cells[5])
    unfinished.folder.mkdir(parents=True)
    unfinished.save({"w": torch.ones(2)}, {"reached": asdict(NOT_BEGUN)})
    assert store.state(grid.cells[0]) == "done"
    small = [str(tmp_path / "small.toml"), "--results", str(tmp_path / "results")]
    reading = [
        ["list"],
        ["list", *small],
        ["config", "explain"],
        ["config", "schema"],
        ["learners"],
        ["networks"],
        ["datasets"],
        ["protocols"],
        ["clean", *small, "--yes"],
        ["compare", *[str(store.folder)] * 2],
        *(["report", *small, "--format", kind] for kind in ("text", "md", "latex", "html")),
        ["report", *small, "--check-claims", "--pairwise"],
    ]
    first = {
        "pandas": ["report", *small, "--format", "csv"],
        "matplotlib": ["report", *small, "--figures"],
        "jinja2": ["report", *small, "--html"],
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps([*reading, *first.values()]), json.dumps(SLOW)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [first, []], done.stderr
