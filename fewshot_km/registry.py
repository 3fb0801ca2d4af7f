"""Names that stand for learners, networks and data sets on the command line, in grids and in tables."""

import difflib
import fnmatch
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from fewshot_km.errors import PluginError, UnknownNameError


T = TypeVar("T")


class Registry(Generic[T]):
    """A dictionary from public names to objects of one kind that refuses to overwrite.

    `kind` and `plural` are the words used in messages and on the command line ("learner", "learners").
    """

    def __init__(self, kind: str, plural: str) -> None:
        self.kind = kind
        self.plural = plural
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: enter an object under `name`; raises PluginError where the name is taken."""

        def enter(entry: T) -> T:
            taken = self._entries.get(name)
            if taken is not None and taken is not entry:
                raise PluginError(
                    f"{self.kind} '{name}' is already registered by {_origin(taken)}; "
                    f"choose another name in {_origin(entry)}"
                )
            self._entries[name] = entry
            return entry

        return enter

    def get(self, name: str) -> T:
        """The entry called `name`; raises UnknownNameError with the nearest known names."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.5)
        guess = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
        raise UnknownNameError(f"unknown {self.kind} '{name}': {guess}known {self.plural}: {', '.join(self.names())}")

    def names(self, pattern: str = "*") -> list[str]:
        """Known names that match a shell pattern, sorted."""
        return sorted(n for n in self._entries if fnmatch.fnmatchcase(n, pattern))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def _origin(entry: Any) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', repr(entry))}"
