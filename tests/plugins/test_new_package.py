"""The package that `learners new` writes installs without a network, is found by its entry point, and tests itself."""

import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from fewshot_km.errors import ConfigError
from fewshot_km.plugins.new_package import write_package

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = {found.name for found in distributions()}  # looking for the module pip would change how setuptools imports


def run(*command: object, folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "200"}
    words = [sys.executable, "-m", *map(str, command)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(not {"pip", "setuptools"} <= INSTALLED, reason="needs pip and setuptools")
def test_the_package_installs_is_found_and_passes_its_test(tmp_path: Path) -> None:
    write_package("my-idea", tmp_path)
    package, site = tmp_path / "my-idea", tmp_path / "site"
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--target", site)
    installed = run("pip", "install", *options, package, folder=tmp_path, path="")
    assert installed.returncode == 0, installed.stderr
    path = f"{site}{os.pathsep}{ROOT}"
    listed = run("fewshot_km", "learners", folder=tmp_path, path=path)
    assert re.search(r"my-idea +Every bias and the head adapt\.", listed.stdout), listed.stderr
    tested = run("pytest", "-q", "-p", "no:cacheprovider", folder=package, path=path)
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "my-idea").mkdir()
    (tmp_path / "my-idea" / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="my-idea is there already, and nothing is overwritten"):
        write_package("my-idea", tmp_path)
    assert [file.name for file in (tmp_path / "my-idea").iterdir()] == ["notes"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My Idea", "use small letters, digits and -"),
        ("../elsewhere", "use small letters, digits and -"),
        ("7th", "use small letters"),
        ("class", "cannot name a Python module"),
        ("maml", "there is a learner 'maml' already"),
        ("torch", "there is a Python module 'torch' already"),
        ("json", "there is a Python module 'json' already"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        write_package(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
