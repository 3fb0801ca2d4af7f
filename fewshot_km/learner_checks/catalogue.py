"""The checks in the order in which they run, and what must have passed for one to mean something."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.errors import describe_error
from fewshot_km.learner_checks import gradients, outputs, purity, shapes_and_types, symmetry
from fewshot_km.learner_checks.check_report import Finding, Result
from fewshot_km.learner_checks.learning import learns
from fewshot_km.learner_checks.source_places import place_of_error
from fewshot_km.learner_checks.subject import Subject

ALL = ("*",)


@dataclass(frozen=True)
class Check:
    """A promise of a learner.

    run    raises Fault, Doubt or Skip; may return a note
    needs  names of the checks without which it means nothing; ALL: every one before it
    on     which variants of the network it runs on: each of them, the one that mixes no images, or the usual one
    """

    name: str
    run: Callable[[Subject], str | None]
    needs: tuple[str, ...] = ()
    on: Literal["plain", "each", "usual"] = "plain"


_RUNS = ("builds", "init", "training", "testing")
_ANSWERS = (*_RUNS, "shape", "finite")
_PURE = (*_ANSWERS, "repeats", "inputs", "tasks apart")

CHECKS: tuple[Check, ...] = (
    Check("builds", outputs.builds),
    Check("init", outputs.init_returns_parameters, ("builds",)),
    Check("init repeats", outputs.init_repeats, ("builds", "init")),
    Check("seeds", outputs.seeds_matter, ("builds", "init", "init repeats")),
    Check("training", outputs.trains, ("builds", "init"), on="each"),
    Check("testing", outputs.tests_without_gradients, ("builds", "init", "training"), on="each"),
    Check("shape", outputs.logits_shape, _RUNS),
    Check("precision", outputs.logits_dtype, _RUNS),
    Check("finite", outputs.logits_finite, _RUNS, on="each"),
    Check("device", outputs.logits_device, _RUNS),
    Check("repeats", purity.repeats, _ANSWERS, on="each"),
    Check("inputs", purity.inputs_are_kept, _RUNS, on="each"),
    Check("same at test", outputs.answers_as_in_training, (*_ANSWERS, "repeats", "inputs"), on="each"),
    Check("memory", purity.delta_is_its_own, _RUNS),
    Check("random numbers", purity.generator_is_kept, (*_RUNS, "repeats")),
    Check("tasks apart", purity.tasks_are_apart, (*_ANSWERS, "repeats", "inputs"), on="each"),
    Check("save and load", purity.saves_and_loads, _PURE),
    Check("modes", purity.modes_are_kept, (*_PURE, "save and load")),
    Check("query labels", purity.query_labels_are_unseen, _PURE),
    Check("query order", symmetry.query_order, _PURE, on="each"),
    Check("support order", symmetry.support_order, _PURE, on="each"),
    Check("ways", shapes_and_types.other_ways, _ANSWERS),
    Check("class order", symmetry.class_order, (*_PURE, "ways", "query order", "support order"), on="each"),
    Check("shots", shapes_and_types.other_shots, (*_ANSWERS, "support order")),
    Check("queries", shapes_and_types.other_queries, (*_ANSWERS, "query order")),
    Check("queries alone", symmetry.queries_alone, (*_PURE, "query order", "queries"), on="each"),
    Check("image size", shapes_and_types.other_images, _ANSWERS),
    Check("float64", shapes_and_types.float64, (*_PURE, "precision")),
    Check("gradients", gradients.gradients_exist, _PURE),
    Check("second order", gradients.second_order, (*_PURE, "gradients", "float64")),
    *(
        Check(
            f"backend {name}",
            gradients.agrees_with_plain(name),
            (*_PURE, "query labels", "gradients", "image size"),
            on="each",
        )
        for name, backend in BACKENDS.items()
        if name != "plain" and not backend.compiles  # compiling takes minutes; it is what vmap runs
    ),
    Check("learns", learns, ALL, on="usual"),
)
"""Each of them a promise that `fewshot_km.learners.base.Learner` makes; names are those that reports show."""


def run_checks(subject: Subject) -> Iterator[Result]:
    """The outcome of each check, as it is known."""
    missing: dict[str, str] = {}  # checks that have not passed, and those that failed before they could
    for check in CHECKS:
        reasons = [why for name, why in missing.items() if check.needs == ALL or name in check.needs]
        if reasons:
            missing[check.name] = reasons[0]
            yield Result(check.name, "skipped", f"says nothing before '{reasons[0]}' is mended")
            continue
        result = run_check(check, subject)
        if result.status == "failed":
            missing[check.name] = check.name
        yield result


def run_check(check: Check, subject: Subject) -> Result:
    """The gravest outcome of all variants of the network."""
    alone = subject.usual_variant if check.on == "usual" else subject.plain_variant
    variants = subject.variants if check.on == "each" else {"": alone}
    results = {name: _run_variant(check, variant) for name, variant in variants.items()}
    for status in ("failed", "warned", "passed"):
        found = {name: result for name, result in results.items() if result.status == status}
        told = {name: result for name, result in found.items() if result.what}
        for name, result in told.items():
            return result if len(told) == len(results) else replace(result, what=f"{result.what} (with {name})")
        if found:
            return next(iter(found.values()))
    return next(iter(results.values()))


def _run_variant(check: Check, subject: Subject) -> Result:
    try:
        return Result(check.name, "passed", check.run(subject) or "")
    except Finding as found:
        return Result(check.name, found.status, found.what, found.where, found.mend)
    except Exception as error:  # of the learner, called by a backend or the engine
        return Result(
            check.name, "failed", f"it raised {describe_error(error)[:300]}", place_of_error(error), "mend that line"
        )
