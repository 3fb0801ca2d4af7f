"""Whether a learner's networks train or are evaluated, which layers such as dropout ask about."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType

from torch import Tensor, nn


@contextmanager
def evaluating(learner: object) -> Iterator[None]:
    """While this lasts, every network that a learner holds is in evaluation mode; afterwards, as it was before.

    Validation, test and analysis run so, the inner loop included: dropout regularises what the outer loop trains, and
    would make of the accuracy of given weights on given episodes a random number. Norm layers without running
    statistics normalise by the batch in this mode, too: the norm's protocol stays. Meta-training leaves networks in the
    mode in which the learner built them.

    Found are modules among the attributes of the learner, and of what these are, in lists and dictionaries too.
    """
    training = [module for module in _modules(learner, set()) if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


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
