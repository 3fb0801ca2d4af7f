"""A check that a faster version of a module still computes what the module does; one that does not is not used.

A formula stands in one place, the module's `forward`. Whoever edits it changes every backend: a faster version that
computes something else from then on is left out.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fewshot_km.accel.replacing import Forwards, replaced_forwards
from fewshot_km.models.conv4 import ConvBlock
from fewshot_km.models.modulation import KernelModulator

ROUNDING = 1e4  # relative, in units of the precision: orders of sums differ by some tens, formulas by a million


def agreeing(versions: Forwards, dtype: torch.dtype) -> Forwards:
    """Those of the versions that have the values and first derivatives of their modules in this precision."""
    return {kind: fast for kind, fast in versions.items() if agrees(kind, fast, dtype)}


def agrees(kind: type[nn.Module], fast: Callable[..., Tensor], dtype: torch.dtype) -> bool:
    """True where both have the same values and first derivatives at a few generic points."""
    dtype = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    key: Any = (kind, kind.forward, getattr(kind.forward, "__code__", None), fast, dtype)
    return _agrees(*key)


@cache
def _agrees(kind: Any, _forward: Any, _code: Any, fast: Any, dtype: torch.dtype) -> bool:
    """Once for each formula, which may be edited while the program runs."""
    with torch.random.fork_rng(devices=[]):  # modules draw weights, which are not used
        points = [(module.to(dtype), shape) for module, shape in _POINTS[kind]()]
    return all(_agrees_at(module, shape, {kind: fast}, dtype) for module, shape in points)


def _agrees_at(module: nn.Module, shape: tuple[int, ...], versions: Forwards, dtype: torch.dtype) -> bool:
    theirs = _derivatives(module, shape, dtype)
    with replaced_forwards(module, versions):
        ours = _derivatives(module, shape, dtype)
    tolerance = ROUNDING * torch.finfo(dtype).eps
    return all(bool((a - b).norm() <= tolerance * b.norm()) for a, b in zip(ours, theirs, strict=True))


def _derivatives(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The value, and the gradient of its sum of squares with respect to the input and all parameters, as one vector."""
    generator = torch.Generator().manual_seed(0)

    def numbers(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    with torch.enable_grad():
        x, parameters = numbers(shape), {name: numbers(p.shape) for name, p in module.named_parameters()}
        value: Tensor = functional_call(module, parameters, (x,))
        gradients = torch.autograd.grad(value.square().sum(), [x, *parameters.values()], materialize_grads=True)
    return value.detach(), torch.cat([gradient.flatten() for gradient in gradients])


_POINTS: dict[type[nn.Module], Callable[[], list[tuple[nn.Module, tuple[int, ...]]]]] = {
    KernelModulator: lambda: [(KernelModulator((2, 2)), (3, 2, 2, 2))],
    ConvBlock: lambda: [
        (ConvBlock(2, 3, "stride", "batch"), (4, 2, 6, 6)),
        (ConvBlock(2, 3, "pool", "batch"), (4, 2, 6, 6)),
    ],
}
"""Modules of a class, and shapes of their inputs."""
