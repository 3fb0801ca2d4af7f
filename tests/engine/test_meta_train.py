"""The outer loop against a plain loop of torch.optim.Adam, model selection, clipping, divergence."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fewshot_km.datasets import Dataset, ImageBank
from fewshot_km.datasets.splits import Split
from fewshot_km.engine import OuterLoop, Progress, evaluate, meta_train
from fewshot_km.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.errors import DivergenceError
from fewshot_km.learners import GradientLearner, InnerLoop, Params, build_learner
from tests.networks_under_test import SMALL_STRIDED

OUTER = OuterLoop(lr=0.01, meta_batch=3, iterations=4, steps=2, clip_value=None, validate_every=2, execution="vmap")


@pytest.fixture(scope="module")
def sampler() -> EpisodeSampler:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 1, 28, 28), dtype=np.uint8)
    bank = ImageBank.from_classes([str(c) for c in range(8)], pixels)
    dataset = Dataset("noise", bank, {"train": Split("train", np.arange(8)[:, None], "")})
    return EpisodeSampler(dataset, "train", TaskSpec(3, 1, 2), Stream("train", 0))


def make(lr: float = 0.3) -> GradientLearner:
    learner = build_learner("maml", {}, SMALL_STRIDED.make, InnerLoop(lr))
    assert isinstance(learner, GradientLearner)
    return learner


def scripted(values: list[float]) -> Callable[[Params], float]:
    """A validation whose outcomes are known beforehand."""
    left: Iterator[float] = iter(values)
    return lambda _: next(left)


@pytest.mark.parametrize("clip_value", [None, 1e-3])
def test_the_outer_loop_is_adam_on_the_mean_query_loss(sampler: EpisodeSampler, clip_value: float | None) -> None:
    learner = make()
    outer = replace(OUTER, clip_value=clip_value, validate_every=100, execution="loop")
    trained = meta_train(learner, learner.init(0), sampler, lambda _: 0.5, outer)

    meta = {n: v.requires_grad_() for n, v in learner.init(0).items()}
    adam = torch.optim.Adam(meta.values(), lr=0.01)
    losses = []
    for iteration in range(4):
        adam.zero_grad()
        total = torch.zeros(())
        for index in range(3 * iteration, 3 * iteration + 3):
            episode = sampler.draw([index])
            delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=2)
            logits = learner.predict(meta, delta, episode.query_x[0])
            total = total + nn.functional.cross_entropy(logits, episode.query_y[0]) / 3
        total.backward()
        losses.append(float(total.detach()))
        if clip_value is not None:
            for value in meta.values():
                assert value.grad is not None
                value.grad.clamp_(-clip_value, clip_value)
        adam.step()
    for n, value in trained.meta.items():
        if not n.endswith("conv.bias"):  # no effect under batch norm: its gradient is rounding, which Adam magnifies
            torch.testing.assert_close(value, meta[n].detach(), rtol=1e-4, atol=1e-5)
    assert trained.history[-1].train_loss == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_the_earliest_of_the_best_validations_is_kept(sampler: EpisodeSampler) -> None:
    learner = make()
    outer = replace(OUTER, iterations=7)
    trained = meta_train(learner, learner.init(0), sampler, scripted([0.3, 0.7, 0.7, 0.2]), outer)
    assert (trained.best_iteration, trained.best_val_accuracy) == (4, 0.7)
    assert [row.iteration for row in trained.history] == [2, 4, 6, 7]
    assert [row.val_accuracy for row in trained.history] == [0.3, 0.7, 0.7, 0.2]
    shorter = meta_train(
        learner, learner.init(0), sampler, lambda _: 0.5, replace(outer, iterations=4, validate_every=4)
    )
    assert all(torch.equal(trained.meta[n], shorter.meta[n]) for n in shorter.meta)


def test_training_starts_from_the_given_parameters_and_leaves_them(sampler: EpisodeSampler) -> None:
    learner = make()
    meta = learner.init(0)
    kept = {n: v.clone() for n, v in meta.items()}
    meta_train(learner, meta, sampler, lambda _: 0.5, OUTER)
    assert all(torch.equal(meta[n], kept[n]) for n in kept)


def test_every_iteration_is_reported(sampler: EpisodeSampler) -> None:
    seen: list[Progress] = []
    learner = make()
    meta_train(learner, learner.init(0), sampler, scripted([0.3, 0.7]), OUTER, seen.append)
    assert [p.iteration for p in seen] == [1, 2, 3, 4]
    assert [p.val_accuracy for p in seen] == [None, 0.3, 0.3, 0.7]


def test_a_loss_that_is_not_finite_stops_training(sampler: EpisodeSampler) -> None:
    learner = make(lr=1e30)
    with pytest.raises(DivergenceError, match=r"outer loss became (nan|inf) at iteration 1: lower inner.lr"):
        meta_train(learner, learner.init(0), sampler, lambda _: 0.5, OUTER)


def test_evaluation_does_not_depend_on_the_batch(sampler: EpisodeSampler) -> None:
    learner = make()
    meta = {n: v.double() for n, v in learner.init(0).items()}
    batches: list[int] = []
    results = [
        evaluate(
            learner,
            meta,
            DoubleSampler(sampler),
            episodes=7,
            steps=2,
            batch=b,
            execution="vmap",
            on_batch=batches.append,
        )
        for b in (1, 3, 7)
    ]
    assert all(np.array_equal(r, results[0]) for r in results)
    assert batches == [1] * 7 + [3, 3, 1] + [7]
    assert set(np.round(results[0] * 6, 9)) <= set(range(7))  # sixths: six query images an episode


class DoubleSampler(EpisodeSampler):
    """The same episodes in float64, where the order of operations cannot change a prediction."""

    def __init__(self, sampler: EpisodeSampler) -> None:
        self.__dict__ = sampler.__dict__

    def draw(self, indices: object) -> object:  # type: ignore[override]
        episode = super().draw(indices)  # type: ignore[arg-type]
        return replace(episode, support_x=episode.support_x.double(), query_x=episode.query_x.double())
