"""A block's convolution, batch norm, ReLU and pooling in one go, against its formula in torch's operations."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fewshot_km.accel.fused import conv_block
from fewshot_km.accel.replacing import replaced_forwards
from fewshot_km.models.conv4 import ConvBlock
from tests.support.derivatives import derivatives, names_in_graph, numbers

EPS = 1e-3
GEOMETRIES = {  # channels, kernel, stride, padding, groups, height and width
    "omniglot strided": (1, (3, 3), 2, 1, 1, (9, 8)),
    "omniglot pooled": (1, (3, 3), 1, 1, 1, (7, 6)),
    "pixels": (4, (1, 1), 1, 0, 1, (4, 5)),
    "oblong": (2, (2, 3), (1, 2), (0, 1), 1, (6, 9)),
    "many channels": (6, (3, 3), 2, 1, 1, (9, 8)),
    "grouped": (6, (3, 3), 1, 1, 2, (7, 6)),
}
Run = Callable[[ConvBlock, Tensor], Tensor]


def make_block(kind: str, pool: bool) -> ConvBlock:
    """A block with another convolution, of 4 filters."""
    channels, kernel, stride, padding, groups, _ = GEOMETRIES[kind]
    block = ConvBlock(channels, 4, "pool" if pool else "stride", "batch")
    block.conv = nn.Conv2d(channels, 4, kernel, stride, padding, groups=groups)
    block.norm.eps = EPS  # type: ignore[assignment]
    return block.double()


def images(kind: str, count: int = 5) -> Tensor:
    channels, *_, size = GEOMETRIES[kind]
    return 2 * numbers(count, channels, *size).detach() + 3


def inputs_of(block: ConvBlock, x: Tensor) -> list[Tensor]:
    """Images, kernels, scale and shift to differentiate by; some scales are negative."""
    scale = numbers(4, seed=6)
    assert 0 < (scale < 0).sum() < 4
    return [x.clone().requires_grad_(), numbers(*block.conv.weight.shape, seed=5), scale, numbers(4, seed=7)]


def function(run: Run, block: ConvBlock) -> Callable[..., Tensor]:
    """Of images, kernels, scale and shift, in the place of the block's own."""

    def of_parameters(x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        parameters = {"conv.weight": weight, "norm.weight": scale, "norm.bias": shift}
        with replaced_forwards(block, {ConvBlock: run}):
            result: Tensor = functional_call(block, parameters, (x,))
        return result

    return of_parameters


def formula(block: ConvBlock, x: Tensor) -> Tensor:
    """In the order of the papers: convolution, statistics, scale and shift, ReLU, pooling."""
    conv, norm = block.conv, block.norm
    z = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    z = z - z.mean((0, 2, 3), keepdim=True)
    z = z / ((z**2).mean((0, 2, 3), keepdim=True) + EPS).sqrt()
    y = (z * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()
    return F.max_pool2d(y, 2) if block.pool else y


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("run", [conv_block.forward, ConvBlock.forward], ids=["fast", "plain"])
def test_it_has_the_derivatives_of_the_formula(run: Run, kind: str, pool: bool) -> None:
    block = make_block(kind, pool)
    inputs = inputs_of(block, images(kind))
    ours, theirs = (derivatives(function(of, block), inputs) for of in (run, formula))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("pool", [False, True])
def test_derivatives_are_those_of_finite_differences(pool: bool) -> None:
    block = make_block("omniglot pooled", pool)
    inputs = inputs_of(block, images("omniglot pooled", count=2))
    assert torch.autograd.gradcheck(function(conv_block.forward, block), inputs)
    assert torch.autograd.gradgradcheck(function(conv_block.forward, block), inputs)


@pytest.mark.parametrize("pool", [False, True])
def test_what_is_not_a_number_is_passed_on(pool: bool) -> None:
    block, x = make_block("omniglot strided", pool), images("omniglot strided")
    x[1, 0, 2, 2] = float("nan")
    inputs = inputs_of(block, x)
    for run in (conv_block.forward, ConvBlock.forward):
        value, _, of_weight, *_ = derivatives(function(run, block), inputs)
        assert value.isnan().all()
        assert of_weight.isnan().all()


def test_what_is_treated_here_and_what_is_left_to_torch() -> None:
    block, x = make_block("many channels", False), images("many channels")
    assert "_Normalise" in names_in_graph(conv_block.forward(block, x))
    half = block.bfloat16()
    assert "_Normalise" not in names_in_graph(conv_block.forward(half, x.bfloat16()))


@pytest.mark.parametrize(("kind", "count", "size"), [("pixels", 1, (1, 1)), ("omniglot pooled", 3, (1, 5))])
def test_maps_that_torch_refuses_are_refused(kind: str, count: int, size: tuple[int, int]) -> None:
    """One pixel in all has no variance; a map of one row has no window to pool."""
    block = make_block(kind, pool=True)
    x = numbers(count, GEOMETRIES[kind][0], *size).detach()
    for run in (conv_block.forward, ConvBlock.forward):
        with pytest.raises((ValueError, RuntimeError)):
            run(block, x)
