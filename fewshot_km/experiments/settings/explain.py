"""Every key of a grid file with type, default and reason, as a person reads it and as an editor does (JSON Schema)."""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fewshot_km.errors import ConfigError
from fewshot_km.experiments.settings.grid_file import GridFile, Sections
from fewshot_km.experiments.settings.problems import table_of
from fewshot_km.registry import did_you_mean

FEW = 3  # values that are named where they must be one of them; a description names more
_WORDS = {"integer": "whole number", "number": "number", "string": "text", "object": "table"}


@dataclass(frozen=True)
class Key:
    """A key, what its values must be, its default ("" where it has none), and what it is with the default's reason."""

    name: str
    kind: str
    default: str
    description: str


def json_schema() -> dict[str, Any]:
    """JSON Schema of a grid file. What depends on a name, such as the options of a learner, it leaves open."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **GridFile.model_json_schema()}


def explain_keys(pattern: str | None = None) -> list[Key]:
    """Keys that match a shell pattern, or all of a section by its name; raises ConfigError where there is none."""
    schema = json_schema()
    properties = schema["properties"]
    sections = Sections.model_fields
    keys = [
        *_keys({name: node for name, node in properties.items() if name not in sections}, schema),
        *_keys({name: properties[name] for name in sections}, schema),
    ]
    if pattern is None:
        return keys
    found = [key for key in keys if fnmatch.fnmatchcase(key.name, pattern) or key.name.startswith(f"{pattern}.")]
    if not found:
        names = [key.name for key in keys]
        raise ConfigError(f"unknown key '{pattern}': {did_you_mean(pattern, names)}known: {', '.join(names)}")
    return found


def _keys(properties: dict[str, Any], schema: dict[str, Any], place: str = "") -> Iterator[Key]:
    """Yield the keys of a table; the sections within tasks and learners are explained once, outside of them."""
    for name, node in properties.items():
        if place and name in Sections.model_fields:
            continue
        items = table_of(node.get("items", {}), schema)
        table = items if "properties" in items else table_of(node, schema)
        if "properties" in table and not place:
            yield from _keys(table["properties"], schema, f"{name}[]." if table is items else f"{name}.")
        else:
            default = str(node.get("default", ""))
            yield Key(f"{place}{name}", _kind(node), default, node.get("description", ""))


def _kind(schema: dict[str, Any]) -> str:
    """Say in a few words what a value must be."""
    if "oneOf" in schema:
        return f"{_kind(schema['oneOf'][0])}, or a list"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "$ref" in schema:
        return "text or table"
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if 1 <= len(values) <= FEW:
        return " or ".join(f'"{value}"' for value in values)
    if schema["type"] == "array":
        word = _WORDS[schema["items"]["type"]]
        return f"list of {_kind(schema['items']).replace(word, f'{word}s', 1)}"
    bounds = [f"from {schema['minimum']}"] if "minimum" in schema else []
    bounds += [f"above {schema['exclusiveMinimum']:g}"] if "exclusiveMinimum" in schema else []
    return " ".join([_WORDS[schema["type"]], *bounds])
