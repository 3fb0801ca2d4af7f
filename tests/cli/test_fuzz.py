"""Whatever stands in a grid file or behind an option: status 0, 1 or 2, and no traceback.

Two lines of errors at most, but for the mistakes of a grid file, which are a line each.

FEWSHOT_KM_FUZZ sets how many examples are tried, for those who want to look longer than a test run may.
"""

import json
import os
import re
import shlex
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fewshot_km.cli.app import app
from fewshot_km.experiments.store.result_store import ResultStore
from tests.support.harmful_text import is_harmful
from tests.support.made_up_results import SMALL_GRID, small_grid, store_result

FUZZ = settings(
    max_examples=int(os.environ.get("FEWSHOT_KM_FUZZ", "60")),  # a few seconds
    deadline=timedelta(seconds=30),  # a hang, on however slow a machine
    suppress_health_check=list(HealthCheck),
)

KEY_NAMES = """
description seeds tasks learners network inner outer validation test dataset ways shots lr name label protocol norm
filters order stream every clip_value train_queries a.b a.b.c
"""
ODD_TEXTS = """
nan inf -inf -1 0 1 1e400 1e-400 ９ ² 1/1 5/5 0/0 1/0 ９/９ 99999999999999999999/1 90s 1h30m 9999999999h １s auto cpu
cuda:99999999999999999999 meta small.toml . /dev/null /dev/zero /proc/self/mem results results/small small.toml/x
nowhere/x x.png glyphs folder maml text csv seeds here slurm ray --
"""
RUN_OPTIONS = """
--only --shard --devices --device --jobs --budget --checkpoint-every --backend --task-chunk --cell-cpus --cell-gpus
--runner --ray-address --slurm --plugin --data-root --bogus
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all cells of the small grid are done, so that nothing is left to train."""
    folder = tmp_path_factory.mktemp("done")
    grid = small_grid(folder)
    store = ResultStore(folder / "results", grid.name)
    for cell in grid.cells:
        store_result(store, cell, np.array([0.1, 0.5, 0.9, 0.2, 0.4]))
    return folder


def check(folder: Path, *arguments: str) -> None:
    """The command line in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, list(arguments))
    shown = shlex.join(arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), shown
    assert result.exit_code in (0, 1, 2), (shown, result.output)
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()  # which splits at what some terminals take for the end of a line, too
    if re.fullmatch("error: .*: [0-9]+ mistakes", lines[0] if lines else ""):
        lines = [line for line in lines if not line.startswith("  ")]
    assert len(lines) <= 2, (shown, result.stderr)
    assert bool(lines) or result.exit_code == 0
    assert not any(map(is_harmful, result.output.replace("\n", ""))), (shown, result.output)
    assert max(map(len, lines), default=0) < 20_000


# values of TOML as texts, in range and not
SCALARS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["0", "1", f"{2**31}", f"{2**62}", f"{2**63}", f"{10**20}", "1" + 5000 * "0"]),
    st.floats().map(repr),
    st.sampled_from(["true", "false", "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "１", "1_0", "0x1F", "''", ""]),
    st.text(st.characters(codec=None), max_size=20).map(json.dumps),
    st.sampled_from(['"' + "k" * 3000 + '"', '"\\u001b[31m"', '"\\u202e"', '"../x"', '"glyphs"', '"maml"', '"conv4"']),
)


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        ),
    ),
    max_leaves=5,
) | st.sampled_from([f"{'[' * n}{']' * n}" for n in (15, 17, 300, 2000)] + ["{a=" * 400 + "1" + "}" * 400])
KEYS = st.one_of(
    st.sampled_from(KEY_NAMES.split()),
    st.text(st.characters(codec=None), max_size=8).map(json.dumps),
    st.sampled_from(["k" * 3000, ".".join("a" * 40), '"\\u009b31m"']),
)
LINES = SMALL_GRID.splitlines()


@st.composite
def grid_files(draw: st.DrawFn) -> bytes:
    """The small grid with lines that say other things."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        key, value = draw(KEYS), draw(VALUES)
        kept = lines[place].partition("=")[0] if "=" in lines[place] and draw(st.booleans()) else key
        new = draw(st.sampled_from([f"{kept} = {value}", f"[{key}]", f"[[{key}]]", value, ""]))
        lines[place : place + draw(st.integers(0, 1))] = [new]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@FUZZ
@given(content=grid_files() | st.binary(max_size=200))
def test_grid_files(done: Path, content: bytes) -> None:
    (done / "fuzz.toml").write_bytes(content)
    check(done, "list", "fuzz.toml")


TEXTS = st.one_of(
    VALUES,
    st.text(st.characters(codec=None, exclude_characters="\0"), max_size=30),
    st.sampled_from(ODD_TEXTS.split()),
    st.sampled_from(["x" * 5000, "a/" * 3000, "", " ", "\x1b]0;title\x07", "inner.lr=", "=", "a=b=c"]),
)
PAIRS = st.builds(
    lambda key, value: f"{key}={value}",
    KEYS | st.sampled_from(["inner.lr", "task", "seed", "test.episodes", "network.filters", "path", "size"]),
    VALUES | TEXTS,
) | st.sampled_from(["seed=0", "task=*", "learner=*maml", "inner.lr=0.4", "network.norm=group"])
RUN = RUN_OPTIONS.split()
OPTIONS = {
    ("run", "small.toml"): RUN,
    ("run", "small.toml", "--dry-run"): RUN,
    ("list", "small.toml"): ["--only", "--set", "--results", "--plugin"],
    ("report", "small.toml"): ["--format", "--interval", "--set", "--results", "--plugin", "--only", "--table"],
    ("clean", "small.toml"): ["--set", "--results"],
    ("evaluate", "small.toml", "--only", "seed=none"): ["--only", "--set", "--results", "--device"],
    ("episodes", "dump", "small.toml", "--task", "none"): ["--out", "--set", "--data-root"],
    ("data", "show", "folder"): ["--split", "--classes", "--episode", "--ways", "--option", "--data-root", "--out"],
    ("data", "info", "folder"): ["--option", "--data-root"],
    ("data", "verify"): [""],
    ("config", "explain"): [""],
    ("learners",): [""],
    ("datasets",): [""],
    ("protocols",): [""],
    ("list",): [""],
    ("compare", "results/small"): [""],
    ("--bogus",): [""],
    ("bogus",): [""],
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with options whose values are anything; arguments without an option as well."""
    start = draw(st.sampled_from(list(OPTIONS)))
    arguments = list(start)
    for _ in range(draw(st.integers(1, 3))):
        option = draw(st.sampled_from(OPTIONS[start]))
        value = draw(PAIRS if option in ("--set", "--only", "--option", "--slurm") else TEXTS)
        arguments += [option, value] if option else [value]
    return arguments


@FUZZ
@given(arguments=command_lines())
def test_options(done: Path, arguments: list[str]) -> None:
    check(done, *arguments)
