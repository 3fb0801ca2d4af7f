"""What is wrong with a grid file, by place: a line that says what, and what is allowed."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fewshot_km.registry import did_you_mean, say_problem

Place = tuple[str | int, ...]
"""Keys and positions from the outside in: ("tasks", 0, "ways")."""


def find_problems(model: type[BaseModel], content: Any) -> dict[Place, str]:
    """What `model` finds wrong with `content`, by place; one problem a place."""
    found: dict[Place, str] = {}
    try:
        model.model_validate(content)
    except ValidationError as error:
        schema = model.model_json_schema()
        for problem in error.errors():
            place = _place(problem, content)
            found.setdefault(place, _say(problem, schema, place))
    return found


def _place(problem: ErrorDetails, content: Any) -> Place:
    """The problem's place in the content, without the branches of unions, which pydantic names beside the keys."""
    place: list[str | int] = []
    for part in problem["loc"]:
        known = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
        if part in known:
            place.append(part)
            content = content[part]
    return (*place, problem["loc"][-1]) if problem["type"] == "missing" else tuple(place)


def _say(problem: ErrorDetails, schema: dict[str, Any], place: Place) -> str:
    if problem["type"] == "extra_forbidden":
        known = list(_properties(schema, place[:-1]))
        return f"unknown key; {did_you_mean(str(place[-1]), known)}allowed: {', '.join(known)}"
    if problem["type"] == "missing":
        description = _properties(schema, place[:-1])[str(place[-1])].get("description")
        return "is missing" + (f": {description}" if description else "")
    return say_problem(problem)


def _properties(schema: dict[str, Any], place: Place) -> dict[str, Any]:
    table = table_of(schema, schema)
    for part in place:
        table = table_of(table["items"] if isinstance(part, int) else table["properties"][part], schema)
    return dict(table["properties"]) if "properties" in table else {}


def table_of(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A node of a JSON schema without its reference; where it may be a name or a table, the table."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return next((option for option in node.get("anyOf", ()) if "properties" in option), node)


def dotted(place: Place) -> str:
    """A place as people write it: tasks[0].ways."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def touched(wrong: Iterable[Place]) -> set[Place]:
    """All places in which something is wrong, the outermost keys included."""
    return {place[:n] for place in wrong for n in range(1, len(place) + 1)}
