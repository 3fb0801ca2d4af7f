"""Every backend in float64 against three truths: finite differences, a hand-written network, one another."""

import os
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from fewshot_km.accel.backend_names import BackendName
from fewshot_km.accel.backends import BACKENDS
from fewshot_km.data.episodes import Episode
from fewshot_km.learners import GradientLearner, InnerLoop, Params, build_learner
from tests.support.networks_under_test import (
    MINI_IMAGENET_5_WAY,
    OMNIGLOT_20_WAY,
    SMALL_NETWORKS,
    SMALL_STRIDED,
    PaperNetwork,
)

LEARNERS = ["maml", "anil", "km-maml"]
QUICK = [name for name, backend in BACKENDS.items() if not backend.compiles]  # test_compilation.py has the rest


def make(name: str, network: PaperNetwork, order: str) -> tuple[GradientLearner, Params]:
    learner = build_learner(name, {}, network.make, InnerLoop(0.3, order))
    assert isinstance(learner, GradientLearner)
    meta = {n: v.double() for n, v in learner.init(1).items()}
    for n in meta:
        if n.endswith("norm.weight"):
            meta[n][::3] *= -0.7  # scales may become negative, where pooling before them would be wrong
    return learner, meta


def episodes(network: PaperNetwork, tasks: int = 3) -> Episode:
    generator = torch.Generator().manual_seed(5)

    def images(per_class: int) -> Tensor:
        shape = (tasks, network.ways * per_class, *network.image_shape)
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    labels = torch.arange(network.ways)
    return Episode(
        images(2),
        labels.repeat_interleave(2).expand(tasks, -1),
        images(3),
        labels.repeat_interleave(3).expand(tasks, -1),
    )


def outer_gradient(learner: GradientLearner, meta: Params, episode: Episode, steps: int, backend: str) -> Params:
    """Mean over the tasks."""
    outcome = BACKENDS[backend].outer_gradient(learner, meta, episode, SMALL_STRIDED.context(steps))
    assert outcome.losses.shape == outcome.accuracies.shape == (len(episode),)
    return {n: g / len(episode) for n, g in outcome.gradient.items()}


def gradient_by_hand(learner: GradientLearner, meta: Params, episode: Episode, steps: int) -> Params:
    """MAML as one would write it with a module, autograd and `create_graph`: no torch.func anywhere."""
    total = {n: torch.zeros_like(v) for n, v in meta.items()}
    for t in range(len(episode)):
        leaves = {n: v.clone().requires_grad_() for n, v in meta.items()}
        names = list(learner.adapt(meta, episode.support_x[t], episode.support_y[t], steps=0))
        weights = dict(leaves)
        for _ in range(steps):
            loss = nn.functional.cross_entropy(run(learner, weights, episode.support_x[t]), episode.support_y[t])
            second = learner.inner.order == "second"
            gradients = torch.autograd.grad(loss, [weights[n] for n in names], create_graph=second)
            weights |= {n: weights[n] - learner.inner.lr * g for n, g in zip(names, gradients, strict=True)}
        outer = nn.functional.cross_entropy(run(learner, weights, episode.query_x[t]), episode.query_y[t])
        gradients = torch.autograd.grad(outer, list(leaves.values()), allow_unused=True)
        for n, g in zip(leaves, gradients, strict=True):
            total[n] += 0 if g is None else g / len(episode)
    return total


