"""Kernel modulation in one go, against the plain formula in torch's operations, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fewshot_km.accel.fused.kernel_modulation import modulated
from fewshot_km.models.modulation import modulator as kernel
from tests.support.derivatives import derivatives, names_in_graph, numbers

SHAPES = [(4, 3, 3, 3), (6, 1, 3, 3), (2, 5, 1, 1), (3, 40, 2, 3), (70, 2, 3, 1)]


def inputs_of(shape: tuple[int, ...], layout: torch.memory_format = torch.channels_last) -> list[Tensor]:
    size = shape[2] * shape[3]
    weight = numbers(*shape).detach().contiguous(memory_format=layout).requires_grad_()
    return [weight, numbers(size, size, seed=7), numbers(size, size, seed=8)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_has_the_derivatives_of_the_plain_formula(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    inputs = inputs_of(shape, layout)
    for ours, theirs in zip(derivatives(modulated, inputs), derivatives(kernel.modulated, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("wanted", [[0], [1], [2], [1, 2]])
def test_it_has_second_derivatives_along_some_gradients_only(wanted: list[int]) -> None:
    """As of an inner loop, which adapts modulators but no kernels."""
    inputs = inputs_of((4, 3, 3, 3))

    def second(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        y = function(*inputs)
        first = torch.autograd.grad((y**3).sum(), [inputs[i] for i in wanted], create_graph=True)
        return torch.autograd.grad(sum((f**2).sum() for f in first), inputs)

    for ours, theirs in zip(second(modulated), second(kernel.modulated), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_its_derivatives_are_those_of_finite_differences() -> None:
    inputs = inputs_of((3, 2, 2, 2))
    assert torch.autograd.gradcheck(modulated, inputs)
    assert torch.autograd.gradgradcheck(modulated, inputs)


def test_in_float32_it_is_as_exact_as_torch() -> None:
    inputs = [i.detach().float().double().requires_grad_() for i in inputs_of((64, 64, 3, 3))]
    truth = [t.detach() for t in derivatives(kernel.modulated, inputs)]
    single = [i.detach().float().requires_grad_() for i in inputs]

    def errors(function: Callable[..., Tensor]) -> list[float]:
        pairs = zip(derivatives(function, single), truth, strict=True)
        return [float((f.detach() - t).norm() / t.norm()) for f, t in pairs]

    for ours_is_off, torch_is_off in zip(errors(modulated), errors(kernel.modulated), strict=True):
        assert ours_is_off < max(2 * torch_is_off, 3e-7)


def test_it_is_laid_out_as_its_kernels_are_wanted() -> None:
    weight, inner, outer = inputs_of((4, 3, 3, 3), torch.contiguous_format)
    assert modulated(weight, inner, outer).is_contiguous(memory_format=torch.channels_last)


def test_what_is_not_a_number_is_passed_on() -> None:
    weight, inner, outer = inputs_of((4, 3, 3, 3))
    with torch.no_grad():
        weight[1, 2, 0, 0] = float("nan")
    ours, theirs = modulated(weight, inner, outer), kernel.modulated(weight, inner, outer)
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert ours.isnan().sum() == 9  # the modulators mix the numbers of one window, and only those


def test_what_is_not_treated_here_is_left_to_torch() -> None:
    weight, inner, outer = inputs_of((4, 3, 3, 3))
    assert "_Modulate" in names_in_graph(modulated(weight, inner, outer))
    assert "_Modulate" not in names_in_graph(modulated(weight.bfloat16(), inner.bfloat16(), outer.bfloat16()))


def test_a_third_derivative_is_refused_not_wrong() -> None:
    weight, inner, outer = inputs_of((4, 3, 3, 3))
    (first,) = torch.autograd.grad((modulated(weight, inner, outer) ** 3).sum(), inner, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), inner, create_graph=True)
    with pytest.raises(NotImplementedError, match="choose the backend 'plain'"):
        torch.autograd.grad(second.sum(), inner)
