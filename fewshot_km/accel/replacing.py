"""Faster versions of torch's operations, and of the forward passes of our modules, in their place within a context."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.overrides import TorchFunctionMode

from fewshot_km.learners.modes import modules_of
from fewshot_km.models.exact import is_exactly

Forwards = Mapping[type[nn.Module], Callable[..., Tensor]]
"""By class of modules: (module, *inputs) -> what its `forward` returns for these inputs."""


class ReplacedOperations(TorchFunctionMode):
    """Within it, networks that call the operations of a table get those that the table names instead."""

    def __init__(self, table: Mapping[Callable[..., Any], Callable[..., Tensor]]) -> None:
        super().__init__()
        self._table = table

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace what is known here, pass on the rest."""
        return self._table.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def replaced_forwards(holder: object, table: Forwards) -> Iterator[None]:
    """Within it, modules that `holder` keeps and that are exactly of a class in the table compute by the table."""
    kinds = [(module, type_before_parametrizations(module)) for module in modules_of(holder)]
    replaced = [(module, kind) for module, kind in kinds if kind in table and is_exactly(module, kind)]
    for module, kind in replaced:
        module.forward = partial(table[kind], module)
    try:
        yield
    finally:
        for module, _ in replaced:
            del module.forward


def pair(value: int | Sequence[int]) -> list[int]:
    """Height and width of what convolutions take as one number or two."""
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values
