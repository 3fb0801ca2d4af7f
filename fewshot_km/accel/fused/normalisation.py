"""Batch norm with the max-pooling and ReLU after it as one operation on a CPU, with first and second derivatives.

Operation by operation, the second derivative reads and writes the activations some forty times; here it does so five
times. The sums differ in order only.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from fewshot_km.accel.fused import normalisation_loops, pooling_loops
from fewshot_km.accel.fused.channels_last import Array, array_of, images_of, readable, rows_of

# torch's `once_differentiable` leaves them out, silently, where gradients are asked for by torch.autograd.grad
NO_THIRD = "this backend has no third derivatives; choose the backend 'plain' for this learner"


class SecondDerivative(Function):
    """A function without a derivative of its own: asking for one raises NotImplementedError."""

    @staticmethod
    def backward(_: Any, *outputs: Tensor) -> Any:
        """Refuse."""
        raise NotImplementedError(NO_THIRD)


class _Normalise(Function):
    """y = weight h + bias of images [N, C, H, W] normalised by channel to h, or 0 where that is not above `floor`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, floor: float) -> Tensor:
        lines, mean, s = normalisation_loops.normalise(_lines(x), array_of(weight), array_of(bias), eps, floor)
        y = _images(lines, x)
        ctx.save_for_backward(x, weight, y)
        ctx.known = (mean, s, floor)
        return y

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (outputs[0], *ctx.saved_tensors, ctx.known)
        return *_NormaliseGradient.apply(*inputs), None, None  # type: ignore[no-untyped-call]


class _NormaliseGradient(Function):
    """Gradients with respect to images, weight and bias; y is above the floor where a pixel is alive."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, y: Tensor, known: tuple[Array, Array, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_x, b, a = normalisation_loops.normalise_gradient(_lines(g), _lines(x), _lines(y), array_of(weight), *known)
        ctx.save_for_backward(g, x, weight, y)
        ctx.known = (*known[:2], b, a, known[2])
        return _images(of_x, x), _channels(b, of_x), _channels(a, of_x)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (*outputs, *ctx.saved_tensors, ctx.known)
        return *_NormaliseSecond.apply(*inputs), None, None  # type: ignore[no-untyped-call]


class _NormaliseSecond(SecondDerivative):
    """Gradients of these with respect to g, images and weight, along v, v_weight and v_bias."""

    @staticmethod
    def forward(_: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        v, v_weight, v_bias, g, x, weight, y, known = inputs
        along = (_lines(v), array_of(v_weight), array_of(v_bias))
        to_g, to_x, to_weight = normalisation_loops.normalise_second(
            *along, _lines(g), _lines(x), _lines(y), array_of(weight), *known
        )
        return _images(to_g, x), _images(to_x, x), _channels(to_weight, to_x)


class _NormaliseAndPool(Function):
    """y = relu(weight h + bias) for the maxima h of windows of 2x2 normalised pixels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, *found = pooling_loops.pool(rows_of(x), array_of(weight), array_of(bias), eps)
        ctx.found = tuple(found)
        ctx.save_for_backward(x, weight)
        return images_of(y, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        return *_PoolGradient.apply(outputs[0], *ctx.saved_tensors, ctx.found), None  # type: ignore[no-untyped-call]


class _PoolGradient(Function):
    """Gradients with respect to images, weight and bias."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, found: tuple[Array, Array, Array, Array]
    ) -> tuple[Tensor, Tensor, Tensor]:
        h, which, mean, s = found
        of_x, b, a = pooling_loops.pool_gradient(rows_of(g), rows_of(x), h, which, array_of(weight), mean, s)
        ctx.save_for_backward(g, x, weight)
        ctx.found, ctx.sums = found, (b, a)
        return images_of(of_x, len(a)), _channels(b, of_x), _channels(a, of_x)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (*outputs, *ctx.saved_tensors, ctx.found, ctx.sums)
        return *_PoolSecond.apply(*inputs), None  # type: ignore[no-untyped-call]


class _PoolSecond(SecondDerivative):
    """Gradients of these with respect to g, images and weight, along v, v_weight and v_bias."""

    @staticmethod
    def forward(_: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        v, v_weight, v_bias, g, x, weight, (h, which, mean, s), sums = inputs
        along = (rows_of(v), array_of(v_weight), array_of(v_bias))
        to_g, to_x, to_weight = pooling_loops.pool_second(
            *along, rows_of(g), rows_of(x), h, which, array_of(weight), mean, s, *sums
        )
        return images_of(to_g, len(mean)), images_of(to_x, len(mean)), _channels(to_weight, to_x)


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
    """`torch.nn.functional.batch_norm`, which computes all but images on a CPU with the statistics of their batch."""
    if running_mean is not None or not training or not treated(x):
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    weight = x.new_ones(x.shape[1]) if weight is None else weight
    bias = x.new_zeros(x.shape[1]) if bias is None else bias
    result: Tensor = _Normalise.apply(x, weight, bias, eps, float("-inf"))  # type: ignore[no-untyped-call]
    return result


def batch_norm_relu(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, pool: bool = False) -> Tensor:
    """ReLU after batch norm of images on a CPU; with `pool`, of the maxima of 2x2 windows, for weights >= 0 only."""
    if pool:
        pooled: Tensor = _NormaliseAndPool.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
        return pooled
    result: Tensor = _Normalise.apply(x, weight, bias, eps, 0.0)  # type: ignore[no-untyped-call]
    return result


def treated(x: Tensor) -> bool:
    """True for images that the loops can read, with several pixels a channel: torch refuses fewer."""
    return readable(x) and x.ndim == 4 and x.numel() > x.shape[1]


def _lines(images: Tensor) -> Array:
    """[N, C, H, W] -> [N * H, W * C]."""
    rows = rows_of(images)
    return rows.reshape(-1, rows.shape[2])


def _images(lines: Array, like: Tensor) -> Tensor:
    """[N * H, W * C] -> [N, C, H, W]."""
    return images_of(lines.reshape(len(like), -1, lines.shape[1]), like.shape[1])


def _channels(values: Array, like: Array) -> Tensor:
    return torch.from_numpy(values.astype(like.dtype))
