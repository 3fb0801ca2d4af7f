"""Mistakes in a grid file as one line each: where, what is wrong, what is allowed."""

import inspect
from collections.abc import Callable

from pydantic import BaseModel, ValidationError

from fewshot_km.registry import did_you_mean, say_mistake

Place = tuple[str, ...]
"""Keys from the outside in, list positions as digits: ("tasks", "0", "ways")."""


def explain(error: ValidationError, model: type[BaseModel], locate: Callable[[Place], str]) -> str:
    """The first error of a validation of `model`; `locate` turns its place into words of the file."""
    errors = error.errors()
    first = errors[0]
    places = [_keys(model, tuple(str(part) for part in e["loc"])) for e in errors]
    place = places[0]
    if first["type"] == "extra_forbidden":
        known = list(_model_at(model, place[:-1]).model_fields)
        problem = f"unknown key; {did_you_mean(place[-1], known)}allowed: {', '.join(known)}"
    elif first["type"] == "missing":
        field = _model_at(model, place[:-1]).model_fields[place[-1]]
        problem = "is missing" + (f": {field.description}" if field.description else "")
    else:
        problem = say_mistake(first)
    others = len(set(places)) - 1
    more = f" (and {others} more)" if others else ""
    return f"{locate(place)}: {problem}{more}"


def dotted(place: Place) -> str:
    """As a person writes it: tasks[0].ways."""
    return "".join(f"[{part}]" if _is_position(part) else f".{part}" for part in place).lstrip(".")


def _is_position(part: str) -> bool:
    return part.isascii() and part.isdecimal()


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    for part in place:
        annotation = model.model_fields[part].annotation
        assert inspect.isclass(annotation)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return model


def _keys(model: type[BaseModel], place: Place) -> Place:
    """A place without the branches of unions, which pydantic names after the key."""
    kept: list[str] = []
    inside: type[BaseModel] | None = model
    for part in place:
        if inside is None and not _is_position(part):
            break
        kept.append(part)
        field = inside.model_fields.get(part) if inside else None
        annotation = field.annotation if field else None
        inside = annotation if inspect.isclass(annotation) and issubclass(annotation, BaseModel) else None
    return tuple(kept)
