"""Convolutions whose second derivatives cost as much as their first.

Second-order meta-learning differentiates gradients. torch writes the derivative of a convolution's weight gradient as a
convolution whose kernel is as large as the image. Here it consists of the same primitives as the first derivative:
torch's, or products over windows where these are faster. Only the order of sums differs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from fewshot_km.accel.fused import window_products
from fewshot_km.accel.fused.channels_last import readable
from fewshot_km.accel.replacing import pair

aten = torch.ops.aten
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]
"""Stride, padding, dilation, transposed, output padding, groups: the arguments of aten's convolution primitives."""

# For the gradients of images and kernels, products over windows take 0.4 to 1.0 of the time of torch's kernels where
# convolutions are strided or maps are small; elsewhere 0.9 to 1.5 (`benchmarks/speed/windows.py`).
SMALL_MAP = 16  # pixels of output


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
        needed = [*ctx.needs_input_grad[:2], ctx.has_bias and ctx.needs_input_grad[2]]
        return *_gradients(outputs[0], x, weight, ctx.geometry, needed), None


class _ConvolutionGradient(Function):
    """(dL/dx, dL/dw, dL/db) from g = dL/dy. All are linear in g, the first in w, the second in x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: list[bool]) -> Gradients:
        ctx.save_for_backward(g, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        if needed[0] and _as_products(g, x, geometry):
            (s_h, s_w), (p_h, p_w), *_ = geometry
            found = window_products.gradients(g, x, weight, (s_h, s_w), (p_h, p_w), of_weight=needed[1])
        else:
            found = aten.convolution_backward(g, x, weight, None, *geometry, [*needed[:2], False])[:2]
        # torch would sum up g, too, but takes as long for that as for the kernels of a first layer
        return *found, g.sum((0, 2, 3)) if needed[2] else None

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor | None) -> Any:
        of_x, of_weight, of_bias = outputs
        g, x, weight = ctx.saved_tensors
        need_g, need_x, need_weight = ctx.needs_input_grad[:3]
        to_g = to_x = to_weight = None
        if need_g and of_x is not None:
            to_g = _convolution(of_x, weight, None, ctx.geometry)
        if need_g and of_weight is not None:
            to_g = _sum(to_g, _convolution(x, of_weight, None, ctx.geometry))
        if need_g and of_bias is not None:
            to_g = _sum(to_g, of_bias[:, None, None].expand_as(g))
        needed = [need_x and of_weight is not None, need_weight and of_x is not None, False]
        if any(needed):
            at = (x if of_x is None else of_x, weight if of_weight is None else of_weight)
            to_x, to_weight, _ = _gradients(g, *at, ctx.geometry, needed)
        return to_g, to_x, to_weight, None, None


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    result: Tensor = _Convolution.apply(x, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return result


def _gradients(g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: list[bool]) -> Gradients:
    gradients: Gradients = _ConvolutionGradient.apply(g, x, weight, geometry, needed)  # type: ignore[no-untyped-call]
    return gradients


def _sum(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


def _as_products(g: Tensor, x: Tensor, geometry: Geometry) -> bool:
    """True for images that products over windows are written for, where these are faster."""
    stride, _, *others = geometry
    written_for = others == [[1, 1], False, [0, 0], 1] and readable(x) and len(x) > 0
    small = g.shape[2:].numel() <= SMALL_MAP or stride != [1, 1]
    return written_for and small


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d` with fast second derivatives; torch computes single images and named padding."""
    if isinstance(padding, str) or x.ndim != 4:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return _convolution(x, weight, bias, (pair(stride), pair(padding), pair(dilation), False, [0, 0], groups))
