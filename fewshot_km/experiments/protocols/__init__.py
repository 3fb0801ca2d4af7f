"""Named protocols: the papers' settings, each value with its source beside it, for a task of a grid to start from."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from fewshot_km.errors import UnknownNameError
from fewshot_km.registry import did_you_mean


@dataclass(frozen=True)
class Protocol:
    """A name, a line about it, its settings as tables by section, "task" among them, and their text with sources."""

    name: str
    description: str
    text: str
    tables: Mapping[str, dict[str, Any]]

    def __str__(self) -> str:
        return self.name


@cache
def protocols() -> dict[str, Protocol]:
    """All of them, by name."""
    found = {}
    for file in files(__package__).iterdir():
        if file.name.endswith(".toml"):
            text = file.read_text(encoding="utf-8")
            tables = tomllib.loads(text)
            name = file.name.removesuffix(".toml")
            found[name] = Protocol(name, tables.pop("description"), text, tables)
    return dict(sorted(found.items()))


def find_protocol(name: object) -> Protocol:
    """The protocol of a name; raises UnknownNameError."""
    known = protocols()
    if isinstance(name, str) and name in known:
        return known[name]
    hint = did_you_mean(name, known) if isinstance(name, str) else ""
    raise UnknownNameError(f"unknown protocol {name!r}: {hint}known: {', '.join(known)}")
