"""BOIL: the head stays, the body moves as MAML's does; counted as the papers count."""

import torch
from torch.nn import functional as F

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learners import InnerLoop, build_learner
from tests.support.networks_under_test import MINI_IMAGENET_5_WAY, OMNIGLOT_20_WAY
from tests.support.small_tasks import built, context, episodes


def test_it_adapts_what_maml_does_less_the_head() -> None:
    """The papers' counts of the convolutions' weights and biases: 111,168 + 256 and 28,512 + 128."""
    for network, count in ((OMNIGLOT_20_WAY, 111_424), (MINI_IMAGENET_5_WAY, 28_640)):
        learner = build_learner("boil", {}, network.make, InnerLoop(0.1))
        x, y = torch.rand(network.ways, *network.image_shape), torch.arange(network.ways)
        delta = learner.adapt(learner.init(0), x, y, steps=1)
        assert sum(value.numel() for value in delta.values()) == count


def test_the_body_takes_the_steps_of_sgd_with_a_frozen_head() -> None:
    learner, meta = built("boil", {"norm_affine": "full"})
    episode = episodes()
    module = learner.build_network().double()
    module.load_state_dict(meta)
    module.head.requires_grad_(False)
    sgd = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.3)
    for _ in range(2):
        sgd.zero_grad()
        F.cross_entropy(module(episode.support_x[0]), episode.support_y[0]).backward()
        sgd.step()
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=2)
    moved = {n: p.detach() for n, p in module.named_parameters() if not n.startswith("head.")}
    assert set(delta) == set(moved)
    for name, value in moved.items():
        torch.testing.assert_close(delta[name], value, rtol=1e-10, atol=1e-12)


def test_the_outer_loop_trains_the_head() -> None:
    learner, meta = built("boil")
    gradient = BACKENDS["plain"].outer_gradient(learner, meta, episodes(), context(1)).gradient
    assert float(gradient["head.weight"].abs().max()) > 1e-3
