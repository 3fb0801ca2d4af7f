"""MAML on norm layers: what adapts, and that it is KM-MAML without its kernel modulators."""

import torch
from torch.nn import functional as F

from fewshot_km.learners import InnerLoop, build_learner
from tests.support.networks_under_test import MINI_IMAGENET_5_WAY, OMNIGLOT_20_WAY
from tests.support.small_tasks import built, episodes


def test_adapted_numbers_are_those_of_the_papers_table() -> None:
    """(gamma, beta) alone: 512 and 256; with the head 1,300 and 4,005 more, which is KM-MAML less U's 648."""
    for network, alone, head in ((OMNIGLOT_20_WAY, 512, 1_300), (MINI_IMAGENET_5_WAY, 256, 4_005)):
        for adapt_head, count in ((False, alone), (True, alone + head)):
            learner = build_learner("bn-maml", {"adapt_head": adapt_head}, network.make, InnerLoop(0.1))
            x, y = torch.rand(network.ways, *network.image_shape), torch.arange(network.ways)
            delta = learner.adapt(learner.init(0), x, y, steps=1)
            assert sum(value.numel() for value in delta.values()) == count


def test_scales_and_shifts_take_the_steps_of_sgd() -> None:
    learner, meta = built("bn-maml", {"adapt_head": False})
    episode = episodes()
    module = learner.build_network().double()
    module.load_state_dict(meta)
    moving = {n: p for n, p in module.named_parameters() if ".norm." in n}
    sgd = torch.optim.SGD(moving.values(), lr=0.3)
    for _ in range(2):
        sgd.zero_grad()
        F.cross_entropy(module(episode.support_x[0]), episode.support_y[0]).backward()
        sgd.step()
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=2)
    assert set(delta) == set(moving)
    for name, parameter in moving.items():
        torch.testing.assert_close(delta[name], parameter.detach(), rtol=1e-10, atol=1e-12)
