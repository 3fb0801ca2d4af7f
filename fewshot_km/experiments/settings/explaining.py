"""Every key of a grid file with type, default and reason, as a person reads it and as an editor does (JSON Schema)."""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import PydanticUndefined

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.protocols import protocols
from fewshot_km.experiments.settings.cell_settings import Section, TaskConfig
from fewshot_km.experiments.settings.grid import GridFile
from fewshot_km.experiments.settings.resolving import LISTED, SECTIONS, SHARED_BY_LEARNERS
from fewshot_km.learners import LEARNERS
from fewshot_km.registry import did_you_mean

LISTS = "A list makes a task of each number; lists of ways and of shots, one of each pair."
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Key:
    """A key, the kind of its values, its default ("" where it has none), and what it is with the default's reason."""

    name: str
    kind: str
    default: str
    description: str


def explain_keys(pattern: str | None = None) -> list[Key]:
    """The keys that match a shell pattern, or lie in the section of that name; raises ConfigError where none does."""
    keys = list(_keys())
    if pattern is None:
        return keys
    found = [key for key in keys if fnmatch.fnmatchcase(key.name, pattern) or key.name.startswith(f"{pattern}.")]
    if not found:
        names = [key.name for key in keys]
        raise ConfigError(f"unknown key '{pattern}': {did_you_mean(pattern, names)}known: {', '.join(names)}")
    return found


def _keys() -> Iterator[Key]:
    labels = (
        (
            "tasks[].label",
            "text",
            "<dataset>-<ways>w<shots>s",
            "The folder of the task's results, and its name in tables. {ways} and {shots} in it become numbers; a task "
            "with lists of them has -{ways}w{shots}s added where neither is in it.",
        ),
        ("tasks[].protocol", "text", "", f"Settings to start from: {', '.join(protocols())}."),
        ("learners[].name", "text", "", "A registered learner; a learner may be its name alone."),
        ("learners[].label", "text", "<name>", "The folder of the learner's results, and its name in tables."),
    )
    schema = GridFile.model_json_schema()["properties"]
    for name in ("description", "seeds"):
        field = GridFile.model_fields[name]
        yield Key(name, _kind(schema[name]), _default(field.default), field.description or "")
    yield Key(*labels[0])
    yield Key(*labels[1])
    for key in _section_keys("tasks[]", TaskConfig):
        is_listed = key.name.removeprefix("tasks[].") in LISTED
        yield (
            replace(key, kind=f"{key.kind}, or a list", description=f"{key.description} {LISTS}") if is_listed else key
        )
    yield Key(*labels[2])
    yield Key(*labels[3])
    for name, section in SECTIONS.items():
        yield from _section_keys(name, section)


def _section_keys(place: str, section: type[Section]) -> Iterator[Key]:
    schema = section.model_json_schema()
    for name, field in section.model_fields.items():
        kind = _kind(schema["properties"][name])
        yield Key(f"{place}.{name}", kind, _default(field.default), field.description or "")


def _default(value: object) -> str:
    return "" if value is PydanticUndefined or value == "" else str(value)


def _kind(schema: dict[str, Any]) -> str:
    """A few words for what a value must be."""
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "$ref" in schema:
        return "text or table"
    words = {"integer": "whole number", "number": "number", "string": "text", "array": "list", "object": "table"}
    bounds = [f"from {schema['minimum']}"] if "minimum" in schema else []
    bounds += [f"above {schema['exclusiveMinimum']:g}"] if "exclusiveMinimum" in schema else []
    if "items" in schema:
        word = words[schema["items"]["type"]]
        return f"list of {_kind(schema['items']).replace(word, f'{word}s', 1)}"
    return " ".join([words[schema["type"]], *bounds])


def json_schema() -> dict[str, Any]:
    """JSON Schema of a grid file. What depends on a name, such as options of a learner, it leaves open."""
    definitions: dict[str, Any] = {}
    sections = {name: {**_schema(section, definitions), "required": []} for name, section in SECTIONS.items()}
    file = GridFile.model_json_schema()["properties"]
    task = _schema(TaskConfig, definitions)
    label = {"type": "string", "description": "The folder of the results, and the name in tables."}
    protocol = {"enum": list(protocols()), "description": "Settings to start from."}
    task["properties"] |= {"label": label, "protocol": protocol, **sections}
    for key in LISTED:
        number = task["properties"][key]
        several = {"type": "array", "items": number, "minItems": 1, "uniqueItems": True}
        task["properties"][key] = {"anyOf": [number, several], "description": f"{number['description']} {LISTS}"}
    task["anyOf"] = [{"required": task.pop("required")}, {"required": ["protocol"]}]
    own = {name: section for name, section in sections.items() if name not in SHARED_BY_LEARNERS}
    names = {"type": "string", "description": "A registered learner.", "examples": LEARNERS.names("*")}
    learner = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": names, "label": label, **own},
        "not": {"anyOf": [{"required": [name]} for name in SHARED_BY_LEARNERS]},
    }
    return {
        "$schema": SCHEMA,
        "title": "A grid of fewshot_km",
        "type": "object",
        "additionalProperties": False,
        "required": ["tasks", "learners"],
        "properties": {
            "description": file["description"],
            "seeds": {**file["seeds"], "uniqueItems": True},
            "tasks": {"type": "array", "minItems": 1, "items": task},
            "learners": {"type": "array", "minItems": 1, "items": {"anyOf": [names, learner]}},
            **sections,
        },
        "$defs": definitions,
    }


def _schema(section: type[Section], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = section.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    if "DatasetConfig" in definitions:  # a name, or a table of a name and options
        options = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
        definitions["DatasetConfig"] = {"anyOf": [{"type": "string"}, options]}
    return schema
