"""What an engine notices while it evaluates, whichever backend runs the tasks."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.data.episodes import Episode, EpisodeSampler
from fewshot_km.errors import ContractError, DivergenceError
from fewshot_km.learners import InnerLoop, Params, build_learner
from fewshot_km.learners.contract_checks import say_learner
from fewshot_km.training.engine import Engine
from tests.support.networks_under_test import SMALL_STRIDED

Predict = Callable[[Params, Tensor], Tensor]


class Sampler:
    """Episodes of two images of two numbers, whose labels are 0 and 1; the number of an episode is in them."""

    def draw(self, indices: range) -> Episode:
        x = torch.tensor([[[i, 0.0], [i, 1.0]] for i in indices])[..., None, None]
        y = torch.tensor([0, 1]).expand(len(indices), -1)
        return Episode(x, y, x.clone(), y)


class Learner:
    """Right on all episodes, but for what `predict` makes of its logits [2, 2]."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def init(self, seed: int) -> Params:
        return {"w": torch.eye(2)}

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return {"number": x[0, 0, 0, 0]}

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        right = torch.eye(2) @ meta["w"] + 0 * x.sum()
        return right + self._predict({**meta, **delta}, x)


def count(predict: Predict, backend: str, episodes: int = 7) -> Tensor:
    learner = Learner(predict)
    engine = Engine(learner, testing=BACKENDS[backend], training_chunk=3, testing_chunk=3)
    return engine.count_correct(learner.init(0), cast(EpisodeSampler, Sampler()), episodes, steps=2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [(0, 0), (1, 0), (1, 1)])
def test_logits_that_are_not_finite_are_counted_and_refused(backend: str, value: float, where: tuple[int, int]) -> None:
    """In the episodes 2 and 5; an argmax would take some of them for a right answer and others for a wrong one."""
    hole = torch.zeros(2, 2)
    hole[where] = value

    def predict(params: Params, x: Tensor) -> Tensor:
        is_bad = (params["number"] == 2) | (params["number"] == 5)
        return torch.where(is_bad, hole, torch.zeros(2, 2))

    with pytest.raises(DivergenceError, match=r"Learner in .*test_engine.py: logits are not finite in 2 of 7 episodes"):
        count(predict, backend)
    assert count(predict, backend, episodes=2).tolist() == [2, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_meta_parameters_changed_in_a_later_episode_are_noticed(backend: str) -> None:
    calls: list[int] = []

    def predict(params: Params, x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            params["w"].data.mul_(0.5)  # which torch keeps no count of
        return torch.zeros(2, 2)

    with pytest.raises(
        ContractError, match=r"Learner in .*test_engine.py: it changes meta-parameters in place in testing"
    ):
        count(predict, backend)
    assert count(predict, backend).tolist() == [2] * 7


@pytest.mark.parametrize("name", ["maml", "anil", "km-maml"])
def test_our_own_learners_are_called_by_their_names(name: str) -> None:
    assert say_learner(build_learner(name, {}, SMALL_STRIDED.make, InnerLoop(0.3))) == f"learner '{name}'"
