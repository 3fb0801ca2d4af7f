"""Plug-in files: what they register is there, what is wrong with them is one line."""

import hashlib
from pathlib import Path

import pytest

from fewshot_km.errors import PluginError
from fewshot_km.learners import LEARNERS
from fewshot_km.plugins import load_entry_points, load_plugin

FIRST_ORDER_MAML = Path(__file__).with_name("first_order_maml.py")


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LEARNERS, "_entries", dict(LEARNERS._entries))


def test_a_learner_in_a_users_file_is_registered() -> None:
    assert len(FIRST_ORDER_MAML.read_text().splitlines()) < 25
    load_plugin(FIRST_ORDER_MAML)
    assert "my-fomaml" in LEARNERS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nthis is no python\n", r"bad.py: line 2: SyntaxError"),
        ("x = 1\n\nimport nowhere_to_be_found\n", r"bad.py: line 3: ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"bad.py: line 2: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", r"bad.py: line 1: SystemExit: 3"),
        ("from fewshot_km.learners import *\nregister('maml')(ANIL)\n", r"learner 'maml' is already registered by"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(text)
    with pytest.raises(PluginError, match=message) as caught:
        load_plugin(bad)
    assert "\n" not in str(caught.value)


def test_a_plugin_must_be_a_python_file(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="there is no such Python file"):
        load_plugin(tmp_path / "nowhere.py")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(PluginError, match="there is no such Python file"):
        load_plugin(tmp_path / "notes.txt")


def install(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with an entry point, as pip would lay it out."""
    (folder / "their_package.py").write_text(code)
    metadata = folder / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[fewshot_km.learners]\ntheirs = their_package\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(__import__("sys").modules, "their_package", raising=False)


def test_installed_packages_are_found_by_their_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from fewshot_km.learners import ANIL, register\n\n@register('theirs')\nclass Theirs(ANIL): ...\n"
    install(tmp_path, code, monkeypatch)
    load_entry_points()
    assert "theirs" in LEARNERS


def test_an_installed_package_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "import nowhere_to_be_found\n", monkeypatch)
    with pytest.raises(PluginError, match=r"package 'their-package' offers 'theirs' .*No module named .*uninstall it"):
        load_entry_points()


def test_an_entry_point_must_register_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "from fewshot_km.learners import ANIL\n", monkeypatch)
    with pytest.raises(PluginError, match=r"package 'their-package' offers 'theirs' .*unknown learner 'theirs'"):
        load_entry_points()


def test_a_file_is_loaded_once_and_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        code = f"from helper_of_{folder} import NAME\nfrom fewshot_km.learners import ANIL, register\n\n"
        (tmp_path / folder / "mine.py").write_text(code + "@register(NAME)\nclass Mine(ANIL): ...\n")
        (tmp_path / folder / f"helper_of_{folder}.py").write_text(f"NAME = 'mine-{folder}'\n")
        load_plugin(tmp_path / folder / "mine.py")
        load_plugin(tmp_path / folder / "mine.py")
    one, two = (LEARNERS.source_digest(f"mine-{folder}") for folder in ("one", "two"))
    expected = [hashlib.sha256((tmp_path / f / "mine.py").read_bytes()).hexdigest() for f in ("one", "two")]
    assert [one, two] == expected
    assert LEARNERS.source_digest("maml") is None
