"""Another formula, in a subclass, patched or edited, or layers that are not torch's own: the same in all backends."""

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.accel.agreement import agrees
from fewshot_km.accel.backends import BACKENDS, _all_at_once
from fewshot_km.accel.compiled import _modulated, trace
from fewshot_km.accel.fused import kernel_modulation
from fewshot_km.accel.fused.conv_block import conv_norm_relu_once
from fewshot_km.learners import GradientLearner, InnerLoop, Params, build_learner
from fewshot_km.models import Network
from fewshot_km.models.conv4 import ConvBlock
from fewshot_km.models.conv_norm import by_parts, conv_norm_relu
from fewshot_km.models.modulation import KernelModulator
from fewshot_km.models.modulation import modulator as kernel
from tests.accel.test_backends import assert_same_gradient, episodes
from tests.support.networks_under_test import PaperNetwork

SIZE = (2, 8, 8)
TASK = PaperNetwork(3, SIZE)  # for its episodes


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    agrees.cache_clear()
    yield
    agrees.cache_clear()


def gradients(make: Callable[[], nn.Module], learner: str, *, compiled: bool) -> dict[str, Params]:
    """The outer gradient, second order, of each backend; of the compiled one by the program that is compiled."""
    made = build_learner(learner, {}, make, InnerLoop(0.3))
    assert isinstance(made, GradientLearner)
    meta = {name: value.double() for name, value in made.init(1).items()}
    for name in meta:
        if name.endswith(("inner", "outer", "norm.weight", "norm.bias")):  # far from where formulas nearly agree
            meta[name] += 0.5 * torch.randn(meta[name].shape, generator=torch.Generator().manual_seed(len(name)))
    episode = episodes(TASK, tasks=1)
    found = {
        name: backend.outer_gradient(made, meta, episode, 1).gradient
        for name, backend in BACKENDS.items()
        if not backend.compiles
    }
    if not compiled:
        return found
    inputs = (meta, episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    return {**found, "compiled": trace(_all_at_once, made, inputs, 1)(*inputs)[0]}


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


def sine(weight: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    rows = weight.flatten(2).flatten(0, 1)
    return (torch.sin(rows @ inner) @ outer).reshape(weight.shape)


def twice(weight: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    rows = weight.flatten(2).flatten(0, 1)
    return torch.tanh(torch.tanh(rows @ inner) @ outer).reshape(weight.shape)


def cut(weight: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    """The same values, other derivatives."""
    rows = weight.flatten(2).flatten(0, 1)
    return (torch.tanh(rows.detach() @ inner) @ outer).reshape(weight.shape)


def around(of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Of the shipped formula, whatever computes it."""
    return lambda *tensors: torch.sin(of(*tensors))


class Modulator(KernelModulator):
    def forward(self, weight: Tensor) -> Tensor:
        return sine(weight, self.inner, self.outer)


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
    "another forward": lambda patch: patch.setattr(
        KernelModulator, "forward", lambda self, weight: twice(weight, self.inner, self.outer)
    ),
    "another function": lambda patch: patch.setattr(kernel, "modulated", sine),
    "a function around it": lambda patch: patch.setattr(kernel, "modulated", around(kernel.modulated)),
    "edited to sin": lambda patch: edit(kernel.modulated.__wrapped__, sine, patch),  # type: ignore[attr-defined]
    "edited to tanh twice": lambda patch: edit(kernel.modulated.__wrapped__, twice, patch),  # type: ignore[attr-defined]
    "edited derivatives": lambda patch: edit(kernel.modulated.__wrapped__, cut, patch),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.slow
def test_another_formula_of_the_modulator_is_followed_by_all(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = gradients(one_block, "km-maml", compiled=False)
    agrees.cache_clear()
    CHANGES[change](monkeypatch)
    found = gradients(one_block, "km-maml", compiled=True)
    assert_all_alike(found)
    assert difference(found["plain"], shipped["plain"]) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_shipped_formulas_have_fast_versions_that_are_used(dtype: torch.dtype) -> None:
    assert agrees(kernel.modulated, kernel_modulation.modulated, dtype)
    assert agrees(kernel.modulated, _modulated, dtype)
    assert agrees(conv_norm_relu, conv_norm_relu_once, dtype)


def leaky(
    conv2d: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    *,
    pool: bool = False,
) -> Tensor:
    x = conv2d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    x = F.leaky_relu(F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps))
    return F.max_pool2d(x, 2) if pool else x


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.slow
def test_another_formula_of_the_block_is_followed_by_all(pool: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = gradients(lambda: blocks(pool), "maml", compiled=False)
    agrees.cache_clear()
    edit(by_parts, leaky, monkeypatch)
    found = gradients(lambda: blocks(pool), "maml", compiled=True)
    assert_all_alike(found)
    assert difference(found["plain"], shipped["plain"]) > 1e-3


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


def as_modules(self: ConvBlock, x: Tensor) -> Tensor:
    """What a block does, by its modules."""
    x = F.relu(self.norm(self.conv(x)))
    return F.max_pool2d(x, 2) if self.pool else x


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("change", LAYERS)
def test_layers_that_are_not_torchs_own_are_called(change: str, pool: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gradients(lambda: with_layers(LAYERS[change], pool), "maml", compiled=False)
    monkeypatch.setattr(ConvBlock, "forward", as_modules)
    expected = gradients(lambda: with_layers(LAYERS[change], pool), "maml", compiled=False)["plain"]
    for gradient in found.values():
        assert_same_gradient(gradient, expected)
