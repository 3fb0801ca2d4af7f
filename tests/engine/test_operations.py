"""Fast second derivatives of convolutions against torch's own and finite differences, in float64; what gets them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot_km.engine.operations import FastOperations, conv2d
from tests.engine.derivatives import derivatives, names_in_graph, numbers


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("channels", "filters", "options"),
    [
        (3, 4, {}),
        (3, 4, {"stride": 2, "padding": 1}),
        (1, 4, {"stride": (2, 1), "padding": (0, 2)}),
        (4, 6, {"groups": 2, "padding": 1}),
        (3, 4, {"dilation": 2, "padding": 2}),
        (3, 4, {"padding": "same"}),
    ],
)
@pytest.mark.parametrize("with_bias", [True, False])
def test_conv2d_has_the_derivatives_of_torch(
    channels: int, filters: int, options: dict[str, Any], with_bias: bool, layout: torch.memory_format
) -> None:
    x = numbers(5, channels, 7, 6).detach().to(memory_format=layout).requires_grad_()
    inputs = [x, numbers(filters, channels // options.get("groups", 1), 3, 3, seed=5)]
    inputs += [numbers(filters, seed=6)] if with_bias else []
    for ours, theirs in zip(
        derivatives(lambda *i: conv2d(*i, **options), inputs),
        derivatives(lambda *i: F.conv2d(*i, **options), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_first_second_and_third_derivatives_are_those_of_finite_differences() -> None:
    x, weight, bias = numbers(3, 2, 4, 4), numbers(2, 2, 3, 3, seed=1), numbers(2, seed=2)

    def layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return conv2d(x, weight, bias, 2, 1)

    def slope(x: Tensor, weight: Tensor) -> Tensor:  # a second derivative as a function, to differentiate it again
        first = torch.autograd.grad((layer(x, weight, bias) ** 3).sum(), weight, create_graph=True)[0]
        (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
        return second

    assert torch.autograd.gradcheck(layer, (x, weight, bias))
    assert torch.autograd.gradgradcheck(layer, (x, weight, bias))
    assert torch.autograd.gradcheck(slope, (x, weight))


def test_a_network_gets_them_within_the_context_only(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2, track_running_stats=False))
    x = torch.rand(3, 1, 5, 5)
    with FastOperations():
        fast = network(x)
    plain = network(x)
    torch.testing.assert_close(fast, plain)
    assert "_Normalise" in names_in_graph(fast)
    assert "_Convolution" in names_in_graph(fast)
    assert "_Normalise" not in names_in_graph(plain)


def test_what_is_not_fast_here_is_left_to_torch() -> None:
    running = torch.nn.BatchNorm2d(2)
    x = torch.rand(3, 2, 5, 5)
    with FastOperations():
        assert "_Normalise" not in names_in_graph(running(x))
        assert torch.equal(F.conv1d(x[0], torch.ones(1, 5, 3)), F.conv1d(x[0], torch.ones(1, 5, 3)))
        assert F.batch_norm(x.flatten(2), None, None, training=True).shape == (3, 2, 25)
    assert float(running.running_mean.abs().sum()) > 0
