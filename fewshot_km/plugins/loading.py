"""Learners, networks and data sets from outside the package: a user's file, or an installed package's entry points."""

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from fewshot_km.data import DATASETS
from fewshot_km.errors import PluginError, describe_error
from fewshot_km.learners import LEARNERS
from fewshot_km.models import NETWORKS
from fewshot_km.plugins.boundary import plugin_code
from fewshot_km.plugins.sources import note_plugin
from fewshot_km.registry import Registry

ENTRY_POINT_GROUPS: dict[str, Registry[Any]] = {
    "fewshot_km.learners": LEARNERS,
    "fewshot_km.networks": NETWORKS,
    "fewshot_km.datasets": DATASETS,
}
"""Registries by entry-point group; an entry point has the name that its module registers."""


def load_plugin(path: Path) -> None:
    """Run a Python file that registers things, once; it can import the files beside it.

    Raises PluginError with the file and line of an error in it.
    """
    if path.suffix != ".py" or not path.is_file():
        raise PluginError(f"--plugin {path}: there is no such Python file")
    place = path.resolve()
    name = f"fewshot_km_plugin_{path.stem}_{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    if str(place.parent) not in sys.path:
        sys.path.append(str(place.parent))
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    note_plugin(place)
    try:
        with plugin_code(lambda error: PluginError(f"--plugin {path}: {describe_error(error, place)}")):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def load_plugins(paths: Iterable[Path]) -> None:
    """Load these files, then find the source files of all plug-ins, at the same moment in every process."""
    for path in paths:
        load_plugin(path)
    for registry in ENTRY_POINT_GROUPS.values():
        registry.find_all_sources()


def load_entry_points() -> None:
    """Import the plug-ins of installed packages; raises PluginError with the package that cannot be loaded."""
    for group, registry in ENTRY_POINT_GROUPS.items():
        for point in entry_points(group=group):
            package = point.dist.name if point.dist else "?"
            offer = f"the installed package '{package}' offers '{point.name}' ({group}) but it cannot be loaded"
            with plugin_code(
                lambda error, offer=offer: PluginError(f"{offer}: {describe_error(error)}; repair or uninstall it"),  # type: ignore[misc]
                passes=(),
            ):
                point.load()
                registry.get(point.name)  # loading must have registered it
