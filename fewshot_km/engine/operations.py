"""Convolution and batch norm whose second derivatives cost about what their first cost.

Second-order meta-learning differentiates gradients. torch writes the derivative of a convolution's weight gradient as
a convolution whose kernel is as large as the image, and that of batch norm as some thirty passes over the activations.
Here both are built from the same fast primitives as the first derivative. The arithmetic is the same; only the order
of sums differs. And torch sums the statistics of channels-last images in plain float32, which costs a second-order
gradient one to two digits; here they are summed pairwise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

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


class _Normalisation(Function):
    """h = (x - mean) / std over batch, height and width of each channel, with the biased variance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        columns = _channel_columns(x)
        mean = columns.mean(0)
        variance = (columns - mean).square_().mean(0)
        h = aten.native_batch_norm(x, None, None, mean, variance, False, 0.0, eps)[0]
        ctx.save_for_backward(x, mean, torch.rsqrt(variance + eps))
        ctx.eps = eps
        result: Tensor = h
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        return _NormalisationGradient.apply(outputs[0], *ctx.saved_tensors, ctx.eps), None  # type: ignore[no-untyped-call]


class _NormalisationGradient(Function):
    """dL/dx = s (g - mean g - h mean(g h)) from g = dL/dh, with s = 1/std."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
        g = _laid_out_as(x, g)  # the kernel for mixed layouts is several times slower
        ctx.save_for_backward(g, x, mean, scale)
        ctx.eps = eps
        needed = [True, False, False]
        result: Tensor = aten.native_batch_norm_backward(g, x, None, None, None, mean, scale, True, eps, needed)[0]
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        """For v, the gradient of what is above: with <.> for the mean over a channel,

        to g:  s (v - <v> - h <v h>)
        to x:  s^2 ((<v> - v) <g h> + (<g> - g) <v h> + h (3 <v h> <g h> + <v> <g> - <v g>))
        """
        g, x, mean, s = ctx.saved_tensors
        shape = x.shape
        v, g, x = (_channel_columns(t) for t in (outputs[0], g, x))
        average = x.new_full((len(x),), 1 / len(x))  # a product with it sums faster than sum() over a long axis
        if torch.is_grad_enabled():  # for a third derivative, the statistics must be functions of x
            mean = average @ x
            s = torch.rsqrt(average @ (x - mean) ** 2 + ctx.eps)
        h = (x - mean) * s
        v_mean, g_mean = average @ v, average @ g
        vh, gh, vg = average @ (v * h), average @ (g * h), average @ (v * g)
        to_g = torch.addcmul(v * s - s * v_mean, h, -s * vh)
        to_x = torch.addcmul((v_mean * gh + g_mean * vh) * s**2, v, -gh * s**2)
        to_x = torch.addcmul(to_x, g, -vh * s**2)
        to_x = torch.addcmul(to_x, h, (3 * vh * gh + v_mean * g_mean - vg) * s**2)
        return _from_channel_columns(to_g, shape), _from_channel_columns(to_x, shape), None, None, None


def _channel_columns(x: Tensor) -> Tensor:
    """[M, C, H, W] -> [M*H*W, C], a view of a channels-last tensor."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _from_channel_columns(columns: Tensor, shape: torch.Size) -> Tensor:
    images, channels, height, width = shape
    return columns.reshape(images, height, width, channels).permute(0, 3, 1, 2)


def _laid_out_as(x: Tensor, g: Tensor) -> Tensor:
    return g.contiguous(memory_format=torch.channels_last) if x.is_contiguous(memory_format=torch.channels_last) else g


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


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`, with fast second derivatives for images and their own statistics."""
    if running_mean is not None or not training or x.ndim != 4:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    h: Tensor = _Normalisation.apply(x, eps)  # type: ignore[no-untyped-call]
    if weight is not None:
        h = h * weight[:, None, None] if bias is None else torch.addcmul(bias[:, None, None], h, weight[:, None, None])
    elif bias is not None:
        h = h + bias[:, None, None]
    return h


def pair(value: int | Sequence[int]) -> list[int]:
    """Height and width of what convolutions take as one number or two."""
    return [value, value] if isinstance(value, int) else list(value)


_FAST: dict[Callable[..., Any], Callable[..., Tensor]] = {
    torch.conv2d: conv2d,
    F.conv2d: conv2d,
    F.batch_norm: batch_norm,
}


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
    """Within it, conv2d and batch_norm are the operations above. Not for `torch.func`."""

    def __init__(self) -> None:
        super().__init__(_FAST)
