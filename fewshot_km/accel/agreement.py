"""Whether faster versions of our formulas still compute what these say: one that does not is not used.

A formula stands in one place (`models.modulation.modulator`, `models.conv_norm`); its faster versions are written out
elsewhere, with derivatives. Whoever changes the formula changes every backend: those whose version says something
else from then on fall back to the formula.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_km.models.conv_norm import conv_norm_relu
from fewshot_km.models.modulation.modulator import modulated

Function = Callable[..., Tensor]

ROUNDING = 1e4  # relative, in units of the precision: orders of sums differ by some tens, formulas by a million


def agreeing(versions: Mapping[Function, Function], dtype: torch.dtype) -> dict[Any, Function]:
    """Those of the versions, by formula, that have its values and derivatives in this precision."""
    return {formula: fast for formula, fast in versions.items() if agrees(formula, fast, dtype)}


@cache
def agrees(formula: Function, fast: Function, dtype: torch.dtype) -> bool:
    """Whether two functions have the same values and first derivatives at a few generic points; asked once."""
    dtype = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    return all(
        bool((ours - theirs).norm() <= ROUNDING * torch.finfo(dtype).eps * theirs.norm())
        for call in _POINTS[formula](dtype)
        for ours, theirs in zip(_derivatives(fast, *call), _derivatives(formula, *call), strict=True)
    )


def _derivatives(function: Function, tensors: list[Tensor], call: Callable[..., Tensor]) -> list[Tensor]:
    """The value, and the gradients of its sum of squares with respect to every tensor."""
    with torch.enable_grad():
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        value = call(function, *leaves)
        return [value.detach(), *torch.autograd.grad(value.square().sum(), leaves, materialize_grads=True)]


def _numbers(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Of either sign, small and large."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def _modulations(dtype: torch.dtype) -> list[tuple[list[Tensor], Callable[..., Tensor]]]:
    return [(_numbers(dtype, (3, 2, 2, 2), (4, 4), (4, 4)), lambda function, *tensors: function(*tensors))]


def _blocks(dtype: torch.dtype) -> list[tuple[list[Tensor], Callable[..., Tensor]]]:
    """Of images that are data, as in a first layer, and of others."""

    def of(channels: int, stride: int, *, pool: bool) -> tuple[list[Tensor], Callable[..., Tensor]]:
        x, *tensors = _numbers(dtype, (4, channels, 6, 6), (3, channels, 3, 3), (3,), (3,))
        with torch.random.fork_rng(devices=[]):  # its weights are not used
            conv = nn.Conv2d(channels, 3, 3, stride, 1, bias=False, dtype=dtype)

        def call(function: Function, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
            norm = nn.BatchNorm2d(3, 0.1, affine=False, track_running_stats=False)
            del norm.weight, norm.bias
            norm.weight, norm.bias = scale, shift  # type: ignore[assignment]
            return function(x, weight, conv, norm, pool=pool)

        return tensors, call

    return [of(channels, stride, pool=pool) for channels, stride, pool in product((1, 2), (1, 2), (False, True))]


_POINTS: dict[Any, Callable[[torch.dtype], list[tuple[list[Tensor], Callable[..., Tensor]]]]] = {
    modulated: _modulations,
    conv_norm_relu: _blocks,
}
