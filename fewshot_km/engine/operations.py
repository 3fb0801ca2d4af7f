"""Operations of torch replaced, within a context, by faster ones with fast second derivatives, under any network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fewshot_km.networks.norms import batch_norm_relu


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


class FastOperations(ReplacedOperations):
    """Within it, convolutions and batch norms are fast ones. Not for `torch.func`."""

    def __init__(self) -> None:
        # here, because its compiler takes half a second to import, for which most commands need not wait
        from fewshot_km.engine import convolution, normalisation

        super().__init__(
            {
                torch.conv2d: convolution.conv2d,
                F.conv2d: convolution.conv2d,
                F.batch_norm: normalisation.batch_norm,
                batch_norm_relu: normalisation.batch_norm_relu,
            }
        )
