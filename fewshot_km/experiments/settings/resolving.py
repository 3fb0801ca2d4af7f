"""What a task and a learner of a grid file say together: the labels and settings of their cells, and every mistake."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from fewshot_km.data import DATASETS
from fewshot_km.errors import FewshotError, MistakesError, UnknownNameError
from fewshot_km.experiments.protocols import Protocol, find_protocol
from fewshot_km.experiments.settings.cell_settings import (
    CellConfig,
    DatasetConfig,
    InnerConfig,
    LearnerConfig,
    NetworkConfig,
    OuterConfig,
    Section,
    TestConfig,
    ValidationConfig,
)
from fewshot_km.experiments.settings.plugin_use import source_digests
from fewshot_km.experiments.settings.problems import Place, dotted, explain
from fewshot_km.learners import LEARNERS
from fewshot_km.models import NETWORKS
from fewshot_km.registry import Registry

SECTIONS: dict[str, type[Section]] = {
    "network": NetworkConfig,
    "inner": InnerConfig,
    "outer": OuterConfig,
    "validation": ValidationConfig,
    "test": TestConfig,
}
"""Tables that may stand at the top of a grid file and, for what differs, inside a task or a learner."""

SHARED_BY_LEARNERS = ("validation", "test")
LISTED = ("ways", "shots")
"""Keys of a task that may be lists: it is a task for each combination then."""

# what else lies beside the folders of tasks and of learners
_TAKEN = "figures|jobs|tensorboard|(?:table|report|tuning|test_examples)[.].*"
_LABEL = re.compile(rf"(?i:(?!(?:{_TAKEN})$))[A-Za-z0-9][A-Za-z0-9._+=-]{{0,99}}")
LABEL_RULE = (
    "becomes a folder: use at most 100 letters, digits and ._+=-, but neither 'figures', 'jobs' or 'tensorboard' nor "
    "what begins with 'table.', 'report.', 'tuning.' or 'test_examples.', which lie beside it"
)

Say = Callable[[str], object]
"""Takes a mistake, without the file's name."""


def is_label(label: object) -> bool:
    """Whether it can name a folder of results."""
    return isinstance(label, str) and _LABEL.fullmatch(label) is not None


@dataclass(frozen=True)
class Entry:
    """A task or a learner of a grid file, and where it stands; a learner by its name alone is a table with a name."""

    place: str
    table: Mapping[str, Any]

    def count(self) -> int:
        """How many tasks it is at most."""
        return math.prod(len(values) for values in self._listed().values())

    def tasks(self, say: Say) -> list["Entry"]:
        """A task for each combination of its ways and shots, in their order, the shots faster."""
        listed = self._listed()
        for key, values in listed.items():
            once = list({repr(value): value for value in values}.values())
            if len(once) < len(values):
                say(f"{self.place}.{key}: each number once; got {values}")
            if not values:
                say(f"{self.place}.{key}: []: name at least one number")
            listed[key] = once
        tables = [{**self.table, **dict(zip(listed, values, strict=True))} for values in product(*listed.values())]
        return [Entry(self.place, table) for table in tables]

    def _listed(self) -> dict[str, list[Any]]:
        given = {key: self.table[key] for key in LISTED if key in self.table}
        return {key: value if isinstance(value, list) else [value] for key, value in given.items()}


@dataclass(frozen=True)
class Resolved:
    """Labels and settings of one task and learner, for any seed."""

    task: str
    learner: str
    config: CellConfig
    protocol: Protocol | None


