"""What the README shows works as shown."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.core import TyperGroup
from typer.main import get_command

from fewshot_km.cli.app import app
from fewshot_km.cli.learners_command import ListsByDefault
from fewshot_km.experiments.settings.grid import load_grid
from fewshot_km.learners import LEARNERS, InnerLoop, build_learner
from fewshot_km.plugins.loading import load_plugin
from tests.support.networks_under_test import OMNIGLOT_20_WAY

ROOT = Path(__file__).resolve().parents[1]


COMMAND = re.compile(r"^(?:fewshot-km|torchrun --nproc-per-node \d+ -m fewshot_km) (.*?)(?: +#.*)?$", re.M)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_COMMANDS = [page for page in PAGES if COMMAND.search(page.read_text(encoding="utf-8"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: path.name)
def test_every_command_that_is_shown_has_its_options(document: Path) -> None:
    """Each command line of the document against the command line itself, without running it."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    shown = COMMAND.findall(text)
    group = get_command(app)
    for line in shown:
        command: Any = group
        words = shlex.split(line)
        while isinstance(command, TyperGroup):
            words = command.completed(words) if isinstance(command, ListsByDefault) else words
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options, line


def block(page: Path, language: str, beginning: str) -> str:
    """The page's code block of that language that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    (found,) = [b for b in blocks if b.startswith(beginning)]
    return str(found)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "grids.md"], ids=lambda path: path.name)
def test_the_grid_is_valid(page: Path, tmp_path: Path) -> None:
    path = tmp_path / "my-grid.toml"
    path.write_text(block(page, "toml", "# my-grid.toml"))
    grid = load_grid(path)
    assert len(grid.cells) == 3 * 5
    assert {cell.config.inner.lr for cell in grid.cells} == {2.0}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "learners.md"], ids=lambda path: path.name)
def test_the_learner_is_complete(page: Path, tmp_path: Path) -> None:
    path = tmp_path / "last_block.py"
    path.write_text(block(page, "python", "# last_block.py"))
    with LEARNERS.temporarily():
        load_plugin(path)
        learner = build_learner("last-block", {}, OMNIGLOT_20_WAY.make, InnerLoop(0.4))
    delta = learner.adapt(learner.init(0), torch.rand(20, 1, 28, 28), torch.arange(20), steps=1)
    assert sum(v.numel() for v in delta.values()) == 64 * 64 * 9 + 64 + 2 * 64 + 1_300


def test_the_dependencies_that_are_pinned_are_those_that_are_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = {
        re.split(r"[<>=]", d)[0].lower() for d in [*project["dependencies"], *(d for e in extras.values() for d in e)]
    }
    assert {d for extra in ("ray", "slurm", "tensorboard") for d in extras[extra]} <= set(extras["test"])
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line and not line.startswith("#")}
    assert asked <= pinned
