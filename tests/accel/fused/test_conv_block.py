"""Convolution, batch norm, ReLU and pooling in one go, against the same written in torch's operations, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.accel.fused import first_layer
from fewshot_km.accel.fused.conv_block import ConvNormRelu
from fewshot_km.models.conv_norm import by_parts, conv_norm_relu
from tests.support.derivatives import derivatives, names_in_graph, numbers

EPS = 1e-3
FIRST = {  # what a first layer is computed in one go for: channels, kernel, stride, padding, height and width
    "omniglot strided": (1, (3, 3), 2, 1, (9, 8)),
    "omniglot pooled": (1, (3, 3), 1, 1, (7, 6)),
    "two channels": (2, (2, 3), (1, 2), (0, 1), (6, 9)),
    "pixels": (4, (1, 1), 1, 0, (4, 5)),
    "largest": (1, (4, 4), 3, (2, 0), (8, 10)),
}
LATER = {"many channels": (6, (3, 3), 2, 1, (9, 8)), "grouped": (6, (3, 3), 1, 1, (7, 6))}
Function = Callable[..., Tensor]


def layers(kind: str, x: Tensor) -> tuple[nn.Conv2d, nn.BatchNorm2d, list[Tensor]]:
    """Modules of 4 filters that give geometry, and kernels, scale and shift to differentiate by."""
    channels, kernel, stride, padding, _ = (FIRST | LATER)[kind]
    groups = 2 if kind == "grouped" else 1
    conv = nn.Conv2d(channels, 4, kernel, stride, padding, groups=groups, dtype=x.dtype)
    norm = nn.BatchNorm2d(4, EPS, track_running_stats=False, dtype=x.dtype)
    return conv, norm, [numbers(*conv.weight.shape, seed=5), numbers(4, seed=6), numbers(4, seed=7)]


def images(kind: str, count: int = 5) -> Tensor:
    channels, *_, size = (FIRST | LATER)[kind]
    return 2 * numbers(count, channels, *size).detach() + 3


def function(run: Function, x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, pool: bool) -> Function:
    """Of kernels, scale and shift, in the place of the modules' own."""

    def of_parameters(weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        given = nn.BatchNorm2d(4, EPS, track_running_stats=False)
        del given.weight, given.bias
        given.weight, given.bias = scale, shift  # as functional_call does
        return run(x, weight, conv, given, pool=pool)

    return of_parameters


def formula(x: Tensor, weight: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, pool: bool) -> Tensor:
    """In the order of the papers: convolution, statistics, scale and shift, ReLU, pooling."""
    z = F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    z = z - z.mean((0, 2, 3), keepdim=True)
    z = z / ((z**2).mean((0, 2, 3), keepdim=True) + EPS).sqrt()
    y = (z * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()
    return F.max_pool2d(y, 2) if pool else y


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("kind", FIRST | LATER)
@pytest.mark.parametrize("run", [lambda *a, **k: ConvNormRelu()(*a, **k), conv_norm_relu], ids=["fast", "plain"])
def test_it_has_the_derivatives_of_the_formula(run: Function, kind: str, pool: bool) -> None:
    """Two of the four scales are negative."""
    x = images(kind)
    conv, norm, inputs = layers(kind, x)
    assert (inputs[1] < 0).any()
    assert (inputs[1] > 0).any()
    ours = derivatives(function(run, x, conv, norm, pool), inputs)
    theirs = derivatives(function(formula, x, conv, norm, pool), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("pool", [False, True])
def test_derivatives_of_a_first_layer_are_those_of_finite_differences(pool: bool) -> None:
    x = images("omniglot pooled", count=2)
    conv, norm, inputs = layers("omniglot pooled", x)
    ours = function(ConvNormRelu(), x, conv, norm, pool)
    assert "_FirstLayer" in names_in_graph(ours(*inputs))
    assert torch.autograd.gradcheck(ours, inputs)
    assert torch.autograd.gradgradcheck(ours, inputs)


def test_images_that_need_a_gradient_get_it() -> None:
    x = images("omniglot strided").requires_grad_()
    conv, norm, (weight, *_) = layers("omniglot strided", x)
    ours, theirs = (
        derivatives(lambda x, w, run=run: run(x, w, conv, norm, pool=False), [x, weight])
        for run in (ConvNormRelu(), formula)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("offset", [0, 30])
@pytest.mark.parametrize("pool", [False, True])
def test_in_float32_a_first_layer_is_as_exact_as_torch(pool: bool, offset: float) -> None:
    """Nothing is dead and no maximum is close to another, so that no pixel changes sides."""
    x = (numbers(20, 1, 12, 12).detach() + offset).float().double()
    conv, norm, inputs = layers("omniglot pooled", x)
    inputs = [i.detach().float().double() for i in inputs]
    inputs = [t.requires_grad_() for t in (inputs[0], inputs[1].abs() + 0.1, inputs[2] + 9)]
    truth = [t.detach() for t in derivatives(function(formula, x, conv, norm, pool), inputs)]
    single = [i.detach().float().requires_grad_() for i in inputs]

    def errors(run: Function) -> list[float]:
        found = derivatives(function(run, x.float(), conv.float(), norm, pool), single)
        pairs = [(f.detach(), t) for f, t in zip(found, truth, strict=True) if t.any()]
        return [float((f - t).norm() / t.norm()) for f, t in pairs]

    for ours_is_off, torch_is_off in zip(errors(ConvNormRelu()), errors(by_torch), strict=True):
        assert ours_is_off < max(2 * torch_is_off, 3e-6)


def by_torch(x: Tensor, weight: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, pool: bool) -> Tensor:
    return by_parts(F.conv2d, x, weight, conv, norm, pool=pool)


def test_what_it_knows_of_images_is_kept_for_these_images_and_this_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    of = first_layer.Windows.of
    monkeypatch.setattr(first_layer.Windows, "of", lambda *a: asked.append(a[0]) or of(*a))
    support, query = images("omniglot strided"), images("omniglot strided", count=7) * 0.5
    conv, norm, (weight, *_) = layers("omniglot strided", support)
    other = nn.Conv2d(1, 4, 3, 1, 1, dtype=torch.float64)
    fast = ConvNormRelu()
    for x, of_layer in ((support, conv), (query, conv), (support, conv), (query, conv), (query, other)):
        torch.testing.assert_close(
            fast(x, weight, of_layer, norm), formula(x, weight, of_layer, norm, pool=False), rtol=1e-9, atol=1e-10
        )
    assert [a is b for a, b in zip(asked, [support, query, query], strict=True)] == [True] * 3


@pytest.mark.parametrize("pool", [False, True])
def test_what_is_not_a_number_is_passed_on(pool: bool) -> None:
    x = images("omniglot strided")
    x[1, 0, 2, 2] = float("nan")
    conv, norm, inputs = layers("omniglot strided", x)
    ours, theirs = (derivatives(function(run, x, conv, norm, pool), inputs) for run in (ConvNormRelu(), by_torch))
    assert ours[0].isnan().all()
    assert theirs[0].isnan().all()
    assert ours[1].isnan().all()


@pytest.mark.parametrize("value", [float("inf"), 1e200])
def test_kernels_that_grew_without_bound_are_no_error(value: float) -> None:
    x = images("omniglot strided")
    conv, norm, inputs = layers("omniglot strided", x)
    with torch.no_grad():
        inputs[0][1] = value
    ours, theirs = (derivatives(function(run, x, conv, norm, False), inputs) for run in (ConvNormRelu(), formula))
    others = [0, 2, 3]
    torch.testing.assert_close(ours[0][:, others], theirs[0][:, others])
    torch.testing.assert_close(ours[1][others], theirs[1][others])


def test_what_is_not_treated_here_is_left_to_torch() -> None:
    x = images("many channels")
    conv, norm, (weight, *_) = layers("many channels", x)
    assert "_Normalise" in names_in_graph(ConvNormRelu()(x, weight, conv, norm))
    half = ConvNormRelu()(x.bfloat16(), weight.bfloat16(), conv.bfloat16(), norm.bfloat16())
    assert "_Normalise" not in names_in_graph(half)
    same = nn.Conv2d(6, 4, 3, padding="same", dtype=torch.float64)
    assert "_Normalise" not in names_in_graph(ConvNormRelu()(x, weight, same, norm.double()))


@pytest.mark.parametrize(
    ("shape", "pool", "complaint"),
    [
        ((1, 1, 2, 2), False, "Expected more than 1 value per channel"),
        ((4, 1, 2, 6), True, "too small"),
    ],
)
def test_torch_complains_as_it_would(shape: tuple[int, ...], pool: bool, complaint: str) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    conv, norm, (weight, *_) = layers("omniglot strided", x)
    for run in (by_torch, ConvNormRelu()):
        with pytest.raises((ValueError, RuntimeError), match=complaint):
            run(x, weight, conv, norm, pool=pool)


def test_no_images_have_no_map() -> None:
    x = torch.rand(0, 1, 8, 8, dtype=torch.float64)
    conv, norm, (weight, *_) = layers("omniglot strided", x)
    assert ConvNormRelu()(x, weight, conv, norm).shape == (0, 4, 4, 4)


def test_a_third_derivative_is_refused_not_wrong() -> None:
    x = images("omniglot strided")
    conv, norm, (weight, *_) = layers("omniglot strided", x)
    y = ConvNormRelu()(x, weight, conv, norm)
    (first,) = torch.autograd.grad((y**3).sum(), weight, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), weight, create_graph=True)
    with pytest.raises(NotImplementedError, match="choose the backend 'plain'"):
        torch.autograd.grad(second.sum(), weight)