def resolve(
    raw: Mapping[str, Any], task: Entry, learner: Entry, overrides: Mapping[str, Any], *, is_one: bool, say: Say
) -> Resolved | None:
    """One task and one learner; None where there are mistakes, which are said.

    Overrides stand over the learner's tables, these over the task's, over the file's, over the protocol's. Not
    `is_one`: the task is one of several that an entry of the file makes.
    """
    mistakes: list[str] = []
    try:
        protocol = find_protocol(task.table["protocol"]) if "protocol" in task.table else None
    except UnknownNameError as error:
        say(f"{task.place}.protocol: {error}")
        return None  # what else it lacks may stand in the protocol that was meant
    merged: dict[str, Any] = {"seed": 0}
    origin: dict[Place, str] = {("task",): task.place, ("learner",): learner.place}
    base = protocol.tables if protocol else {}
    layers = (
        (base, f"protocol {protocol}: "),
        (raw, ""),
        (task.table, f"{task.place}."),
        (learner.table, f"{learner.place}."),
        (overrides, "--set "),
    )
    for layer, place in layers:
        for section in SECTIONS:
            table = layer.get(section, {})
            settings = merged.setdefault(section, {})
            if not isinstance(table, Mapping):
                if layer is not raw:  # of which it is said
                    mistakes.append(f"{place}{section}: must be a table of keys, not {table!r}")
                continue
            if layer is learner.table and table and section in SHARED_BY_LEARNERS:
                mistakes.append(f"{place}{section}: all learners share their episodes; put it into the task")
                continue
            if "name" in table and table["name"] != settings.get("name"):
                settings.clear()  # another network: options of the one before are not its own
            settings.update(table)
            origin.update({(section, str(key)): f"{place}{section}.{key}" for key in table})
    beside = {*SECTIONS, "label", "protocol"}
    merged["task"] = dict(base.get("task", {})) | {k: v for k, v in task.table.items() if k not in beside}
    merged["learner"] = {k: v for k, v in learner.table.items() if k not in beside}

    def locate(loc: Place) -> str:
        for depth in range(len(loc), 0, -1):
            if loc[:depth] in origin:
                return dotted((origin[loc[:depth]], *loc[depth:]))
        return dotted(loc)

    config = None
    try:
        config = CellConfig.model_validate(merged)
    except ValidationError as error:
        mistakes += explain(error, CellConfig, locate)
    network = {"name": NetworkConfig().name, **merged["network"]}
    found = {
        "dataset": _options(DATASETS, merged["task"].get("dataset"), locate(("task", "dataset")), mistakes),
        "network": _options(NETWORKS, network, locate(("network", "name")), mistakes),
        "learner": _options(LEARNERS, merged["learner"], locate(("learner",)), mistakes),
    }
    labels = _task_label(task, config, is_one=is_one), learner.table.get("label", merged["learner"].get("name"))
    for label, entry in zip(labels, (task, learner), strict=True):
        if not is_label(label) and (config or "label" in entry.table):
            mistakes.append(f"{entry.place}.label: {entry.table.get('label', label)!r} {LABEL_RULE}")
    for mistake in mistakes:
        say(mistake)
    if mistakes or config is None:
        return None
    config = config.model_copy(
        update={
            "task": config.task.model_copy(update={"dataset": DatasetConfig(**found["dataset"])}),
            "network": NetworkConfig(**found["network"]),
            "learner": LearnerConfig(**found["learner"]),
        }
    )
    config = config.model_copy(update={"plugin_sources": source_digests(config)})
    return Resolved(str(labels[0]), str(labels[1]), config, protocol)


def _task_label(task: Entry, config: CellConfig | None, *, is_one: bool) -> object:
    """The task's label with its numbers in it; for settings that are wrong, one with others."""
    name, ways, shots = (config.task.dataset.name, config.task.ways, config.task.shots) if config else ("wrong", 0, 0)
    label = task.table.get("label", f"{name}-{{ways}}w{{shots}}s")
    if not isinstance(label, str):
        return label
    if not (is_one or "{ways}" in label or "{shots}" in label):
        label += "-{ways}w{shots}s"
    return label.replace("{ways}", str(ways)).replace("{shots}", str(shots))


def _options(registry: Registry[Any], table: object, place: str, mistakes: list[str]) -> dict[str, Any]:
    """A registered name with all of its options, so that a record says all of them; empty where there are mistakes."""
    chosen = {"name": table} if isinstance(table, str) else table
    if not (isinstance(chosen, Mapping) and isinstance(chosen.get("name"), str)):
        return {}  # which pydantic says
    name = chosen["name"]
    try:
        return {"name": name, **registry.options(name, {key: value for key, value in chosen.items() if key != "name"})}
    except MistakesError as error:
        mistakes += [f"{place}: {mistake}" for mistake in error.mistakes]
    except FewshotError as error:
        mistakes.append(f"{place}: {error}")
    return {}