def run(learner: GradientLearner, weights: Params, x: Tensor) -> Tensor:
    """The network written out layer by layer from its weights: independent of modules, parametrizations and conv4."""
    blocks = sorted({n.split(".")[2] for n in weights if n.startswith("backbone.blocks.")})
    pool, group = (
        learner.network.backbone.blocks[0].pool,
        isinstance(learner.network.backbone.blocks[0].norm, nn.GroupNorm),
    )
    for b in blocks:
        at = f"backbone.blocks.{b}."
        kernel = weights.get(at + "conv.weight")
        if kernel is None:
            base = at + "conv.parametrizations.weight."
            w = weights[base + "original"]
            u1, u2 = weights[base + "0.u1"], weights[base + "0.u2"]
            kernel = (torch.tanh(w.reshape(-1, 9) @ u1) @ u2).reshape(w.shape)  # paper Eq. 2-4
        x = nn.functional.conv2d(x, kernel, weights[at + "conv.bias"], stride=1 if pool else 2, padding=1)
        axes = (2, 3) if group else (0, 2, 3)  # 8 filters are one group of 8
        if group:
            flat = x.flatten(1)
            x = ((flat - flat.mean(1, True)) / (flat.var(1, False, keepdim=True) + 1e-5).sqrt()).reshape(x.shape)
        else:
            x = (x - x.mean(axes, True)) / (x.var(axes, False, keepdim=True) + 1e-5).sqrt()
        x = x * weights[at + "norm.weight"][:, None, None] + weights[at + "norm.bias"][:, None, None]
        x = x.relu()
        x = nn.functional.max_pool2d(x, 2) if pool else x
    x = x.flatten(1) if pool else x.mean((2, 3))
    return x @ weights["head.weight"].T + weights["head.bias"]


def assert_same_gradient(got: Params, expected: Params, tolerance: float = 1e-9) -> None:
    assert set(got) == set(expected)
    norm = torch.cat([v.flatten() for v in expected.values()]).norm()
    difference = torch.cat([(got[n] - expected[n]).flatten() for n in expected]).norm()
    assert norm > 1e-3  # a gradient of zeros would agree with anything
    assert float(difference / norm) < tolerance


@pytest.mark.parametrize("backend", QUICK)
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("network", SMALL_NETWORKS)
@pytest.mark.parametrize("name", LEARNERS)
def test_outer_gradient_is_that_of_plain_autograd(
    name: str, network: str, order: str, steps: int, backend: str
) -> None:
    learner, meta = make(name, SMALL_NETWORKS[network], order)
    episode = episodes(SMALL_NETWORKS[network])
    got = outer_gradient(learner, meta, episode, steps, backend)
    assert_same_gradient(got, gradient_by_hand(learner, meta, episode, steps))


@pytest.mark.parametrize("backend", QUICK)
@pytest.mark.parametrize("norm", ["strided", "group"])
@pytest.mark.parametrize("name", LEARNERS)
def test_second_order_gradient_is_that_of_finite_differences(name: str, norm: str, backend: str) -> None:
    """Central differences of the mean query loss along random directions.

    The step is small because the inner gradient jumps where a ReLU switches: a step of 1e-6 crosses such points.
    """
    network = SMALL_NETWORKS[norm]
    learner, meta = make(name, network, "second")
    episode = episodes(network, tasks=2)
    gradient = outer_gradient(learner, meta, episode, 2, backend)

    def loss(at: Params) -> float:
        return float(BACKENDS["plain"].outer_gradient(learner, at, episode, network.context(2)).losses.mean())

    generator = torch.Generator().manual_seed(0)
    for only in ("backbone.blocks.0", "backbone.blocks.3", "head", ""):
        direction = {
            n: torch.randn(v.shape, generator=generator, dtype=torch.float64) * n.startswith(only)
            for n, v in meta.items()
        }
        size = 1e-8
        up = loss({n: v + size * direction[n] for n, v in meta.items()})
        down = loss({n: v - size * direction[n] for n, v in meta.items()})
        slope = float(sum((gradient[n] * direction[n]).sum() for n in meta))
        assert (up - down) / (2 * size) == pytest.approx(slope, rel=1e-6)


def test_first_and_second_order_differ() -> None:
    network = SMALL_NETWORKS["strided"]
    episode = episodes(network)
    first, meta = make("maml", network, "first")
    second, _ = make("maml", network, "second")
    one = outer_gradient(first, meta, episode, 2, "vmap")
    two = outer_gradient(second, meta, episode, 2, "vmap")
    assert max(float((one[n] - two[n]).abs().max()) for n in meta) > 1e-3


