"""Names that stand for learners, networks and data sets on the command line, in grids and in tables."""

import difflib
import fnmatch
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from fewshot_km.errors import ConfigError, PluginError, UnknownNameError

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


def resolve_options(factory: Callable[..., Any], given: int, options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`options` with the defaults of `factory` filled in; its first `given` parameters are not options.

    Raises ConfigError, calling the factory `what`, for an option that it does not take and for one that it needs.
    """
    parameters = list(inspect.signature(factory).parameters.values())[given:]
    known = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes = f"it takes: {', '.join(known)}" if known else "it takes no options"
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in options:
        if name not in known and not takes_any:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            guess = f", did you mean '{near[0]}'?" if near else ";"
            raise ConfigError(f"{what} has no option '{name}'{guess} {takes}")
    resolved = known | dict(options)
    for name, value in resolved.items():
        if value is inspect.Parameter.empty:
            raise ConfigError(f"{what} needs the option '{name}'; {takes}")
    return resolved


def _origin(entry: Any) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', repr(entry))}"
