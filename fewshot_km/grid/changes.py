"""What differs between the settings of two cells, in the words of a grid file."""

from collections.abc import Iterator, Mapping
from typing import Any


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Each setting that is not the same, as "inner.lr 0.4 -> 0.2"; "-" stands for none."""
    before, after = dict(_flat(old)), dict(_flat(new))
    names = [*after, *(name for name in before if name not in after)]
    return [
        f"{name} {_text(before, name)} -> {_text(after, name)}" for name in names if before.get(name) != after.get(name)
    ]


def _flat(settings: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value


def _text(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name, "-")
    return f"{value[:8]}..." if name.startswith("plugin_sources.") and isinstance(value, str) else str(value)
