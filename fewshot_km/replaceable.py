"""Functions of ours that a backend can replace by faster ones, as it can replace functions of torch."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

Formula = TypeVar("Formula", bound=Callable[..., Tensor])


def replaceable(formula: Formula) -> Formula:
    """Decorator: let torch's function modes see calls with tensors among the positional arguments, and replace them.

    What they are given as the called function is the decorated one; `__wrapped__` is the formula itself.
    """

    @wraps(formula)
    def call(*args: Any, **kwargs: Any) -> Any:
        tensors = tuple(arg for arg in args if isinstance(arg, Tensor))
        if has_torch_function(tensors):
            return handle_torch_function(call, tensors, *args, **kwargs)
        return formula(*args, **kwargs)

    return cast(Formula, call)
