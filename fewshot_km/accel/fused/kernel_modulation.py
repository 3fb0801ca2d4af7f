"""Kernel modulation in one go on a CPU, with its first and second derivatives.

By torch's operations it is products of tall matrices of nine columns and copies between layouts: a fifth of a task of
KM-MAML with five steps. Here kernels stay as they lie in memory.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from fewshot_km.accel.fused import modulation_loops as loops
from fewshot_km.accel.fused.channels_last import Array, array_of, images_of, readable, rows_of
from fewshot_km.accel.fused.derivatives import SecondDerivative
from fewshot_km.models.modulation import modulator as kernel


class _Modulate(Function):
    """W~ = tanh(W U1) U2."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        t = loops.product(array_of(inner).T.copy(), _kernels(weight))
        torch.from_numpy(t).tanh_()
        ctx.save_for_backward(weight, inner, outer)
        ctx.t = t
        return _weight(loops.product(array_of(outer).T.copy(), t), weight)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        return _Gradient.apply(outputs[0], *ctx.saved_tensors, ctx.t)  # type: ignore[no-untyped-call]


class _Gradient(Function):
    """Gradients with respect to W, U1 and U2."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, weight: Tensor, inner: Tensor, outer: Tensor, t: Array
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(g, weight, inner, outer)
        ctx.t = t
        ctx.set_materialize_grads(False)  # an inner loop adapts modulators, not kernels: along W it is nothing then
        to_w, *to_u = loops.gradient(_kernels(g), _kernels(weight), t, array_of(inner), array_of(outer))
        return _weight(to_w, weight), torch.from_numpy(to_u[0]), torch.from_numpy(to_u[1])

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        return *_Second.apply(*outputs, *ctx.saved_tensors, ctx.t), None  # type: ignore[no-untyped-call]


class _Second(SecondDerivative):
    """Gradients of that with respect to G, W, U1 and U2."""

    @staticmethod
    def forward(_: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, b_inner, b_outer, g, weight, inner, outer, t = inputs
        w, u_inner, u_outer = _kernels(weight), array_of(inner), array_of(outer)
        along_w = w[:0] if a is None else _kernels(a)
        along_inner, along_outer = (np.zeros_like(u_inner) if b is None else array_of(b) for b in (b_inner, b_outer))
        found = loops.second(along_w, along_inner, along_outer, _kernels(g), w, t, u_inner, u_outer)
        to_g, to_w, to_inner, to_outer = found
        return _weight(to_g, weight), _weight(to_w, weight), torch.from_numpy(to_inner), torch.from_numpy(to_outer)


def modulated(weight: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    """`fewshot_km.models.modulation.modulator.modulated`; kernels on a CPU are treated here, the rest there."""
    if not readable(weight):
        return kernel.modulated(weight, inner, outer)
    result: Tensor = _Modulate.apply(weight, inner, outer)  # type: ignore[no-untyped-call]
    return result


def _kernels(weight: Tensor) -> Array:
    """[F, C, k_h, k_w] -> [F, k_h * k_w, C]."""
    return rows_of(weight).reshape(len(weight), -1, weight.shape[1])


def _weight(kernels: Array, like: Tensor) -> Tensor:
    """The way back."""
    return images_of(kernels.reshape(len(like), like.shape[2], -1), like.shape[1])
