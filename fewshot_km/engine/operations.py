"""Operations of torch replaced, within a context, by ones whose second derivatives cost what their first cost.

Second-order meta-learning differentiates gradients. torch writes the derivative of a convolution's weight gradient as a
convolution whose kernel is as large as the image; here it is built from the same fast primitives as the first
derivative. Batch norm and what follows it are in `normalisation`. The arithmetic is the same; only the order of sums
differs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fewshot_km.networks.norms import batch_norm_relu

aten = torch.ops.aten
Gradients = tuple[Tensor | None, ...]
Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]
"""Stride, padding, dilation, transposed, output padding, groups: what every convolution primitive of aten takes."""


class _Convolution(Function):
    """y = x * w + b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.has_bias = geometry, bias is not None
        result: Tensor = aten.convolution(x, weight, bias, *geometry)
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needed = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias and ctx.needs_input_grad[2]]
        return (*_ConvolutionGradient.apply(outputs[0], x, weight, ctx.geometry, needed), None)  # type: ignore[no-untyped-call]


class _ConvolutionGradient(Function):
    """(dL/dx, dL/dw, dL/db) from g = dL/dy: linear in g, in w (the first) and in x (the second)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: list[bool]) -> Gradients:
        ctx.save_for_backward(g, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        gradients: Gradients = aten.convolution_backward(g, x, weight, [len(weight)], *geometry, needed)
        return gradients

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor | None) -> Any:
        of_x, of_weight, of_bias = outputs
        g, x, weight = ctx.saved_tensors
        need_g, need_x, need_weight = ctx.needs_input_grad[:3]
        to_g = to_x = to_weight = None
        if need_g and of_x is not None:
            to_g = aten.convolution(of_x, weight, None, *ctx.geometry)
        if need_g and of_weight is not None:
            to_g = _sum(to_g, aten.convolution(x, of_weight, None, *ctx.geometry))
        if need_g and of_bias is not None:
            to_g = _sum(to_g, of_bias[:, None, None].expand_as(g))
        if need_x and of_weight is not None:
            to_x = aten.convolution_backward(g, x, of_weight, None, *ctx.geometry, [True, False, False])[0]
        if need_weight and of_x is not None:
            to_weight = aten.convolution_backward(g, of_x, weight, None, *ctx.geometry, [False, True, False])[1]
        return to_g, to_x, to_weight, None, None


def _sum(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d`, with fast second derivatives for batches of images and numeric padding."""
    if isinstance(padding, str) or x.ndim != 4:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    geometry = (pair(stride), pair(padding), pair(dilation), False, [0, 0], groups)
    result: Tensor = _Convolution.apply(x, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return result


def pair(value: int | Sequence[int]) -> list[int]:
    """Height and width of what convolutions take as one number or two."""
    return [value, value] if isinstance(value, int) else list(value)


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
        from fewshot_km.engine import normalisation

        super().__init__(
            {
                torch.conv2d: conv2d,
                F.conv2d: conv2d,
                F.batch_norm: normalisation.batch_norm,
                batch_norm_relu: normalisation.batch_norm_relu,
            }
        )
