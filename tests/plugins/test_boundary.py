"""Whichever way a plug-in's code ends, the command line goes on, says so in one line, and has the right status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewshot_km.errors import PluginError, describe_error
from fewshot_km.learners import LEARNERS
from fewshot_km.plugins.loading import load_plugin
from tests.support.command_line import ROOT, fewshot_km, run, said
from tests.support.made_up_results import SMALL_GRID, write_grid

RUN = ("run", "small.toml", "--backend", "plain", "--devices", 1)
ENDS = {
    "sys.exit(0)": "SystemExit: 0",
    "sys.exit()": "SystemExit:",
    "raise KeyboardInterrupt": "KeyboardInterrupt:",
    "raise GeneratorExit": "GeneratorExit:",
    "raise Mute": "Mute: (its message cannot be read: KeyboardInterrupt)",
}
HEAD = """
import os, sys
from fewshot_km.learners import ANIL, register

class Mute(BaseException):
    def __str__(self):
        raise KeyboardInterrupt
    __repr__ = __str__

"""
LEARNER = """
@register("leaving")
class Leaving(ANIL):
    def {method}(self, *inputs, **options):
        {end}
"""


def leaving(folder: Path, end: str, method: str = "adapt") -> Path:
    """A plug-in, and a grid with it and one of ours."""
    plugin = folder / "leaving.py"
    plugin.write_text(HEAD + LEARNER.format(method=method, end=end))
    write_grid(folder, SMALL_GRID.replace('"maml"', '"leaving"').replace("seeds = [0, 1]", "seeds = [0]"))
    return plugin


@pytest.mark.parametrize("end", ENDS)
def test_at_import_it_is_one_error(tmp_path: Path, end: str) -> None:
    plugin = tmp_path / "leaving.py"
    plugin.write_text(HEAD + end)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(PluginError) as caught:
        load_plugin(plugin)
    line = len(plugin.read_text().splitlines())
    assert str(caught.value).startswith(f"--plugin {plugin}: line {line}: {ENDS[end]}")
    assert len(str(caught.value).splitlines()) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_a_message_that_cannot_be_read_is_said_to_be_so() -> None:
    class BrokenError(ValueError):
        def __str__(self) -> str:
            raise RecursionError

    assert describe_error(BrokenError("x")) == "BrokenError: (its message cannot be read: RecursionError)"
    assert describe_error(ValueError("a\nb")) == "ValueError: a b"


@pytest.mark.parametrize(("method", "status"), [("__init__", 2), ("adapt", 1)])
def test_the_command_line_says_so_and_the_others_go_on(tmp_path: Path, method: str, status: int) -> None:
    plugin = leaving(tmp_path, "sys.exit(0)", method)
    done = fewshot_km(*RUN, "--plugin", plugin, folder=tmp_path)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if status == 2:
        expected = "error: small: glyphs-5w1s/leaving: cannot be built: SystemExit: 0\n"
        assert done.stderr.endswith(expected)
    else:
        assert "FAILED: SystemExit: 0 (the traceback is in" in done.stderr
        assert "km-maml/seed0: test accuracy" in done.stderr
        assert done.stderr.endswith("error: 1 of 2 cells failed: glyphs-5w1s/leaving/seed0\n")


@pytest.mark.parametrize("end", ["sys.exit(0)", "raise Mute"])
def test_an_estimate_says_so(tmp_path: Path, end: str) -> None:
    plugin = leaving(tmp_path, end)
    done = fewshot_km(*RUN, "--dry-run", "--plugin", plugin, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: glyphs-5w1s/leaving/seed0: cannot be measured: {ENDS[end]}\n")


@pytest.mark.slow
@pytest.mark.parametrize("how", [("--jobs", 2), ("--devices", 2)])
def test_in_other_processes_too(tmp_path: Path, how: tuple[str, int]) -> None:
    plugin = leaving(tmp_path, "sys.exit(0)")
    assert run(tmp_path, "run", "small.toml", "--backend", "plain", "--plugin", plugin, *how) == 1
    assert "leaving/seed0: FAILED: SystemExit: 0" in said(tmp_path)
    assert "km-maml/seed0: test accuracy" in said(tmp_path)


@pytest.mark.slow
def test_a_process_that_ended_without_a_word_is_told_of_by_the_next(tmp_path: Path) -> None:
    plugin = leaving(tmp_path, "os._exit(0)")
    for _ in range(2):
        assert run(tmp_path, *RUN, "--plugin", plugin) == 0  # nothing of ours can be run any more
    words = "ended while it ran this cell, and left no word: it was killed, or a plug-in ended it, as os._exit does"
    assert said(tmp_path).count(words) == 1
    assert run(tmp_path, *RUN, "--only", "learner=km-maml", "--plugin", plugin) == 0
    assert said(tmp_path).count(words) == 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["import", "adapt"])
def test_the_keyboards_interrupt_is_the_users(tmp_path: Path, where: str) -> None:
    plugin = leaving(tmp_path, "open('here', 'w').close(); import time; time.sleep(60)")
    if where == "import":
        plugin.write_text("open('here', 'w').close()\nimport time; time.sleep(60)\n")
    command = [sys.executable, "-m", "fewshot_km", *map(str, RUN), "--plugin", plugin]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # tests' shells may ignore it
    )
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "here").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    assert "leaving" not in LEARNERS
