"""The source files of a plug-in and their digest: an edited helper makes another cell, as an edited plug-in does.

The sources of a plug-in file are the files in or below its folder that it imports, anywhere in its code, or that were
loaded from there by other means. The sources of an installed package are its modules that were loaded. Other files do
not matter, nor does the place of the folder. Data files that a plug-in reads are not known here.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = __name__.split(".")[0]
_INSTALLED = {"site-packages", "dist-packages"}
_NOT_PLUGINS = [
    Path(__file__).resolve().parents[1],
    *(Path(sysconfig.get_path(k)).resolve() for k in ("stdlib", "platlib")),
]

_plugin_files: list[Path] = []
_registering: set[str] = set()  # names of modules


def note_plugin(file: Path) -> None:
    """Take note of a plug-in file that is about to run: the files beside it and below belong to it."""
    _plugin_files.append(file)


def note_registration(module: str) -> None:
    """Take note of a module whose code registers something."""
    if module.split(".")[0] != PACKAGE:
        _registering.add(module)


@dataclass(frozen=True)
class Place:
    """The folder of a plug-in's modules; of an installed package, only the modules of `package` there."""

    folder: Path
    package: str = ""

    def holds(self, file: Path) -> bool:
        """Check whether a file can belong to the plug-in."""
        if not file.is_relative_to(self.folder):
            return False
        parts = file.relative_to(self.folder).parts
        if self.package:
            return Path(parts[0]).stem == self.package
        return not _INSTALLED.intersection(parts) and self.folder.name not in _INSTALLED and not _is_foreign(file)

    def loaded(self) -> set[Path]:
        """Return the files of the modules that were loaded from here."""
        found = set()
        for name, module in list(sys.modules.items()):
            file, top = _file_of(module), _file_of(sys.modules.get(name.split(".")[0]))
            if file and self.holds(file) and (top is None or self.holds(top)):  # torch's compiler generates others
                found.add(file)
        return found


@dataclass(frozen=True)
class Sources:
    """The files of one plug-in, as they were known when first asked for; `main` registered it."""

    place: Place
    main: Path
    files: frozenset[Path]

    @property
    def digest(self) -> str:
        """SHA-256 of the names, relative to the folder, and of the contents as this process first read them."""
        lines = sorted(
            f"{'' if file == self.main else file.relative_to(self.place.folder).as_posix()} {_content_digest(file)}\n"
            for file in self.files
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def loaded_since(self) -> list[str]:
        """Return the files that were loaded after the digest was taken, and are not part of it."""
        late = self.place.loaded() - self.files - _of_other_plugins(self.main, self.place)
        return sorted(file.relative_to(self.place.folder).as_posix() for file in late)


def find_sources(entry: Any, module: str | None) -> Sources | None:
    """Find the files of an entry that code in `module` registered; None for an entry of this package."""
    made_in = str(getattr(entry, "__module__", None) or type(entry).__module__)
    name = next((n for n in (module, made_in) if n and n.split(".")[0] != PACKAGE), None)
    file = _file_of(sys.modules.get(name)) if name else None
    if name is None or file is None:
        return None
    place = _place_of(file, name)
    entry_file = _file_of(sys.modules.get(made_in))
    start = {file, *([entry_file] if entry_file and place.holds(entry_file) else [])}
    start |= {plugin for plugin in _plugin_files if place.holds(plugin) and file in _imported(plugin, place)}
    known = {one for plugin in start for one in _imported(plugin, place)}
    return Sources(place, file, frozenset(known | (place.loaded() - _of_other_plugins(file, place))))


def is_in_plugin(file: Path) -> bool:
    """Check whether the code in this file belongs to a plug-in file or to a package that registers something."""
    files = {name: _file_of(sys.modules.get(name)) for name in _registering}
    places = [*(Place(plugin.parent) for plugin in _plugin_files), *(_place_of(f, n) for n, f in files.items() if f)]
    return any(place.holds(file) for place in places)


def _of_other_plugins(main: Path, place: Place) -> set[Path]:
    """The files of other plug-ins in the same folder; whether those are loaded must not change a digest."""
    others = [plugin for plugin in _plugin_files if place.holds(plugin) and main not in _imported(plugin, place)]
    return {file for plugin in others for file in _imported(plugin, place)}


def _place_of(file: Path, module: str) -> Place:
    folders = [plugin.parent for plugin in _plugin_files if Place(plugin.parent).holds(file)]
    if folders:
        return Place(max(folders, key=lambda folder: len(folder.parts)))
    parts = module.split(".")
    depth = len(parts) - (file.name != "__init__.py")
    folder = file.parents[depth] if depth < len(file.parents) else file.parent
    is_package = Path(folder, *parts).with_suffix(".py") == file or Path(folder, *parts, "__init__.py") == file
    return Place(folder, parts[0]) if is_package else Place(file.parent)


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return _resolved(file) if isinstance(file, str) else None


@cache
def _resolved(file: str) -> Path | None:
    path = Path(file).resolve()
    return path if path.is_file() else None


@cache
def _is_foreign(file: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in _NOT_PLUGINS)


@cache
def _imported(file: Path, place: Place) -> frozenset[Path]:
    """The file, and the files in the place that its import statements lead to, directly or not."""
    found, left = {file}, [file]
    while left:
        for other in _imports(left.pop(), place):
            if other not in found:
                found.add(other)
                left.append(other)
    return frozenset(found)


def _imports(file: Path, place: Place) -> Iterator[Path]:
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (OSError, SyntaxError, ValueError, RecursionError):  # compiled, or never to be loaded
        return
    package = file.relative_to(place.folder).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: max(0, len(package) - node.level + 1)] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        else:
            continue
        for parts in names:
            for end in range(1, len(parts) + 1):
                at = place.folder.joinpath(*parts[:end])
                yield from (
                    f for f in (at.with_name(f"{at.name}.py"), at / "__init__.py") if f.is_file() and place.holds(f)
                )


@cache
def _content_digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
