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
    """The settings of a paper: as tables by section ("task" is one), and as a TOML text with the source of each."""

    name: str
    description: str
    text: str
    tables: Mapping[str, dict[str, Any]]

    def __str__(self) -> str:
        return self.name


@cache
def protocols() -> dict[str, Protocol]:
    """Return all protocols by name."""
    found = {}
    for file in files(__package__).iterdir():
        if file.name.endswith(".toml"):
            text = file.read_text(encoding="utf-8")
            tables = tomllib.loads(text)
            name = file.name.removesuffix(".toml")
            found[name] = Protocol(name, tables.pop("description"), text, tables)
    return dict(sorted(found.items()))


def find_protocol(name: str) -> Protocol:
    """Return the protocol called `name`; raises UnknownNameError."""
    known = protocols()
    if name not in known:
        raise UnknownNameError(f"unknown protocol {name!r}: {did_you_mean(name, known)}known: {', '.join(known)}")
    return known[name]
