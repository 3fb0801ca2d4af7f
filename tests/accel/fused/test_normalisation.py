"""Batch norm with pooling and ReLU in one go, against the same written in torch's operations, in float64."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot_km.accel.fused.normalisation import batch_norm, batch_norm_relu
from tests.support.derivatives import derivatives, numbers

EPS = 1e-3
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def formula(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    h = x - x.mean((0, 2, 3), keepdim=True)
    h = h / ((h**2).mean((0, 2, 3), keepdim=True) + EPS).sqrt()
    h = h if weight is None else h * weight[None, :, None, None]
    return h if bias is None else h + bias[None, :, None, None]


def formula_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return formula(x, weight, bias).relu()


def formula_pool(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The windows' maxima spelled out; where several pixels are the maximum, the first one gets the gradient."""
    h = formula(x)
    height, width = h.shape[2] // 2, h.shape[3] // 2
    h = h[:, :, : 2 * height, : 2 * width].unflatten(3, (width, 2)).unflatten(2, (height, 2))
    h = h.transpose(3, 4).flatten(4)  # [N, C, H', W', 4]
    first = torch.stack([(h[..., k] == h.amax(-1)) for k in range(4)], -1).to(torch.uint8).argmax(-1, keepdim=True)
    return (h.gather(-1, first)[..., 0] * weight[:, None, None] + bias[:, None, None]).relu()


def relu(*inputs: Tensor) -> Tensor:
    return batch_norm_relu(*inputs, EPS)


def pool(*inputs: Tensor) -> Tensor:
    return batch_norm_relu(*inputs, EPS, pool=True)


def by_torch(x: Tensor, weight: Tensor, bias: Tensor, *, pooled: bool) -> Tensor:
    """By torch's operations, in the order of the plain network."""
    if not pooled:
        return F.relu(F.batch_norm(x, None, None, weight, bias, training=True, eps=EPS))
    h = F.max_pool2d(F.batch_norm(x, None, None, training=True, eps=EPS), 2)
    return F.relu(torch.addcmul(bias[:, None, None], h, weight[:, None, None]))


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("affine", ["both", "weight", "bias", "neither"])
def test_batch_norm_has_the_derivatives_of_its_formula(affine: str, layout: torch.memory_format) -> None:
    x = (3 * numbers(4, 5, 3, 2).detach() + 20).to(memory_format=layout).requires_grad_()
    named = {"weight": numbers(5, seed=7), "bias": numbers(5, seed=8)}
    used = {n: t for n, t in named.items() if affine in (n, "both")}

    def ours(x: Tensor, *rest: Tensor) -> Tensor:
        return batch_norm(x, None, None, **dict(zip(used, rest, strict=True)), training=True, eps=EPS)

    def theirs(x: Tensor, *rest: Tensor) -> Tensor:
        return formula(x, **dict(zip(used, rest, strict=True)))

    inputs = [x, *used.values()]
    assert_same(derivatives(ours, inputs), derivatives(theirs, inputs))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 5, 6, 4), (3, 2, 7, 5), (1, 3, 4, 4), (2, 1, 2, 3), (3, 40, 2, 2)])
@pytest.mark.parametrize(("ours", "theirs"), [(relu, formula_relu), (pool, formula_pool)])
def test_with_relu_and_pooling_it_has_the_derivatives_of_the_formula(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    x = (3 * numbers(*shape).detach() - 5).to(memory_format=layout).requires_grad_()
    inputs = [x, numbers(shape[1], seed=7), numbers(shape[1], seed=8)]
    assert_same(derivatives(ours, inputs), derivatives(theirs, inputs))


@pytest.mark.parametrize(("ours", "theirs"), [(relu, formula_relu), (pool, formula_pool)])
def test_of_equal_pixels_the_first_counts_and_what_is_zero_is_dead(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor]
) -> None:
    x = numbers(6, 3, 8, 6).detach().round().requires_grad_()  # a few whole numbers: most windows have equal maxima
    weight = torch.tensor([1.5, 0.0, 0.3], dtype=torch.float64).requires_grad_()  # where it is 0, so is all at bias 0
    bias = torch.tensor([-0.2, 0.0, 0.1], dtype=torch.float64).requires_grad_()
    inputs = [x, weight, bias]
    assert_same(derivatives(ours, inputs), derivatives(theirs, inputs))


@pytest.mark.parametrize("function", [relu, pool, lambda x, w, b: batch_norm(x, None, None, w, b, training=True)])
def test_derivatives_are_those_of_finite_differences(function: Callable[..., Tensor]) -> None:
    inputs = (numbers(3, 2, 4, 4), numbers(2, seed=1), numbers(2, seed=2))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(("ours", "theirs"), [(relu, formula_relu), (pool, formula_pool)])
@pytest.mark.parametrize("offset", [0, 30])
def test_in_float32_it_is_as_exact_as_torch(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], offset: float
) -> None:
    def error(function: Callable[..., Tensor], inputs: list[Tensor], truth: list[Tensor]) -> list[float]:
        found = derivatives(function, [i.detach().float().requires_grad_() for i in inputs])
        pairs = [(f.detach(), t.detach()) for f, t in zip(found, truth, strict=True) if t.any()]
        return [float((f - t).norm() / t.norm()) for f, t in pairs]

    x = (numbers(30, 6, 20, 20).detach() + offset).float().double().requires_grad_()
    weight, bias = (numbers(6, seed=s).detach().float().double().abs().requires_grad_() for s in (1, 2))
    bias = (bias.detach() + 9).requires_grad_()  # nothing is dead, so that no pixel is on another side of the ReLU
    inputs = [x, weight, bias]
    truth = derivatives(theirs, inputs)
    # torch reads x as s x - s mean as well: what is lost to a mean of many standard deviations is lost to both
    torchs = error(partial(by_torch, pooled=ours is pool), inputs, truth)
    for ours_is_off, torch_is_off in zip(error(ours, inputs, truth), torchs, strict=True):
        assert ours_is_off < max(1.5 * torch_is_off, 3e-7)


def test_a_third_derivative_is_refused_not_wrong() -> None:
    x, weight, bias = numbers(3, 2, 4, 4), numbers(2, seed=1), numbers(2, seed=2)
    (first,) = torch.autograd.grad((relu(x, weight, bias) ** 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="choose the backend 'plain'"):
        torch.autograd.grad(second.sum(), x)


@pytest.mark.parametrize("pooled", [False, True])
def test_what_is_not_a_number_is_passed_on(pooled: bool) -> None:
    x = numbers(3, 2, 4, 4).detach()
    x[1, 0, 2, 2] = float("nan")
    x[0, 1, 0, 0] = float("inf")
    x.requires_grad_()
    inputs = [
        x,
        torch.ones(2, dtype=torch.float64).requires_grad_(),
        torch.zeros(2, dtype=torch.float64).requires_grad_(),
    ]
    ours = derivatives(lambda *i: batch_norm_relu(*i, EPS, pool=pooled), inputs)
    theirs = derivatives(partial(by_torch, pooled=pooled), inputs)
    assert ours[0].isnan().all()
    assert theirs[0].isnan().all()
    assert ours[1].isnan().all()


def test_where_nothing_can_be_written_machine_code_is_not_kept() -> None:
    nowhere = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}  # of which there is none
    nowhere.pop("NUMBA_CACHE_DIR", None)
    program = "from fewshot_km.accel.fused import pooling_loops as l; print(type(l.pool._cache).__name__)"
    kept = [
        subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
        for env in (os.environ, nowhere)
    ]
    assert kept == ["FunctionCache\n", "NullCache\n"]
