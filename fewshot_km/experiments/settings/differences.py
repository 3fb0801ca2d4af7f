"""Differences between the settings of two cells, in the words of a grid file."""

from collections.abc import Iterator, Mapping
from typing import Any


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return each setting that differs, as "inner.lr 0.4 -> 0.2"; "-" stands for no setting.

    A plug-in is named by what it registers: "the plug-in of learner 'mine' 1f0c... -> 9a3d...".
    """
    changed = _changed(old, new)
    return [f"{_name(name, new)} {before} -> {after}" for name, (before, after) in changed.items()]


def other_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the old values of the settings that differ, as "inner.lr 0.4"."""
    return [f"{_name(name, old)} {before}" for name, (before, _) in _changed(old, new).items()]


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The texts before and after of each setting that differs, by its name."""
    before, after = dict(_flat(old)), dict(_flat(new))
    names = [*after, *(name for name in before if name not in after)]
    differ = (name for name in names if before.get(name) != after.get(name))
    return {name: (_text(before, name), _text(after, name)) for name in differ}


def _flat(settings: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value


def _name(name: str, settings: Mapping[str, Any]) -> str:
    """The name of a setting; for a plug-in's digest, which plug-in it is."""
    if not name.startswith(_PLUGINS):
        return name
    kind = name.removeprefix(_PLUGINS)
    owner = settings.get("task", {}).get("dataset") if kind == "dataset" else settings.get(kind)
    called = owner.get("name") if isinstance(owner, Mapping) else owner
    return f"the plug-in of {kind} '{called}'" if called else name


_PLUGINS = "plugin_sources."


def _text(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name, "-")
    return f"{value[:8]}..." if name.startswith(_PLUGINS) and isinstance(value, str) else str(value)
