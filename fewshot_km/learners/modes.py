"""Evaluation mode for the networks that a learner holds, which layers such as dropout ask about."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType

from torch import Tensor, nn


@contextmanager
def evaluating(learner: object) -> Iterator[None]:
    """Put every network that a learner holds in evaluation mode; restore the modes afterwards.

    Validation, test and analysis run in this context, the inner loop included. Dropout regularises what the outer loop
    trains; at test it would make the accuracy of given weights on given episodes a random number. Norm layers without
    running statistics normalise by the batch in this mode, too. Meta-training leaves networks in the mode in which the
    learner built them.
    """
    training = [module for module in modules_of(learner) if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def modules_of(holder: object) -> list[nn.Module]:
    """The modules among the attributes of an object and of their attributes, in lists and dictionaries too."""
    return list(_modules(holder, set()))


def _modules(holder: object, seen: set[int]) -> Iterator[nn.Module]:
    if id(holder) in seen or isinstance(holder, Tensor | str | bytes | type | FunctionType | ModuleType):
        return
    seen.add(id(holder))
    if isinstance(holder, nn.Module):
        yield holder
    if isinstance(holder, Mapping):
        inside = list(holder.values())
    elif isinstance(holder, list | tuple | set | frozenset):
        inside = list(holder)
    else:
        inside = list(getattr(holder, "__dict__", {}).values())  # of a module its submodules, too
    for value in inside:
        yield from _modules(value, seen)
