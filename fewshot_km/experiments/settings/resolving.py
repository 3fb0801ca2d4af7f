"""Resolve the tasks and learners of a grid file into labels and settings of cells, and list every problem."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

from fewshot_km.data import DATASETS
from fewshot_km.errors import FewshotError, UnknownNameError
from fewshot_km.experiments.protocols import Protocol, find_protocol
from fewshot_km.experiments.settings.cell_settings import (
    CellConfig,
    DatasetConfig,
    LearnerConfig,
    Named,
    NetworkConfig,
    TaskConfig,
)
from fewshot_km.experiments.settings.differences import differences
from fewshot_km.experiments.settings.grid_file import GridFile, LearnerEntry, Sections, Table, TaskEntry
from fewshot_km.experiments.settings.plugin_use import source_digests
from fewshot_km.experiments.settings.problems import Place, dotted, find_problems, touched
from fewshot_km.learners import LEARNERS
from fewshot_km.models import NETWORKS
from fewshot_km.registry import Registry

# other files and folders beside those of tasks and of learners
_TAKEN = "figures|jobs|tensorboard|(?:table|report|tuning|test_examples)[.].*"
_LABEL = re.compile(rf"(?i:(?!(?:{_TAKEN})$))[A-Za-z0-9][A-Za-z0-9._+=-]{{0,99}}")
LABEL_RULE = (
    "becomes a folder: use at most 100 letters, digits and ._+=-, but neither 'figures', 'jobs' or 'tensorboard' nor "
    "what begins with 'table.', 'report.', 'tuning.' or 'test_examples.', which lie beside it"
)

Problems = list[tuple[Place, str]]
NamedConfig = TypeVar("NamedConfig", bound=Named)


def is_label(label: str) -> bool:
    """Check whether it can name a folder of results."""
    return _LABEL.fullmatch(label) is not None


def _lists(task: Table) -> dict[str, list[int]]:
    given = {key: task[key] for key in ("ways", "shots") if key in task}
    return {key: value if isinstance(value, list) else [value] for key, value in given.items()}


def count_tasks(task: Table) -> int:
    """Count the tasks that an entry of the file makes."""
    return math.prod(map(len, _lists(task).values()))


@dataclass(frozen=True)
class Resolved:
    """Labels and settings of one task and learner, for any seed."""

    task: str
    learner: str
    config: CellConfig
    protocol: str | None
    deviations: tuple[str, ...]


@dataclass(frozen=True)
class _FileEntry:
    """A task or a learner, and its place in the file; `is_one` is false for one of several tasks of an entry."""

    place: Place
    table: Table
    is_one: bool = True


class Resolver:
    """Resolves the tasks and learners of a file whose problems so far, at the places `wrong`, were left out of it.

    `problems` are the further ones, a line each. A key that is missing because it was left out is none.
    """

    def __init__(self, file: GridFile, overrides: Sections, wrong: Collection[Place]) -> None:
        self._file = file
        self._overrides = overrides
        self._wrong = set(wrong)
        self._touched = touched(wrong)
        self.problems: dict[str, None] = {}

    def resolve_all(self) -> Iterator[Resolved]:
        """Yield each task with each learner, if nothing is wrong with them."""
        taken: dict[str, str] = {}
        learners = [_FileEntry(("learners", n), table) for n, table in enumerate(self._file.learners)]
        for task, learner in product(self._tasks(), learners):
            found = self._resolve(task, learner)
            if isinstance(found, list):
                self.problems |= {f"{dotted(place)}: {problem}": None for place, problem in found}
                continue
            folder = f"{found.task}/{found.learner}".lower()  # as file systems that ignore case see it
            place = f"{dotted(task.place)} and {dotted(learner.place)}"
            if folder in taken:
                self.problems[f"{taken[folder]} and {place} are both '{folder}': give one a label = \"...\""] = None
            taken.setdefault(folder, place)
            yield found

    def _tasks(self) -> Iterator[_FileEntry]:
        """Yield a task for each combination of ways and shots, in their order, the shots faster."""
        for n, entry in enumerate(self._file.tasks):
            lists = _lists(entry)
            for values in product(*lists.values()):
                table = entry | dict(zip(lists, values, strict=True))
                yield _FileEntry(("tasks", n), table, is_one=count_tasks(entry) == 1)

    def _resolve(self, task: _FileEntry, learner: _FileEntry) -> Resolved | Problems:
        try:
            protocol = find_protocol(task.table["protocol"]) if "protocol" in task.table else None
        except UnknownNameError as error:  # what else the task lacks may stand in the protocol that was meant
            return [((*task.place, "protocol"), str(error))]
        base = protocol.tables if protocol else {}
        merged, network_at = self._merge(base, task, learner)
        found: Problems = []
        if "dataset" in merged["task"]:
            dataset = DatasetConfig.model_validate(merged["task"]["dataset"])
            merged["task"]["dataset"] = _with_options(dataset, DATASETS, (*task.place, "dataset"), found)
        network = NetworkConfig.model_validate(merged["network"])
        merged["network"] = _with_options(network, NETWORKS, (*network_at, "name"), found)
        if "name" in learner.table:
            merged["learner"] = _with_options(LearnerConfig(**merged["learner"]), LEARNERS, learner.place, found)
        missing = find_problems(CellConfig, merged)  # all else was found in the file
        owners = {"task": task.place, "learner": learner.place}
        for (section, *key), problem in missing.items():
            owner = owners.get(str(section))
            layers = [owner] if owner else [(section,), (*task.place, section), (*learner.place, section)]
            places = [(*layer, *key) for layer in layers]
            if not any(place in self._touched or touched([place]) & self._wrong for place in places):
                found.append((places[0], problem))
        labels = _task_label(task, merged["task"]), _learner_label(learner)
        for entry, label in zip((task, learner), labels, strict=True):
            if not is_label(label) and ("label" in entry.table or not (found or missing)):
                found.append(((*entry.place, "label"), f"{entry.table.get('label', label)!r} {LABEL_RULE}"))
        if found or missing:
            return found
        config = CellConfig.model_validate(merged)
        config = config.model_copy(update={"plugin_sources": source_digests(config)})
        name, deviations = (protocol.name, _deviations(protocol, config)) if protocol else (None, ())
        return Resolved(*labels, config, name, deviations)

    def _merge(self, base: Mapping[str, Table], task: _FileEntry, learner: _FileEntry) -> tuple[Table, Place]:
        """Merge all settings that are given; return them and the place that names the network.

        Overrides win over the learner's settings, then come the task's, the file's and the protocol's (`base`).
        """
        merged: Table = {"seed": 0}
        network_at: Place = ("network",)
        for section in Sections.model_fields:
            settings: Table = {}
            layers: list[tuple[Place, Table]] = [
                ((section,), base.get(section, {})),
                ((section,), getattr(self._file, section)),
                ((*task.place, section), task.table.get(section, {})),
                ((*learner.place, section), learner.table.get(section, {})),
                ((f"--set {section}",), getattr(self._overrides, section)),
            ]
            for place, table in layers:
                if "name" in table:
                    network_at = place
                    if table["name"] != settings.get("name"):
                        settings.clear()  # another network: the options of the one before are not its own
                settings |= table
            merged[section] = settings
        of_task = {key: value for key, value in task.table.items() if key in TaskConfig.model_fields}
        merged["task"] = base.get("task", {}) | of_task
        beside = LearnerEntry.model_fields.keys() - {"name"}
        merged["learner"] = {key: value for key, value in learner.table.items() if key not in beside}
        return merged, network_at


def _with_options(chosen: NamedConfig, registry: Registry[Any], place: Place, found: Problems) -> NamedConfig:
    """Add the defaults of all options, so that a record has all of them; problems go to `found`."""
    try:
        options = registry.options(chosen.name, chosen.options)
    except FewshotError as error:
        found += [(place, problem) for problem in error.problems]
        return chosen
    return type(chosen).model_validate({**options, "name": chosen.name})


def _task_label(task: _FileEntry, settings: Table) -> str:
    """The task's label; a number that is missing is 0 in it."""
    label: str = task.table.get("label", TaskEntry.model_fields["label"].default)
    if not (task.is_one or "{ways}" in label or "{shots}" in label):
        label += "-{ways}w{shots}s"
    label = label.replace("{dataset}", settings["dataset"].name if "dataset" in settings else "")
    return label.replace("{ways}", str(settings.get("ways", 0))).replace("{shots}", str(settings.get("shots", 0)))


def _learner_label(learner: _FileEntry) -> str:
    label: str = learner.table.get("label", LearnerEntry.model_fields["label"].default)
    return label.replace("{name}", learner.table.get("name", ""))


def _deviations(protocol: Protocol, config: CellConfig) -> tuple[str, ...]:
    settings = config.model_dump(mode="json")
    here = {section: {key: settings[section].get(key) for key in table} for section, table in protocol.tables.items()}
    here["task"]["dataset"] = config.task.dataset.name
    options = [f"task.dataset.{key} {value}" for key, value in config.task.dataset.options.items() if value is True]
    return (*differences(protocol.tables, here), *options)
