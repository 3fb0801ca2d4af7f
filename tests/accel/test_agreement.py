"""Another formula, in a subclass, patched or edited, or layers that are not torch's own: the same in all backends."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.accel.agreement import agrees
from fewshot_km.accel.backends import BACKENDS, vmap_outer_gradient
from fewshot_km.accel.compiled import _modulate, trace
from fewshot_km.accel.fused import conv_block
from fewshot_km.learners import GradientLearner, InnerLoop, Params, build_learner
from fewshot_km.models import Network
from fewshot_km.models.conv4 import ConvBlock
from fewshot_km.models.modulation import KernelModulator
from fewshot_km.models.modulation import modulator as kernel
from tests.accel.test_backends import assert_same_gradient, episodes
from tests.support.networks_under_test import PaperNetwork

SIZE = (2, 8, 8)
TASK = PaperNetwork(3, SIZE)  # for its episodes


def gradients(make: Callable[[], nn.Module], learner: str, *, compiled: bool) -> dict[str, Params]:
    """The outer gradient, second order, by backend; that of the compiled one by the program that is compiled."""
    made = build_learner(learner, {}, make, InnerLoop(0.3))
    assert isinstance(made, GradientLearner)
    meta = {name: value.double() for name, value in made.init(1).items()}
    for name in meta:
        if name.endswith(("u1", "u2", "norm.weight", "norm.bias")):  # far from where formulas nearly agree
            meta[name] += 0.5 * torch.randn(meta[name].shape, generator=torch.Generator().manual_seed(len(name)))
    episode = episodes(TASK, tasks=1)
    found = {
        name: backend.outer_gradient(made, meta, episode, TASK.context(1)).gradient
        for name, backend in BACKENDS.items()
        if not backend.compiles
    }
    if not compiled:
        return found
    inputs = (meta, episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    return {**found, "compiled": trace(vmap_outer_gradient, made, inputs, TASK.context(1))(*inputs)[0]}


def assert_all_alike(found: dict[str, Params]) -> None:
    for gradient in found.values():
        assert_same_gradient(gradient, found["plain"])


def difference(one: Params, other: Params) -> float:
    return max(float((one[name] - other[name]).norm()) for name in one)


def one_block() -> Network:
    return Network(nn.Sequential(ConvBlock(2, 4, "stride", "batch"), nn.Flatten()), 3, SIZE)


def blocks(pool: bool) -> Network:
    """Two blocks: the second one's images are not data."""
    kind = "pool" if pool else "stride"
    backbone = nn.Sequential(ConvBlock(2, 4, kind, "batch"), ConvBlock(4, 4, kind, "batch"), nn.Flatten())
    return Network(backbone, 3, SIZE)


def sine(self: KernelModulator, weight: Tensor) -> Tensor:
    rows = weight.flatten(2).flatten(0, 1)
    return (torch.sin(rows @ self.u1) @ self.u2).reshape(weight.shape)


def twice(self: KernelModulator, weight: Tensor) -> Tensor:
    rows = weight.flatten(2).flatten(0, 1)
    return torch.tanh(torch.tanh(rows @ self.u1) @ self.u2).reshape(weight.shape)


def cut(self: KernelModulator, weight: Tensor) -> Tensor:
    """The same values, other derivatives."""
    rows = weight.flatten(2).flatten(0, 1)
    return (torch.tanh(rows.detach() @ self.u1) @ self.u2).reshape(weight.shape)


class Modulator(KernelModulator):
    forward = sine


class Adding(KernelModulator):
    def forward(self, weight: Tensor) -> Tensor:
        return super().forward(weight) + weight.square()


