"""Batch norm, and the max-pooling and ReLU after it, as one operation on a CPU, with its first and second derivatives.

Written out operation by operation, the second derivative reads and writes the activations some forty times; here it is
five. The sums differ in order only.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from fewshot_km.engine import normalisation_loops as loops
from fewshot_km.engine.layout import images_of, rows_of
from fewshot_km.engine.machine_code import Array
from fewshot_km.networks import norms

# torch's `once_differentiable` leaves them out, silently, where gradients are asked for by torch.autograd.grad
NO_THIRD = "this execution has no third derivatives of batch norm; choose the execution 'plain' for this learner"


class _Normalise(Function):
    """y = weight h + bias of images [N, C, H, W] normalised by channel, where that exceeds `floor`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, floor: float) -> Tensor:
        lines, mean, s = loops.normalise(_lines(x), _array(weight), _array(bias), eps, floor)
        y = _images(lines, x)
        ctx.save_for_backward(x, weight, y)
        ctx.known = (mean, s, floor)
        return y

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (outputs[0], *ctx.saved_tensors, ctx.known)
        return *_NormaliseGradient.apply(*inputs), None, None  # type: ignore[no-untyped-call]


class _NormaliseGradient(Function):
    """Gradients with respect to images, weight and bias. y tells what is alive."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, y: Tensor, known: tuple[Array, Array, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_x, b, a = loops.normalise_gradient(_lines(g), _lines(x), _lines(y), _array(weight), *known)
        ctx.save_for_backward(g, x, weight, y)
        ctx.known = (*known[:2], b, a, known[2])
        return _images(of_x, x), _channels(b, x), _channels(a, x)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (*outputs, *ctx.saved_tensors, ctx.known)
        return *_NormaliseSecond.apply(*inputs), None, None  # type: ignore[no-untyped-call]


class _NormaliseSecond(Function):
    """Gradients of that with respect to g, images and weight, along v, v_weight and v_bias."""

    @staticmethod
    def forward(_: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        v, v_weight, v_bias, g, x, weight, y, known = inputs
        along = (_lines(v), _array(v_weight), _array(v_bias))
        to_g, to_x, to_weight = loops.normalise_second(*along, _lines(g), _lines(x), _lines(y), _array(weight), *known)
        return _images(to_g, x), _images(to_x, x), _channels(to_weight, x)

    @staticmethod
    def backward(_: Any, *outputs: Tensor) -> Any:
        raise NotImplementedError(NO_THIRD)


class _NormaliseAndPool(Function):
    """y = relu(weight h + bias) of the maxima of windows of 2x2 normalised pixels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, *found = loops.pool(_rows(x), _array(weight), _array(bias), eps)
        ctx.found = tuple(found)
        ctx.save_for_backward(x, weight)
        return _images(y, x)

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
        of_x, b, a = loops.pool_gradient(_rows(g), _rows(x), h, which, _array(weight), mean, s)
        ctx.save_for_backward(g, x, weight)
        ctx.found, ctx.sums = found, (b, a)
        return _images(of_x, x), _channels(b, x), _channels(a, x)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (*outputs, *ctx.saved_tensors, ctx.found, ctx.sums)
        return *_PoolSecond.apply(*inputs), None  # type: ignore[no-untyped-call]


class _PoolSecond(Function):
    """Gradients of that with respect to g, images and weight, along v, v_weight and v_bias."""

    @staticmethod
    def forward(_: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        v, v_weight, v_bias, g, x, weight, (h, which, mean, s), sums = inputs
        along = (_rows(v), _array(v_weight), _array(v_bias))
        to_g, to_x, to_weight = loops.pool_second(*along, _rows(g), _rows(x), h, which, _array(weight), mean, s, *sums)
        return _images(to_g, x), _images(to_x, x), _channels(to_weight, x)

    @staticmethod
    def backward(_: Any, *outputs: Tensor) -> Any:
        raise NotImplementedError(NO_THIRD)


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
    """`torch.nn.functional.batch_norm`; images on a CPU are normalised by their own statistics here, the rest there."""
    if running_mean is not None or not training or not _known(x):
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    weight = x.new_ones(x.shape[1]) if weight is None else weight
    bias = x.new_zeros(x.shape[1]) if bias is None else bias
    result: Tensor = _Normalise.apply(x, weight, bias, eps, float("-inf"))  # type: ignore[no-untyped-call]
    return result


def batch_norm_relu(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, pool: bool = False) -> Tensor:
    """`fewshot_km.networks.norms.batch_norm_relu`; images on a CPU are treated here, the rest there."""
    if not _known(x) or (pool and min(x.shape[2:]) < 2):
        return norms.batch_norm_relu(x, weight, bias, eps, pool=pool)
    if pool:
        pooled: Tensor = _NormaliseAndPool.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
        return pooled
    result: Tensor = _Normalise.apply(x, weight, bias, eps, 0.0)  # type: ignore[no-untyped-call]
    return result


def _known(x: Tensor) -> bool:
    """Whether these are images that the loops can read, and several pixels a channel, without which torch complains."""
    there = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return there and x.ndim == 4 and x.numel() > x.shape[1]


def _rows(images: Tensor) -> Array:
    return rows_of(images).numpy()


def _lines(images: Tensor) -> Array:
    """[N, C, H, W] -> [N * H, W * C]."""
    return rows_of(images).flatten(0, 1).numpy()


def _images(rows: Array, like: Tensor) -> Tensor:
    """The way back, from rows or lines; `like` may have more pixels."""
    n, channels = like.shape[:2]
    return images_of(torch.from_numpy(rows).view(n, -1, rows.shape[-1]), channels)


def _array(of_channels: Tensor) -> Array:
    return of_channels.detach().contiguous().numpy()


def _channels(values: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.dtype)
