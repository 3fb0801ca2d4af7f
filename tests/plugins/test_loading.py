"""Plug-in files: what they register is there, what is wrong with them is one line."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewshot_km.errors import PluginError
from fewshot_km.learners import LEARNERS
from fewshot_km.plugins.loading import load_entry_points, load_plugin
from tests.support.command_line import ROOT

FIRST_ORDER_MAML = ROOT / "tests" / "support" / "first_order_maml.py"


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with LEARNERS.temporarily():
        yield


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


def write_plugin(folder: Path, name: str, files: dict[str, str], registers: str = "mine") -> Path:
    """A plug-in file `<name>.py` with other files beside it; names are made its own, as modules are loaded once."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"from fewshot_km.learners import ANIL, register\n\n@register('{registers}')\nclass Mine(ANIL): ...\n"
    for path, text in {f"{name}.py": "", **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / f"{name}.py").write_text(files.get(f"{name}.py", "") + "\n" + code)
    return folder / f"{name}.py"


HELPERS = {  # what a plug-in does to get at its helper, and where that is
    "beside it": ("import {0}_helper", "{0}_helper.py"),
    "one constant": ("from {0}_helper import A", "{0}_helper.py"),
    "a package": ("from {0}_lib import A", "{0}_lib/__init__.py"),
    "a module of a package": ("import {0}_lib.part", "{0}_lib/part.py"),
    "a submodule by from": ("from {0}_lib import part", "{0}_lib/part.py"),
    "a folder without __init__": ("from {0}_lib.deep import part", "{0}_lib/deep/part.py"),
    "in a function": ("def later():\n    from {0}_lib.part import A", "{0}_lib/part.py"),
    "by its name": ("import importlib\nimportlib.import_module('{0}_helper')", "{0}_helper.py"),
    "from a folder below": (
        "import sys\nfrom pathlib import Path\nsys.path.append(str(Path(__file__).parent / 'sub'))\n"
        "import importlib\n{0} = importlib.import_module('{0}_below')",
        "sub/{0}_below.py",
    ),
    "a helper's helper": ("import {0}_first", "{0}_lib/second.py"),
    "relative, two levels": ("import {0}_lib.deep.first", "{0}_lib/other.py"),
}
EXTRA = {
    "a helper's helper": {"{0}_first.py": "from {0}_lib import second"},
    "relative, two levels": {"{0}_lib/deep/first.py": "from ..other import A", "{0}_lib/__init__.py": ""},
}


def digest_of(folder: Path, how: str, helper_text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a plug-in with a helper, in a process that has not seen either before."""
    code, helper = HELPERS[how]
    files = {"p.py": code, helper: helper_text, **EXTRA.get(how, {})}
    with monkeypatch.context() as patch, LEARNERS.temporarily():
        patch.setattr(sys, "path", list(sys.path))
        before = set(sys.modules)
        load_plugin(write_plugin(folder, "p", {path.format("p"): text.format("p") for path, text in files.items()}))
        sources = LEARNERS.sources("mine")
        for name in set(sys.modules) - before:
            del sys.modules[name]
    assert sources is not None
    assert folder / helper.format("p") in sources.files
    return sources.digest


@pytest.mark.parametrize("how", HELPERS)
def test_an_edited_helper_is_another_plugin(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["A = 1", "A = 2", "A = 1"]
    first, edited, taken_back = (
        digest_of(tmp_path / str(number), how, text, monkeypatch) for number, text in enumerate(texts)
    )
    assert first != edited
    assert first == taken_back


def test_a_digest_does_not_depend_on_where_and_with_what_a_plugin_lies(tmp_path: Path) -> None:
    """In processes of their own, where modules of one name are told apart."""
    files = {"mine.py": "import helper, package.part", "helper.py": "A = 1", "package/part.py": ""}
    elsewhere = tmp_path / "quite" / "elsewhere"
    paths = [write_plugin(folder, "mine", files) for folder in (tmp_path / "one", elsewhere)]
    (elsewhere / "unrelated.py").write_text("B = 1")
    (elsewhere / "package" / "unrelated.py").write_text("B = 1")
    beside = write_plugin(elsewhere, "theirs", {"theirs.py": "import their_helper", "their_helper.py": ""}, "theirs")

    def digest(*plugins: Path) -> str:
        load = "".join(f"load_plugin(Path({str(path)!r}));" for path in plugins)
        code = f"from fewshot_km.plugins.loading import *; {load} print(LEARNERS.source_digest('mine'))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    first = digest(paths[0])
    assert [digest(paths[1]), digest(beside, paths[1]), digest(paths[1], beside)] == [first] * 3
    (elsewhere / "helper.py").write_text("A = 2")
    assert digest(paths[1]) != first


def test_a_module_that_is_loaded_later_is_named(tmp_path: Path) -> None:
    code = "import importlib\ndef later():\n    importlib.import_module('loaded_late')"
    path = write_plugin(tmp_path, "lately", {"lately.py": code, "loaded_late.py": ""}, "lately")
    load_plugin(path)
    sources = LEARNERS.sources("lately")
    assert sources is not None
    assert sources.loaded_since() == []
    sys.modules[LEARNERS.get("lately").__module__].later()
    assert sources.loaded_since() == ["loaded_late.py"]
    assert LEARNERS.sources("lately") is sources


def test_whatever_a_plugin_registers_has_its_source(tmp_path: Path) -> None:
    """A class of ours, a partial, an object: what is edited is the file that registers it."""
    code = (
        "from functools import partial\nfrom fewshot_km.learners import ANIL, MAML, register\n"
        "register('ours again')(ANIL)\nregister('partly')(partial(MAML, norm_affine='bias'))\n"
        "class Maker:\n    def __call__(self, make_network, inner):\n        return ANIL(make_network, inner)\n"
        "register('made')(Maker())\n"
    )
    path = tmp_path / "several.py"
    path.write_text(code)
    load_plugin(path)
    for name in ("ours again", "partly", "made"):
        sources = LEARNERS.sources(name)
        assert sources is not None
        assert sources.files == {path}
    assert LEARNERS.source_digest("anil") is None


def test_of_an_installed_package_every_loaded_module_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "their_whole"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("from their_whole import learner\nfrom their_whole.deep import more\n")
    (package / "learner.py").write_text(
        "from fewshot_km.learners import ANIL, register\n\n@register('theirs')\nclass Theirs(ANIL): ...\n"
    )
    (package / "deep" / "more.py").write_text("")
    (package / "never.py").write_text("")
    (tmp_path / "beside.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("their_whole")
    importlib.import_module("beside")
    sources = LEARNERS.sources("theirs")
    assert sources is not None
    assert {str(file.relative_to(package)) for file in sources.files} == {"__init__.py", "learner.py", "deep/more.py"}


def test_a_file_is_loaded_once_and_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        code = f"from helper_of_{folder} import NAME\nfrom fewshot_km.learners import ANIL, register\n\n"
        (tmp_path / folder / "mine.py").write_text(code + "@register(NAME)\nclass Mine(ANIL): ...\n")
        (tmp_path / folder / f"helper_of_{folder}.py").write_text(f"NAME = 'mine-{folder}'\n")
        load_plugin(tmp_path / folder / "mine.py")
        load_plugin(tmp_path / folder / "mine.py")
    one, two = (LEARNERS.source_digest(f"mine-{folder}") for folder in ("one", "two"))
    assert one != two
    assert LEARNERS.source_digest("maml") is None
