"""The plug-ins of a cell: digests of their files, and checks that the files are still the same."""

from collections.abc import Iterator
from typing import Any

from fewshot_km.data import DATASETS
from fewshot_km.errors import PluginError
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.learners import LEARNERS
from fewshot_km.models import NETWORKS
from fewshot_km.registry import Registry


def source_digests(config: CellConfig) -> dict[str, str]:
    """Return the digest of each plug-in that the settings name, by kind; entries of this package have none."""
    digests = ((kind, registry.source_digest(name)) for kind, registry, name in _named(config))
    return {kind: digest for kind, digest in digests if digest}


def check_sources(config: CellConfig) -> None:
    """Raise PluginError if this process has read other files than the process that resolved the settings."""
    now = source_digests(config)
    for kind, registry, name in _named(config):
        if config.plugin_sources.get(kind, now.get(kind)) != now.get(kind):
            raise PluginError(
                f"the plug-in of {registry.kind} '{name}' was edited after the run began: start it again, which runs "
                "its cells anew"
            )


def say_loaded_late(config: CellConfig) -> list[str]:
    """Return a warning for each plug-in that has loaded files that are not part of its digest."""
    found = ((registry, name, registry.sources(name)) for _, registry, name in _named(config))
    return [
        f"the plug-in of {registry.kind} '{name}' loaded {', '.join(late)} only while it ran: an edit of that will "
        f"not be noticed; let {sources.main.name} import it by an import statement"
        for registry, name, sources in found
        if sources and (late := sources.loaded_since())
    ]


def _named(config: CellConfig) -> Iterator[tuple[str, Registry[Any], str]]:
    yield "dataset", DATASETS, config.task.dataset.name
    yield "network", NETWORKS, config.network.name
    yield "learner", LEARNERS, config.learner.name
