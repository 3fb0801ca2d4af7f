"""Fast second derivatives of convolutions, and products over windows, against torch and finite differences, float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot_km.accel.fused import window_loops, window_products
from fewshot_km.accel.fused.convolution import conv2d
from tests.support.derivatives import derivatives, numbers


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("channels", "filters", "options"),
    [
        (3, 4, {}),
        (3, 4, {"stride": 2, "padding": 1}),
        (1, 4, {"stride": (2, 1), "padding": (0, 2)}),
        (1, 4, {"stride": 4, "padding": [3]}),
        (7, 2, {"stride": (1, 3), "padding": (4, 0)}),
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


@pytest.mark.parametrize("block_bytes", [1, 2000, 10**6])
def test_products_over_windows_are_gradients_however_many_images_are_taken_at_once(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_products, "BLOCK_BYTES", block_bytes)
    for channels, kernel, stride, padding in ((5, (3, 3), (2, 2), (1, 1)), (1, (2, 5), (1, 3), (0, 4))):
        x, weight = numbers(7, channels, 9, 6), numbers(4, channels, *kernel, seed=1)
        theirs = F.conv2d(x, weight, None, stride, padding)
        g = torch.ones_like(theirs) * numbers(*theirs.shape, seed=3).detach()
        of_x, of_weight = torch.autograd.grad(theirs, (x, weight), g)
        ours = window_products.gradients(g, x, weight, stride, padding, of_weight=True)
        torch.testing.assert_close(ours, (of_x, of_weight), rtol=1e-12, atol=1e-12)
        only = window_products.gradients(g, x, weight, stride, padding, of_weight=False)
        torch.testing.assert_close(only, (ours[0], None), rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 6])  # copied one by one, and by slices
def test_windows_are_those_of_unfold(channels: int) -> None:
    x = numbers(3, channels, 5, 7).detach()
    rows = x.permute(0, 2, 3, 1).contiguous().view(3, 5, 7 * channels)
    windows = torch.full((3, 4, 4, 2, 3 * channels), torch.nan, dtype=x.dtype)
    window_loops.gather(rows.numpy(), windows.numpy(), channels, (2, 2), (2, 1))
    theirs = F.unfold(x, (2, 3), stride=2, padding=(2, 1)).view(3, channels, 2, 3, 4, 4)
    assert torch.equal(windows.view(3, 4, 4, 2, 3, channels), theirs.permute(0, 4, 5, 2, 3, 1))
    back = torch.full_like(rows, torch.nan)
    window_loops.scatter(windows.numpy(), back.numpy(), channels, (2, 2), (2, 1))
    seen = F.fold(
        F.unfold(torch.ones_like(x), (2, 3), stride=2, padding=(2, 1)), (5, 7), (2, 3), stride=2, padding=(2, 1)
    )
    torch.testing.assert_close(back.view(3, 5, 7, channels).permute(0, 3, 1, 2), seen * x)


@pytest.mark.parametrize(("channels", "stride", "size"), [(16, 2, 14), (16, 1, 4)])
def test_in_float32_they_are_as_exact_as_torch(channels: int, stride: int, size: int) -> None:
    x, weight = numbers(40, channels, size, size).float().double(), numbers(8, channels, 3, 3, seed=1).float().double()
    truth = F.conv2d(x, weight, None, stride, 1)
    g = numbers(*truth.shape, seed=2).detach().float()
    wanted = torch.autograd.grad(truth, (x, weight), g.double())
    small = [x.float().detach().requires_grad_(), weight.float().detach().requires_grad_()]

    def errors(function: Any) -> list[float]:
        y = function(*small, None, stride, 1)
        found = (y.detach(), *torch.autograd.grad(y, small, g))
        return [float((f - t).norm() / t.norm()) for f, t in zip(found, (truth.detach(), *wanted), strict=True)]

    for ours_is_off, torch_is_off in zip(errors(conv2d), errors(F.conv2d), strict=True):
        assert ours_is_off < max(2 * torch_is_off, 3e-7)


def test_no_images_have_no_gradients() -> None:
    x, weight = torch.zeros(0, 2, 5, 5, requires_grad=True), torch.zeros(3, 2, 3, 3, requires_grad=True)
    of_x, of_weight = torch.autograd.grad(conv2d(x, weight, stride=2).sum(), (x, weight))
    assert of_x.shape == x.shape
    assert torch.equal(of_weight, torch.zeros(3, 2, 3, 3))
