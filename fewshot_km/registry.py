"""Names of learners, networks and data sets, as they stand on the command line, in grids and in tables."""

import difflib
import fnmatch
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType, SimpleNamespace
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from fewshot_km.errors import ConfigError, PluginError, ProblemsError, UnknownNameError
from fewshot_km.plugins.sources import Sources, find_sources, note_registration

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry(Generic[T]):
    value: T
    module: str
    """Name of the module whose code registered it."""

    @cached_property
    def sources(self) -> Sources | None:
        return find_sources(self.value, self.module)


class Registry(Generic[T]):
    """A dictionary from public names to functions or classes of one kind; it refuses to overwrite a name.

    kind, plural  words for messages and the command line: "learner", "learners"
    given         how many of an entry's first parameters the suite passes; the others are its options
    """

    def __init__(self, kind: str, plural: str, given: int = 0) -> None:
        self.kind = kind
        self.plural = plural
        self._given = given
        self._entries: dict[str, _Entry[T]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: enter a function or class under `name`.

        Raises PluginError if the name is missing or taken, or if Python does not know the parameters of the object, as
        of some that are written in C.
        """
        if not isinstance(name, str):
            raise PluginError(f'@register needs a name: write @register("my-{self.kind}") above {_origin(name)}')

        def enter(value: T) -> T:
            if not _has_parameters(value):
                raise PluginError(
                    f"{self.kind} '{name}' must be a function or class whose parameters Python knows, not a "
                    f'{type(value).__name__}: write @register("{name}") above a def or a class'
                )
            if name not in self._entries:
                caller = inspect.currentframe()
                module = str(caller.f_back.f_globals.get("__name__", "")) if caller and caller.f_back else ""
                note_registration(module)
                self._entries[name] = _Entry(value, module)
            elif self._entries[name].value is not value:
                raise PluginError(
                    f"{self.kind} '{name}' is already registered by {_origin(self._entries[name].value)}; "
                    f"choose another name in {_origin(value)}"
                )
            return value

        return enter

    @contextmanager
    def temporarily(self, entries: Mapping[str, T] = MappingProxyType({})) -> Iterator[None]:
        """Add or replace entries within a `with` block; what the block registers is gone after it, too."""
        before = dict(self._entries)
        self._entries |= {name: _Entry(value, "") for name, value in entries.items()}
        try:
            yield
        finally:
            self._entries = before

    def get(self, name: str) -> T:
        """Return the entry called `name`; raises UnknownNameError with the nearest known names."""
        return self._entry(name).value

    def _entry(self, name: str) -> _Entry[T]:
        if name not in self._entries:
            guess = did_you_mean(name, self._entries)
            raise UnknownNameError(
                f"unknown {self.kind} '{name}': {guess}known {self.plural}: {', '.join(self.names())}"
            )
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Return the known names that match a shell pattern, sorted."""
        return sorted(n for n in self._entries if fnmatch.fnmatchcase(n, pattern))

    def options(self, name: str, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return all options of an entry: the chosen ones, and the defaults of the others.

        Raises UnknownNameError; ConfigError for an option that the entry does not take, a value that its annotation
        does not allow, or a missing option.
        """
        return _resolve_options(self.get(name), self._given, chosen or {}, f"{self.kind} '{name}'")

    def describe_options(self, name: str) -> str:
        """Return the options with their defaults, as a grid file writes them; "?" where there is no default."""
        known = _known_options(self.get(name), self._given)
        told = {n: "?" if v is inspect.Parameter.empty else _written(v) for n, v in known.items()}
        return ", ".join(f"{option} = {value}" for option, value in told.items())

    def sources(self, name: str) -> Sources | None:
        """Return the files of an entry from outside the package, as they were found first; None for our own."""
        return self._entry(name).sources

    def find_all_sources(self) -> None:
        """Find the files of all entries now, before plug-ins load more of them."""
        for name in self:
            self.sources(name)

    def source_digest(self, name: str) -> str | None:
        """Return the SHA-256 of the files of an entry from outside the package; None for our own."""
        sources = self.sources(name)
        return sources.digest if sources else None

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'maml'? " with the nearest of the known names; "" if none is near."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""


def _has_parameters(entry: object) -> bool:
    try:
        inspect.signature(entry)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _written(default: object) -> str:
    try:
        return json.dumps(default, default=repr)
    except Exception:  # whatever a plug-in's object raises; or the object holds itself
        return f"<{type(default).__name__}>"


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _known_options(entry: Any, given: int) -> dict[str, Any]:
    parameters = list(inspect.signature(entry).parameters.values())[given:]
    return {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _resolve_options(entry: Any, given: int, chosen: Mapping[str, Any], what: str) -> dict[str, Any]:
    known = _known_options(entry, given)
    takes = f"it takes: {', '.join(known)}" if known else "it takes no options"
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(entry).parameters.values())
    strange = [] if takes_any else [name for name in chosen if name not in known]
    problems = [f"{what} has no option '{name}': {did_you_mean(name, known)}{takes}" for name in strange]
    annotations = _annotations(entry)
    resolved = known | dict(chosen)
    for name, value in resolved.items():
        if value is inspect.Parameter.empty:
            problems.append(f"{what} needs the option '{name}'; {takes}")
        elif name not in strange:
            problems += _problems_in(value, annotations.get(name, Any), f"{what}, option '{name}'")
    if problems:
        raise ProblemsError(what, problems) if len(problems) > 1 else ConfigError(problems[0])
    return resolved


def _annotations(entry: Any) -> dict[str, Any]:
    """The annotations of parameters; those that have no meaning at run time are left out, and check nothing."""
    function = inspect.unwrap(entry.__init__ if inspect.isclass(entry) else entry)
    try:
        annotations = inspect.get_annotations(function)
    except (TypeError, ValueError):
        return {}
    found: dict[str, Any] = {}
    for name, annotation in annotations.items():
        alone = SimpleNamespace(__annotations__={name: annotation})
        with suppress(NameError, TypeError, AttributeError, SyntaxError):
            found |= typing.get_type_hints(alone, getattr(function, "__globals__", {}), include_extras=True)
    return found


def _problems_in(value: Any, annotation: Any, what: str) -> list[str]:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return [f"{what}: {_shown(value)} cannot be written to a record; use numbers, texts and lists"]
    try:
        TypeAdapter(annotation, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        return [f"{what}: {say_problem(error.errors()[0])}"]
    except Exception:
        return []
    return []


def say_problem(problem: ErrorDetails) -> str:
    """Say one of pydantic's errors in a few words: the value, and what is allowed."""
    value = repr(problem["input"])
    if problem["type"] == "literal_error":
        return f"{value} is not allowed; allowed: {problem['ctx']['expected']}"
    if problem["type"] == "model_type":
        return f"must be a table of keys, not {value}"
    return f"{value}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _origin(entry: Any) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', repr(entry))}"
