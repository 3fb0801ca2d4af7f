"""Compiled programs in float64: traced for every learner and network, really compiled for one small network."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from fewshot_km.accel import compiled as compilation
from fewshot_km.accel.backends import BACKENDS, vmap_outer_gradient
from fewshot_km.accel.compiled import trace
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE
from fewshot_km.learners import InnerLoop, build_learner
from fewshot_km.models import Network
from fewshot_km.models.conv4 import ConvBlock
from tests.accel.test_backends import LEARNERS, assert_same_gradient, episodes, make
from tests.support.networks_under_test import SMALL_NETWORKS, PaperNetwork


@pytest.mark.parametrize(
    ("network", "order", "steps"),
    [("strided", "first", 2), ("strided", "second", 2), ("pooled", "second", 1), ("group", "second", 1)],
)
@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.slow
def test_the_traced_program_is_the_plain_loop(name: str, network: str, order: str, steps: int) -> None:
    learner, meta = make(name, SMALL_NETWORKS[network], order)
    episode = episodes(SMALL_NETWORKS[network])
    inputs = (meta, episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    context = SMALL_NETWORKS[network].context(steps)
    program = trace(vmap_outer_gradient, learner, inputs, context)
    again = {n: v * 1.1 for n, v in meta.items()}  # no value of the first run may have become a constant
    for at in (meta, again):
        gradient, losses, accuracies = program(at, *inputs[1:])
        expected = BACKENDS["plain"].outer_gradient(learner, at, episode, context)
        assert_same_gradient(gradient, expected.gradient)
        torch.testing.assert_close(losses, expected.losses, rtol=1e-9, atol=0)
        torch.testing.assert_close(accuracies, expected.accuracies, rtol=0, atol=0)


class OneBlock(PaperNetwork):
    """As small as a network can be that has everything a compiler could get wrong."""

    def make(self) -> Network:
        backbone = nn.Sequential(ConvBlock(self.image_shape[0], 4, "stride", "batch"), nn.Flatten())
        return Network(backbone, self.ways, self.image_shape)


torch_warns_of_itself = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # at its compiler's import


@torch_warns_of_itself
@pytest.mark.slow
def test_the_compiled_program_is_the_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/nowhere")  # torch's own, which is not the user's
    monkeypatch.setattr(compilation, "_USERS_CACHE", None)
    network = OneBlock(3, (1, 8, 8))
    learner = build_learner("km-maml", {}, network.make, InnerLoop(0.3, "first"))  # half the time of second order
    meta = {n: v.double() for n, v in learner.init(1).items()}
    episode = episodes(network, tasks=2)
    expected = BACKENDS["plain"].outer_gradient(learner, meta, episode, network.context(1))
    for _ in range(2):  # the second run takes the program from the first
        with torch._inductor.config.patch("cpp.vec_isa_ok", True):  # else torch compiles programs to find that out
            got = BACKENDS["compiled"].outer_gradient(learner, meta, episode, network.context(1))
        assert_same_gradient(got.gradient, expected.gradient)
        torch.testing.assert_close(got.losses, expected.losses, rtol=1e-9, atol=0)
    assert any((tmp_path / "compiled").iterdir())


@torch_warns_of_itself
@pytest.mark.slow
@pytest.mark.skipif(
    "FEWSHOT_KM_COMPILE_ALL" not in os.environ, reason="FEWSHOT_KM_COMPILE_ALL is not set: compiling all takes an hour"
)
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("network", SMALL_NETWORKS)
@pytest.mark.parametrize("name", LEARNERS)
def test_every_compiled_program_is_the_plain_loop(name: str, network: str, order: str) -> None:
    learner, meta = make(name, SMALL_NETWORKS[network], order)
    episode = episodes(SMALL_NETWORKS[network])
    context = SMALL_NETWORKS[network].context(1)
    got = BACKENDS["compiled"].outer_gradient(learner, meta, episode, context).gradient
    assert_same_gradient(got, BACKENDS["plain"].outer_gradient(learner, meta, episode, context).gradient)
