"""Operations of torch, and of ours, replaced within a context by others, under any network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


def pair(value: int | Sequence[int]) -> list[int]:
    """Height and width of what convolutions take as one number or two."""
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


class ReplacedOperations(TorchFunctionMode):
    """Within it, whatever network calls the operations of a table gets those that the table names instead."""

    def __init__(self, table: Mapping[Callable[..., Any], Callable[..., Tensor]]) -> None:
        super().__init__()
        self._table = table

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace what is known here, pass on the rest."""
        return self._table.get(func, func)(*args, **(kwargs or {}))