@pytest.mark.parametrize("network", SMALL_NETWORKS)
@pytest.mark.parametrize("name", LEARNERS)
def test_all_backends_predict_alike(name: str, network: str) -> None:
    learner, meta = make(name, SMALL_NETWORKS[network], "second")
    episode = episodes(SMALL_NETWORKS[network], tasks=5)
    counts = {name: e.count_correct(learner, meta, episode, 3) for name, e in BACKENDS.items()}
    assert all(torch.equal(count, counts["plain"]) for count in counts.values())
    for t in range(5):
        delta = learner.adapt(meta, episode.support_x[t], episode.support_y[t], steps=3)
        predicted = learner.predict(meta, delta, episode.query_x[t]).argmax(1)
        assert int(counts["plain"][t]) == sum(int(p == y) for p, y in zip(predicted, episode.query_y[t], strict=True))


def test_the_outer_loop_trains_every_parameter() -> None:
    """KM-MAML freezes kernels in the inner loop only: they have an outer gradient, like everything but conv biases.

    A bias before a norm over the batch has no effect on the output, so its gradient is zero by mathematics.
    """
    network = SMALL_NETWORKS["strided"]
    learner, meta = make("km-maml", network, "second")
    gradient = outer_gradient(learner, meta, episodes(network), 1, "vmap")
    for n, g in gradient.items():
        assert (float(g.abs().max()) > 1e-9) != n.endswith("conv.bias"), n


@pytest.mark.parametrize("network", SMALL_NETWORKS)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_gpus_step_reads_no_value_back(name: str, network: str) -> None:
    """It would wait for the GPU: among tensors without values, `vmap` runs to its end all the same."""
    learner, meta = make(name, SMALL_NETWORKS[network], "second")
    episode = episodes(SMALL_NETWORKS[network])
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in (episode.support_x, episode.support_y, episode.query_x, episode.query_y)]
        fake_meta = {n: mode.from_tensor(v) for n, v in meta.items()}
        outcome = BACKENDS["vmap"].outer_gradient(
            learner, fake_meta, Episode(*fakes), SMALL_NETWORKS[network].context(2)
        )
        with pytest.raises(DataDependentOutputException):  # what reading a value would have raised
            outcome.losses.sum().item()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maml", "km-maml"])
@pytest.mark.parametrize(
    "network",
    [OMNIGLOT_20_WAY, replace(MINI_IMAGENET_5_WAY, image_shape=(3, 42, 42))],
    ids=["omniglot", "mini-imagenet"],
)
def test_single_precision_costs_no_backend_more_than_the_plain_one(network: PaperNetwork, name: str) -> None:
    """Error of the float32 meta-gradient against float64, median of five episodes: within twice the plain loop's.

    Single episodes say little: where rounding switches a ReLU or a maximum, the error jumps a thousandfold. On images
    of 84x84 pixels it does in half of the episodes, whatever runs them; here they have 42x42. Compiling these networks
    takes minutes, and is done where FEWSHOT_KM_COMPILE_ALL is set.
    """
    learner, _ = make(name, network, "second")
    meta = learner.init(1)
    tried = BACKENDS if "FEWSHOT_KM_COMPILE_ALL" in os.environ else QUICK
    errors: dict[str, list[float]] = {backend: [] for backend in tried}
    for seed in range(5):
        single = one_shot_episode(network, seed)
        double = replace(single, support_x=single.support_x.double(), query_x=single.query_x.double())
        exact_meta, context = {n: v.double() for n, v in meta.items()}, network.context(1, shots=1)
        exact = BACKENDS["plain"].outer_gradient(learner, exact_meta, double, context).gradient
        norm = torch.cat([v.flatten() for v in exact.values()]).norm()
        for backend, found in errors.items():
            got = BACKENDS[backend].outer_gradient(learner, meta, single, context).gradient
            found.append(float(torch.cat([(got[n] - exact[n]).flatten() for n in exact]).norm() / norm))
    medians = {backend: float(np.median(found)) for backend, found in errors.items()}
    print(medians)
    for backend, found in errors.items():
        assert medians[backend] < 2 * medians["plain"], (backend, found)


def one_shot_episode(network: PaperNetwork, seed: int) -> Episode:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(network.ways)[None]
    support, query = (torch.rand(1, network.ways, *network.image_shape, generator=generator) for _ in range(2))
    return Episode(support, labels, query, labels)


def test_the_command_line_knows_every_backend() -> None:
    assert get_args(BackendName) == tuple(BACKENDS)
