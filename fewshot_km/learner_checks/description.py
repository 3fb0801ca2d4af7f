"""What a learner is, in a few lines: what adapts, numbers, reference, options, and the backends that run it."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learner_checks.catalogue import CHECKS, run_check
from fewshot_km.learner_checks.check_report import Result
from fewshot_km.learner_checks.source_places import place_of_class
from fewshot_km.learner_checks.subject import IMAGE, WAYS, Subject, make_task
from fewshot_km.learners import LEARNERS, InnerLoop, Learner, Params

_YEAR = re.compile(r"\(([^()]*\b(?:19|20)\d\d\b[^()]*)\)")


def describe_learner(name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Headings and texts about a registered learner with these options, on conv4 for 5-way Omniglot.

    Raises UnknownNameError, ConfigError for wrong options, or Fault where the learner cannot even be built and adapted.
    """
    entry, chosen = LEARNERS.get(name), LEARNERS.options(name, options)
    subject = Subject(name, lambda *given: entry(*given, **chosen), "conv4", {}, InnerLoop(0.4))
    learner = subject.build()
    meta = subject.init(learner)
    delta = subject.adapt(learner, meta, make_task(shots=1), steps=1)
    yield "learner", name
    yield "what it is", _first_line(learner, entry)
    yield "class", place_of_class(learner)
    yield "reference", _reference(learner) or "none named: write it into the docstring as (Author et al. 2026)"
    yield "adapts", ", ".join(_patterns(delta)) or "nothing"
    size = " x ".join(map(str, IMAGE[1:]))
    yield (
        "parameters",
        f"{_count(meta)} meta-trained, {_count(delta)} stored for each task (conv4, {WAYS}-way, {size})",
    )
    for option, value in chosen.items():
        yield "option", f"{option} = {value!r}{_reason(option, learner, entry)}"
    if not chosen:
        yield "options", "none"
    yield "transductive", ", ".join(_transductive(subject))
    yield "backends", "; ".join(_backends(subject))


def _first_line(*documented: object) -> str:
    texts = (inspect.getdoc(type(one) if not callable(one) else one) for one in documented)
    return next((text.partition("\n")[0] for text in texts if text), "")


def _reference(learner: Learner) -> str:
    """The attribute `reference`, else what stands in brackets with a year in the docstring of the class or module."""
    kind = type(learner)
    if named := getattr(learner, "reference", ""):
        return str(named)
    for text in (vars(kind).get("__doc__"), getattr(inspect.getmodule(kind), "__doc__", "")):
        if found := _YEAR.search(text or ""):
            return " ".join(found[1].split())
    return ""


def _patterns(delta: Params) -> list[str]:
    """Names without their numbers, each once, as layers of one kind have them."""
    return list(dict.fromkeys(re.sub(r"\b\d+\b", "*", name) for name in delta))


def _count(params: Params) -> str:
    return f"{sum(value.numel() for value in params.values()):,}"


def _reason(option: str, learner: Learner, entry: object) -> str:
    """What a docstring says of an option, in a line that begins with its name."""
    for documented in (type(learner), entry):
        line = re.search(rf"^{re.escape(option)} {{2,}}(.+(?:\n +.+)*)", inspect.getdoc(documented) or "", re.MULTILINE)
        if line:
            return f": {' '.join(line[1].split())}"
    return ""


def _transductive(subject: Subject) -> Iterator[str]:
    for variant, one in subject.variants.items():
        answer = "yes" if getattr(one.build(), "transductive", False) else "no"
        yield f"{answer} with {variant}" if variant else answer


def _backends(subject: Subject) -> Iterator[str]:
    small = replace(subject, network_options={"filters": 8})
    for name, backend in BACKENDS.items():
        check = next((check for check in CHECKS if check.name == f"backend {name}"), None)
        if backend.compiles:
            yield f"{name} not tried, as compiling takes minutes"
        elif check is not None:
            yield f"{name}{_say(run_check(check, small))}"
        else:
            yield name


def _say(result: Result) -> str:
    return "" if result.status == "passed" else f" no: {result.what}"
