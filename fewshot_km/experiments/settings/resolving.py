"""What a task and a learner of a grid file give together: labels and settings of their cells, and every problem."""

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

# what else lies beside the folders of tasks and of learners
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
    """How many tasks an entry of the file makes."""
    return math.prod(map(len, _lists(task).values()))


def _split(task: Table) -> Iterator[Table]:
    """Yield a task for each combination of ways and shots, in their order, the shots faster."""
    lists = _lists(task)
    for values in product(*lists.values()):
        yield task | dict(zip(lists, values, strict=True))


@dataclass(frozen=True)
class Resolved:
    """Labels and settings of one task and learner, for any seed."""

    task: str
    learner: str
    config: CellConfig
    protocol: str | None
    deviations: tuple[str, ...]


class Resolver:
    """Resolves the tasks and learners of a file; `problems` are lines that say what is wrong with them, each once.

    What is missing at a place where something wrong stood is no further problem.
    """

    def __init__(self, file: GridFile, overrides: Sections, wrong: Collection[Place]) -> None:
        self._file = file
        self._overrides = overrides
        self._wrong = set(wrong)
        self._touched = touched(wrong)
        self.problems: dict[str, None] = {}

    def resolve_all(self) -> Iterator[Resolved]:
        """Yield what is right of all tasks and learners."""
        taken: dict[str, str] = {}
        for n, entry in enumerate(self._file.tasks):
            is_one = count_tasks(entry) == 1
            for task in _split(entry):
                for m, learner in enumerate(self._file.learners):
                    at_task, at_learner = ("tasks", n), ("learners", m)
                    found = self._resolve(at_task, task, at_learner, learner, is_one=is_one)
                    if isinstance(found, list):
                        self.problems |= {f"{dotted(place)}: {problem}": None for place, problem in found}
                        continue
                    folder = f"{found.task}/{found.learner}".lower()  # as file systems that ignore case see it
                    place = f"{dotted(at_task)} and {dotted(at_learner)}"
                    if folder in taken:
                        clash = f"{taken[folder]} and {place} are both '{folder}': give one a label = \"...\""
                        self.problems[clash] = None
                    taken.setdefault(folder, place)
                    yield found

    def _resolve(
        self, at_task: Place, task: Table, at_learner: Place, learner: Table, *, is_one: bool
    ) -> Resolved | Problems:
        try:
            protocol = find_protocol(task["protocol"]) if "protocol" in task else None
        except UnknownNameError as error:  # what else the task lacks may stand in the protocol that was meant
            return [((*at_task, "protocol"), str(error))]
        base = protocol.tables if protocol else {}
        merged, network_at = self._merge(base, at_task, task, at_learner, learner)
        found: Problems = []
        if "dataset" in merged["task"]:
            dataset = DatasetConfig.model_validate(merged["task"]["dataset"])
            merged["task"]["dataset"] = _with_options(dataset, DATASETS, (*at_task, "dataset"), found)
        network = NetworkConfig.model_validate(merged["network"])
        merged["network"] = _with_options(network, NETWORKS, (*network_at, "name"), found)
        if "name" in learner:
            merged["learner"] = _with_options(LearnerConfig(**merged["learner"]), LEARNERS, at_learner, found)
        missing = find_problems(CellConfig, merged)  # all else was found in the file
        owners = {"task": at_task, "learner": at_learner}
        for (section, *key), problem in missing.items():
            owner = owners.get(str(section))
            layers = [owner] if owner else [(section,), (*at_task, section), (*at_learner, section)]
            places = [(*layer, *key) for layer in layers]
            if not any(place in self._touched or touched([place]) & self._wrong for place in places):
                found.append((places[0], problem))
        task_label, learner_label = _labels(merged, task, learner, is_one=is_one)
        for at, table, label in ((at_task, task, task_label), (at_learner, learner, learner_label)):
            if not is_label(label) and ("label" in table or not (found or missing)):
                found.append(((*at, "label"), f"{table.get('label', label)!r} {LABEL_RULE}"))
        if found or missing:
            return found
        config = CellConfig.model_validate(merged)
        config = config.model_copy(update={"plugin_sources": source_digests(config)})
        name, deviations = (protocol.name, _deviations(protocol, config)) if protocol else (None, ())
        return Resolved(task_label, learner_label, config, name, deviations)

    def _merge(
        self, base: Mapping[str, Table], at_task: Place, task: Table, at_learner: Place, learner: Table
    ) -> tuple[Table, Place]:
        """All settings as far as they are given, and where the network is named.

        Overrides stand over the learner's, these over the task's, over the file's, over the protocol's (`base`).
        """
        merged: Table = {"seed": 0}
        network_at: Place = ("network",)
        for section in Sections.model_fields:
            settings: Table = {}
            layers: list[tuple[Place, Table]] = [
                ((section,), base.get(section, {})),
                ((section,), getattr(self._file, section)),
                ((*at_task, section), task.get(section, {})),
                ((*at_learner, section), learner.get(section, {})),
                ((f"--set {section}",), getattr(self._overrides, section)),
            ]
            for place, table in layers:
                if "name" in table:
                    network_at = place
                    if table["name"] != settings.get("name"):
                        settings.clear()  # another network: the options of the one before are not its own
                settings |= table
            merged[section] = settings
        merged["task"] = base.get("task", {}) | {key: task[key] for key in task if key in TaskConfig.model_fields}
        beside = LearnerEntry.model_fields.keys() - {"name"}
        merged["learner"] = {key: learner[key] for key in learner if key not in beside}
        return merged, network_at


def _with_options(chosen: NamedConfig, registry: Registry[Any], place: Place, found: Problems) -> NamedConfig:
    """Add the defaults of all options, so that a record has all of them; problems go to `found`."""
    try:
        options = registry.options(chosen.name, chosen.options)
    except FewshotError as error:
        found += [(place, problem) for problem in error.problems]
        return chosen
    return type(chosen).model_validate({**options, "name": chosen.name})


def _labels(merged: Table, task: Table, learner: Table, *, is_one: bool) -> tuple[str, str]:
    """Labels of task and learner; what is missing is 0 in them."""
    label = task.get("label", TaskEntry.model_fields["label"].default)
    if not (is_one or "{ways}" in label or "{shots}" in label):
        label += "-{ways}w{shots}s"
    dataset = merged["task"].get("dataset")
    label = label.replace("{dataset}", dataset.name if dataset else "0")
    for key in ("ways", "shots"):
        label = label.replace(f"{{{key}}}", str(merged["task"].get(key, 0)))
    of_learner = learner.get("label", LearnerEntry.model_fields["label"].default)
    return label, of_learner.replace("{name}", learner.get("name", "0"))


def _deviations(protocol: Protocol, config: CellConfig) -> tuple[str, ...]:
    settings = config.model_dump(mode="json")
    here = {section: {key: settings[section].get(key) for key in table} for section, table in protocol.tables.items()}
    here["task"]["dataset"] = config.task.dataset.name
    options = [f"task.dataset.{key} {value}" for key, value in config.task.dataset.options.items() if value is True]
    return (*differences(protocol.tables, here), *options)
