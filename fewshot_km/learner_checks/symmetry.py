"""What the order of images, the order of classes and the other queries must not change."""

import torch
from torch import Tensor

from fewshot_km.learner_checks.check_report import Doubt, Fault, Skip
from fewshot_km.learner_checks.source_places import place_of_method
from fewshot_km.learner_checks.subject import WAYS, Subject, difference
from fewshot_km.learners import Params
from fewshot_km.learners.modes import evaluating


def query_order(subject: Subject) -> None:
    """Queries in another order get the same answers in that order: a place says nothing about a class."""
    learner, meta, task = subject.start()
    answers = subject.answer(learner, meta, task)
    for order in _orders(len(task.query_x)):
        if difference(subject.answer(learner, meta, task._replace(query_x=task.query_x[order])), answers[order]):
            raise Fault(
                "a query is answered by its place among the queries: in another order, other answers",
                place_of_method(learner, "predict"),
                "compute the answer to an image from the image; torch.arange and counters over queries are suspicious",
            )


def support_order(subject: Subject) -> None:
    """Support images in another order, with their labels, change nothing."""
    learner, meta, task = subject.start()
    answers = subject.answer(learner, meta, task)
    for order in _orders(len(task.support_x)):
        reordered = task._replace(support_x=task.support_x[order], support_y=task.support_y[order])
        if difference(subject.answer(learner, meta, reordered), answers):
            raise Fault(
                "the answers change with the order of the support images",
                place_of_method(learner, "adapt"),
                "they come shuffled: group them by their labels y, never by reshaping to [ways, shots]",
            )


def class_order(subject: Subject) -> str:
    """Other names of the classes rename the answers.

    A learner without parameters of single classes, with a closed-form or metric head, must be equivariant as it is. A
    linear head that starts from meta-parameters is not: each class starts from its own row. So the entries of the
    meta-parameters that belong to single classes are renamed as well. They are those along the dimensions that follow
    the number of ways, which another learner with more ways shows.
    """
    learner, meta, task = subject.start()
    along = _class_dimensions(meta, subject)
    answers = subject.answer(learner, meta, task)
    for order in _orders(WAYS):  # class order[i] becomes class i
        new_label = order.argsort()
        renamed = {name: _reordered(value, along[name], order) for name, value in meta.items()}
        got = subject.answer(learner, renamed, task._replace(support_y=new_label[task.support_y]))
        if difference(got, answers[:, order]):
            raise Fault(
                "with the classes numbered otherwise, the answers are not the same ones renumbered",
                place_of_method(learner, "adapt"),
                "treat all classes alike: a label is a name, not a number to compute with",
            )
    heads = [name for name, dimensions in along.items() if dimensions]
    return f"renumbered with them: {', '.join(heads)}" if heads else ""


def queries_alone(subject: Subject) -> str:
    """Each query alone is answered as among all, unless the learner declares itself `transductive`."""
    learner, meta, task = subject.start()
    declared = bool(getattr(learner, "transductive", False))
    with torch.no_grad(), evaluating(learner):
        delta = subject.adapt(learner, meta, task)
        together = subject.predict(learner, meta, delta, task.query_x)

        def alone(place: slice) -> Tensor:
            return subject.predict(learner, meta, delta, task.query_x[place])

        differs = any(difference(alone(slice(i, i + 1)), together[i : i + 1]) for i in range(3)) or any(
            difference(alone(part), together[part]) for part in (slice(0, 5), slice(5, None))
        )
    where = place_of_method(learner, "predict")
    if differs and not declared:
        raise Fault(
            "the answer to a query depends on the other queries, but the learner does not declare itself transductive",
            where,
            "set `transductive = True` on the class if that is meant; else answer each query for itself",
        )
    if declared and not differs:
        raise Doubt(
            "the learner declares itself transductive, but answers each query alone as among others",
            where,
            "remove `transductive`, or make it a property that says when it is",
        )
    return "transductive, as declared" if declared else ""


def _orders(count: int) -> list[Tensor]:
    """Two permutations: one that moves everything, and a random one."""
    return [torch.arange(count).roll(1), torch.randperm(count, generator=torch.Generator().manual_seed(2))]


def _reordered(value: Tensor, dimensions: list[int], order: Tensor) -> Tensor:
    for dimension in dimensions:
        value = value.index_select(dimension, order)
    return value


def _class_dimensions(meta: Params, subject: Subject) -> dict[str, list[int]]:
    """Of each meta-parameter the dimensions with an entry for each class; raises Skip where that cannot be told."""
    more = subject.init(subject.build(ways=WAYS + 2))
    found: dict[str, list[int]] = {}
    for name, value in meta.items():
        sizes, others = list(value.shape), list(more[name].shape) if name in more else []
        changing = [place for place, (a, b) in enumerate(zip(sizes, others, strict=False)) if a != b]
        is_plain = all((sizes[place], others[place]) == (WAYS, WAYS + 2) for place in changing)
        if name not in more or len(sizes) != len(others) or not is_plain:
            raise Skip(
                f"which part of the meta-parameter '{name}' belongs to which class is not known", "", "see its shape"
            )
        found[name] = changing
    return found
