"""Mistakes in a grid file, a line each: where, what is wrong, what is allowed."""

import inspect
from collections.abc import Callable

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fewshot_km.registry import did_you_mean, say_mistake

Place = tuple[str, ...]
"""Keys from the outside in, list positions as digits: ("tasks", "0", "ways")."""


def explain(error: ValidationError, model: type[BaseModel], locate: Callable[[Place], str]) -> list[str]:
    """The errors of a validation of `model`, one for each place; `locate` turns a place into words of the file."""
    found: dict[Place, str] = {}
    for mistake in error.errors():
        place = _keys(model, tuple(str(part) for part in mistake["loc"]))
        found.setdefault(place, f"{locate(place)}: {_problem(mistake, model, place)}")  # unions have more than one
    return list(found.values())


def _problem(mistake: ErrorDetails, model: type[BaseModel], place: Place) -> str:
    if mistake["type"] == "extra_forbidden":
        known = list(_model_at(model, place[:-1]).model_fields)
        return f"unknown key; {did_you_mean(place[-1], known)}allowed: {', '.join(known)}"
    if mistake["type"] == "missing":
        field = _model_at(model, place[:-1]).model_fields[place[-1]]
        return "is missing" + (f": {field.description}" if field.description else "")
    return say_mistake(mistake)


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
