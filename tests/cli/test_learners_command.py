"""`fewshot-km learners`: lists as ever; checks, describes, and begins a learner."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fewshot_km.cli.app import app
from fewshot_km.learners import LEARNERS

InProcess = Callable[..., Any]

SLOPPY = """
import torch
from fewshot_km.learners import ANIL, register


@register("sloppy")
class Sloppy(ANIL):
    \"\"\"Keeps its delta on self (Nobody 2025).

    strength  how sloppy: 1 is enough to notice
    \"\"\"

    def __init__(self, make_network, inner, strength: float = 1.0):
        super().__init__(make_network, inner)
        self.strength = strength

    def adapt(self, meta, x, y, *, steps):
        self.delta = super().adapt(meta, x, y, steps=steps)
        return self.delta

    def predict(self, meta, delta, x):
        use_own = self.strength and not torch.is_grad_enabled()
        return super().predict(meta, self.delta if use_own else delta, x)
"""


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "sloppy.py").write_text(SLOPPY)
    with LEARNERS.temporarily():
        yield lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_without_a_command_it_lists(in_process: InProcess) -> None:
    bare = in_process("learners").stdout.splitlines()
    assert [line.split()[0] for line in bare] == ["learner", *LEARNERS.names()]
    assert in_process("learners", "list").stdout.splitlines() == bare
    assert in_process("learners", "*m*").stdout.splitlines()[1].startswith("bn-maml")
    assert "sloppy" in in_process("learners", "--plugin", "sloppy.py").stdout
    assert in_process("learners", "--plugin", "sloppy.py", "sl*").stdout.count("\n") == 2


@pytest.mark.slow
def test_check_prints_a_line_for_each_check_and_its_status(in_process: InProcess) -> None:
    sound = in_process("learners", "check", "anil")
    assert sound.exit_code == 0
    lines = sound.stdout.splitlines()
    assert all(line.startswith("passed") for line in lines[:-1])
    assert lines[-1] == f"learner 'anil': {len(lines) - 1} checks passed"

    broken = in_process("learners", "check", "sloppy", "--plugin", "sloppy.py")
    assert broken.exit_code == 1
    (failed,) = [line for line in broken.stdout.splitlines() if line.startswith("failed")]
    assert failed.startswith("failed  tasks apart: a task is answered differently after another one")
    assert "; sloppy.py:21 (Sloppy.predict); keep nothing on self" in failed
    mended = in_process("learners", "check", "sloppy", "--plugin", "sloppy.py", "--option", "strength=0.0")
    assert mended.exit_code == 0, mended.stdout


@pytest.mark.slow
def test_describe_says_what_a_learner_is(in_process: InProcess) -> None:
    """Parameters as counted by hand: 64 features and a bias for each of 5 classes; 4 modulators of 2 x 9 x 9."""
    text = in_process("learners", "describe", "km-maml").stdout
    lines = {line[:15].strip(): line[15:] for line in text.splitlines()}
    convolutions = 64 * 9 + 64 + 3 * (64 * 64 * 9 + 64)
    adapted = 4 * 2 * 81 + 4 * 2 * 64 + 65 * 5
    assert lines["parameters"].startswith(f"{convolutions + adapted:,} meta-trained, {adapted:,} stored for each task")
    assert lines["reference"] == "Hu & Liu 2022, arXiv 2203.15297"
    assert lines["option"].startswith("norm_affine = 'full': implicit modulation (paper Eq. 5-8)")
    assert lines["transductive"] == "yes with norm = batch, no with norm = group"
    assert lines["backends"].startswith("plain; fused; vmap; compiled")
    theirs = in_process("learners", "describe", "sloppy", "--plugin", "sloppy.py").stdout
    assert "reference      Nobody 2025\n" in theirs
    assert "option         strength = 1.0: how sloppy: 1 is enough to notice\n" in theirs
    assert "sloppy.py:6 (Sloppy)\n" in theirs


def test_new_writes_a_package_that_the_check_accepts(tmp_path: Path, in_process: InProcess) -> None:
    done = in_process("learners", "new", "my-idea")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:1] == ["wrote my-idea/my_idea.py"]
    assert "fewshot-km learners check my-idea --plugin my-idea/my_idea.py" in done.stdout
    assert {str(file.relative_to(tmp_path)) for file in (tmp_path / "my-idea").rglob("*") if file.is_file()} == {
        "my-idea/my_idea.py",
        "my-idea/pyproject.toml",
        "my-idea/tests/test_my_idea.py",
    }
    again = in_process("learners", "new", "my-idea")
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr.startswith("error: my-idea is there already")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["check", "mml"], "error: unknown learner 'mml': did you mean 'maml'"),
        (["describe", "mml"], "error: unknown learner 'mml'"),
        (["check", "anil", "--network", "conv5"], "error: unknown network 'conv5'"),
        (["check", "anil", "--option", "x"], "error: --option x: write KEY=VALUE"),
        (["check", "anil", "--inner-lr", "nan"], "error: Invalid value for '--inner-lr': 'nan' is no number from"),
        (["new", "My Idea"], "error: 'My Idea' cannot name a learner's package"),
    ],
)
def test_bad_input_is_one_line(in_process: InProcess, words: list[str], says: str) -> None:
    done = in_process("learners", *words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(says)
