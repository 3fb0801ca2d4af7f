"""Names that stand for learners, networks and data sets on the command line, in grids and in tables."""

import difflib
import fnmatch
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from fewshot_km.errors import ConfigError, PluginError, ProblemsError, UnknownNameError
from fewshot_km.plugins.sources import Sources, find_sources, note_registration

T = TypeVar("T")


class Registry(Generic[T]):
    """A dictionary from public names to objects of one kind that refuses to overwrite.

    `kind` and `plural` are the words used in messages and on the command line ("learner", "learners"). Entries are
    functions or classes; the first `given` parameters come from the suite, the others are options.
    """

    def __init__(self, kind: str, plural: str, given: int = 0) -> None:
        self.kind = kind
        self.plural = plural
        self._given = given
        self._entries: dict[str, T] = {}
        self._registered_in: dict[str, tuple[T, str]] = {}
        self._sources: dict[str, tuple[T, Sources | None]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: enter an object under `name`.

        Raises PluginError where the name is taken or forgotten, or the object cannot be called with options: where it
        is no function or class, or Python does not know its parameters, as of some that are written in C.
        """
        if not isinstance(name, str):
            raise PluginError(f'@register needs a name: write @register("my-{self.kind}") above {_origin(name)}')

        def enter(entry: T) -> T:
            if not _has_parameters(entry):
                raise PluginError(
                    f"{self.kind} '{name}' must be a function or class whose parameters Python knows, not a "
                    f'{type(entry).__name__}: write @register("{name}") above a def or a class'
                )
            taken = self._entries.get(name)
            if taken is not None and taken is not entry:
                raise PluginError(
                    f"{self.kind} '{name}' is already registered by {_origin(taken)}; "
                    f"choose another name in {_origin(entry)}"
                )
            self._entries[name] = entry
            caller = inspect.currentframe()
            if caller and caller.f_back:
                module = str(caller.f_back.f_globals.get("__name__", ""))
                note_registration(module)
                self._registered_in[name] = (entry, module)
            return entry

        return enter

    def get(self, name: str) -> T:
        """The entry called `name`; raises UnknownNameError with the nearest known names."""
        if name not in self._entries:
            guess = did_you_mean(name, self._entries)
            raise UnknownNameError(
                f"unknown {self.kind} '{name}': {guess}known {self.plural}: {', '.join(self.names())}"
            )
        return self._entries[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Known names that match a shell pattern, sorted."""
        return sorted(n for n in self._entries if fnmatch.fnmatchcase(n, pattern))

    def options(self, name: str, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All options of an entry: the chosen ones, and the defaults of the others.

        Raises UnknownNameError; ConfigError for an option that the entry does not take, a value that its annotation
        does not allow, or one that is missing.
        """
        return _resolve_options(self.get(name), self._given, chosen or {}, f"{self.kind} '{name}'")

    def describe_options(self, name: str) -> str:
        """Options of an entry with their defaults, as a grid file writes them; "?" where there is no default."""
        known = _known_options(self.get(name), self._given)
        told = {n: "?" if v is inspect.Parameter.empty else _written(v) for n, v in known.items()}
        return ", ".join(f"{option} = {value}" for option, value in told.items())

    def sources(self, name: str) -> Sources | None:
        """The files of an entry from outside the package, as they were found first; None for our own."""
        entry = self.get(name)
        known = self._sources.get(name)
        if known is None or known[0] is not entry:
            by, module = self._registered_in.get(name, (None, None))
            known = (entry, find_sources(entry, module if by is entry else None))
            self._sources[name] = known
        return known[1]

    def find_all_sources(self) -> None:
        """Find the files of all entries now, before plug-ins load more of them."""
        for name in self:
            self.sources(name)

    def source_digest(self, name: str) -> str | None:
        """SHA-256 of the source files of an entry from outside the package; None for our own."""
        sources = self.sources(name)
        return sources.digest if sources else None

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'maml'? " with the nearest of the known names; nothing where none is near."""
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
    except Exception:  # whatever a plug-in's object raises, or one that holds itself
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
    """What each parameter is annotated with; without those that mean nothing at run time, which check nothing."""
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
    """One of pydantic's errors in a few words: the value, and what is allowed."""
    value = repr(problem["input"])
    if problem["type"] == "literal_error":
        return f"{value} is not allowed; allowed: {problem['ctx']['expected']}"
    if problem["type"] == "model_type":
        return f"must be a table of keys, not {value}"
    return f"{value}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _origin(entry: Any) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', repr(entry))}"
