"""A package for a new learner: its entry point, a learner that works, and a test that checks it."""

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template

from fewshot_km.errors import ConfigError
from fewshot_km.learners import LEARNERS

_TEMPLATES = Path(__file__).parent / "template"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_package(name: str, parent: Path) -> list[Path]:
    """Write the package `name` into a new folder of `parent`, and return its files, the learner's first.

    Raises ConfigError for a name that is no package's or already taken, and where the folder is there already.
    """
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' cannot name a learner's package: use small letters, digits and -, as in my-idea")
    if keyword.iskeyword(module):
        raise ConfigError(f"'{name}' cannot name a Python module, as Python has that word itself: choose another name")
    if name in LEARNERS or importlib.util.find_spec(module):
        taken = f"learner '{name}'" if name in LEARNERS else f"Python module '{module}'"
        raise ConfigError(f"there is a {taken} already: choose another name")
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise ConfigError(
            f"{folder} is there already, and nothing is overwritten: choose another name, or move it away"
        )
    words = [word.capitalize() for word in name.split("-")]
    texts = {"name": name, "module": module, "cls": "".join(words), "title": " ".join(words)}
    files = {
        folder / f"{module}.py": "learner.py.txt",
        folder / "tests" / f"test_{module}.py": "test_learner.py.txt",
        folder / "pyproject.toml": "pyproject.toml.txt",
    }
    (folder / "tests").mkdir(parents=True)
    for file, template in files.items():
        text = Template((_TEMPLATES / template).read_text(encoding="utf-8"))
        file.write_text(text.substitute(texts), encoding="utf-8")
    return list(files)
