"""Networks that draw random numbers in training draw none in evaluation, wherever a learner keeps them."""

from typing import Any

import pytest
import torch
from torch import nn

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learners import GradientLearner, InnerLoop, build_learner
from fewshot_km.learners.modes import evaluating
from fewshot_km.models import Network
from fewshot_km.models.conv4 import ConvBlock
from tests.accel.test_backends import QUICK, episodes
from tests.support.networks_under_test import PaperNetwork

TASK = PaperNetwork(3, (1, 8, 8))


def network(dropout: float) -> Network:
    """With a norm over the batch, which normalises by the batch in either mode, and two kinds of dropout."""
    backbone = nn.Sequential(
        ConvBlock(1, 8, "stride", "batch"), nn.Dropout2d(dropout), nn.Flatten(), nn.Dropout(dropout)
    )
    return Network(backbone, TASK.ways, TASK.image_shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["maml", "anil", "km-maml"])
def test_dropout_is_off_at_test(name: str, backend: str) -> None:
    """Twice the same, and the same as without dropout, which is not so in training."""
    with_it, without = (build_learner(name, {}, lambda p=p: network(p), InnerLoop(0.3)) for p in (0.8, 0.0))
    meta = {n: v.double() for n, v in with_it.init(0).items()}
    episode = episodes(TASK, tasks=8)
    run = BACKENDS[backend].count_correct
    first, again = run(with_it, meta, episode, 3), run(with_it, meta, episode, 3)
    assert torch.equal(first, again)
    assert torch.equal(first, run(without, meta, episode, 3))

    losses = [
        BACKENDS["plain"].outer_gradient(one, meta, episode, TASK.context(1)).losses
        for one in (with_it, with_it, without)
    ]
    assert not torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("backend", QUICK)
def test_the_norm_over_the_batch_is_what_it_is_in_training(backend: str) -> None:
    learner = build_learner("maml", {}, lambda: network(0), InnerLoop(0.3))
    assert isinstance(learner, GradientLearner)
    meta = {n: v.double() for n, v in learner.init(0).items()}
    episode = episodes(TASK, tasks=8)
    counts = BACKENDS[backend].count_correct(learner, meta, episode, 3)
    accuracies = BACKENDS["plain"].outer_gradient(learner, meta, episode, TASK.context(3)).accuracies
    torch.testing.assert_close(counts / episode.query_y.shape[1], accuracies, check_dtype=False)


class Holder:
    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


@pytest.mark.parametrize(
    "hold",
    [
        lambda module: Holder(network=module),
        lambda module: Holder(networks=[nn.Linear(1, 1), (module,)]),
        lambda module: Holder(by_name={"a": {"b": module}}),
        lambda module: Holder(inside=Holder(learner=Holder(network=module))),
        lambda module: nn.Sequential(nn.Identity(), module),
    ],
)
def test_networks_are_found_where_a_learner_holds_them(hold: Any) -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    module[1].eval()  # as its author wanted it, in training too
    learner = hold(module)
    learner.itself = learner
    with evaluating(learner):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False, False]


def test_modes_come_back_after_an_error() -> None:
    module = nn.Dropout()
    with pytest.raises(KeyError), evaluating(Holder(network=module)):
        raise KeyError
    assert module.training