def edit(function: Any, other: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """As if its source said something else."""
    assert isinstance(function, FunctionType)
    assert isinstance(other, FunctionType)
    monkeypatch.setattr(function, "__code__", other.__code__)


CHANGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a subclass": lambda patch: patch.setattr(kernel, "KernelModulator", Modulator),
    "a subclass that calls ours": lambda patch: patch.setattr(kernel, "KernelModulator", Adding),
    "another forward": lambda patch: patch.setattr(KernelModulator, "forward", twice),
    "edited to sin": lambda patch: edit(KernelModulator.forward, sine, patch),
    "edited to tanh twice": lambda patch: edit(KernelModulator.forward, twice, patch),
    "edited derivatives": lambda patch: edit(KernelModulator.forward, cut, patch),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.slow
def test_another_formula_of_the_modulator_is_followed_by_all(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = gradients(one_block, "km-maml", compiled=False)
    CHANGES[change](monkeypatch)
    found = gradients(one_block, "km-maml", compiled=True)
    assert_all_alike(found)
    assert change.startswith("a subclass") or not agrees(KernelModulator, _modulate, torch.float64)
    assert difference(found["plain"], shipped["plain"]) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_shipped_formulas_have_fast_versions_that_are_used(dtype: torch.dtype) -> None:
    assert agrees(ConvBlock, conv_block.forward, dtype)
    assert agrees(KernelModulator, _modulate, dtype)


def leaky(self: ConvBlock, x: Tensor) -> Tensor:
    x = F.leaky_relu(self.norm(self.conv(x)), 0.3)
    return F.max_pool2d(x, 2) if self.pool else x


def cut_off(self: ConvBlock, x: Tensor) -> Tensor:
    """The same values, other derivatives."""
    x = F.relu(self.norm(self.conv(x.detach())))
    return F.max_pool2d(x, 2) if self.pool else x


BLOCKS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "another forward": lambda patch: patch.setattr(ConvBlock, "forward", leaky),
    "edited": lambda patch: edit(ConvBlock.forward, leaky, patch),
    "edited derivatives": lambda patch: edit(ConvBlock.forward, cut_off, patch),
}


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.slow
@pytest.mark.parametrize("change", BLOCKS)
def test_another_formula_of_the_block_is_followed_by_all(
    change: str, pool: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = gradients(lambda: blocks(pool), "maml", compiled=False)
    BLOCKS[change](monkeypatch)
    found = gradients(lambda: blocks(pool), "maml", compiled=True)
    assert_all_alike(found)
    assert difference(found["plain"], shipped["plain"]) > 1e-3
    assert not agrees(ConvBlock, conv_block.forward, torch.float64)


class Shifted(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 0.7 + 0.2


class Squashed(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return torch.tanh(super().forward(input))


def with_layers(change: Callable[[ConvBlock], None], pool: bool) -> Network:
    network = blocks(pool)
    for module in network.modules():
        if isinstance(module, ConvBlock):
            change(module)
    return network


def replace(name: str, of: Callable[[ConvBlock], nn.Module]) -> Callable[[ConvBlock], None]:
    return lambda block: setattr(block, name, of(block))


def norm(block: ConvBlock, kind: type[nn.BatchNorm2d] = nn.BatchNorm2d, **options: bool) -> nn.Module:
    return kind(block.conv.out_channels, track_running_stats=False, **options)


def conv(block: ConvBlock, kind: type[nn.Conv2d] = nn.Conv2d, **options: Any) -> nn.Module:
    given = block.conv
    return kind(given.in_channels, given.out_channels, 3, given.stride, **{"padding": 1, **options})


LAYERS: dict[str, Callable[[ConvBlock], None]] = {
    "a subclass of the norm": replace("norm", lambda block: norm(block, Shifted)),
    "a subclass of the convolution": replace("conv", lambda block: conv(block, Squashed)),
    "a norm without scale and shift": replace("norm", lambda block: norm(block, affine=False)),
    "no norm": replace("norm", lambda _: nn.Identity()),
    "padding by reflection": replace("conv", lambda block: conv(block, padding_mode="reflect")),
    "a hook after the norm": lambda block: block.norm.register_forward_hook(lambda _m, _x, y: y + 0.3) and None,
    "a hook before the convolution": lambda block: (
        block.conv.register_forward_pre_hook(lambda _, x: (x[0].square(),)) and None
    ),
    "a forward of its own": lambda block: setattr(block.norm, "forward", lambda x: 0.5 * x),
    # those that are written out differently
    "no bias, dilated": replace("conv", lambda block: conv(block, bias=False, dilation=2, padding=2)),
    "groups": replace("conv", lambda block: conv(block, groups=2)),
}


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("change", LAYERS)
def test_layers_that_are_not_torchs_own_are_called(change: str, pool: bool) -> None:
    assert_all_alike(gradients(lambda: with_layers(LAYERS[change], pool), "maml", compiled=False))
