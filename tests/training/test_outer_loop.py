"""The outer loop against a plain loop of torch.optim.Adam, model selection, clipping, divergence."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.data.episodes import Episode, EpisodeSampler
from fewshot_km.errors import DivergenceError
from fewshot_km.learners import GradientLearner, InnerLoop, Params, build_learner
from fewshot_km.training.engine import Engine
from fewshot_km.training.evaluation import evaluate
from fewshot_km.training.history import IterationDone, Validated
from fewshot_km.training.outer_loop import OuterLoop, meta_train
from fewshot_km.training.training_state import TrainingState
from tests.accel.test_backends import QUICK
from tests.support.networks_under_test import SMALL_STRIDED
from tests.support.noise import DoubleSampler, noise_sampler

OUTER = OuterLoop(lr=0.01, meta_batch=3, iterations=4, steps=2, clip_value=None, validate_every=2)


@pytest.fixture
def sampler() -> EpisodeSampler:
    return noise_sampler()


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
    outer = replace(OUTER, clip_value=clip_value, validate_every=100)
    trained = meta_train(Engine(learner), TrainingState.before(learner.init(0)), sampler, lambda _: 0.5, outer)

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
    trained = meta_train(
        Engine(learner), TrainingState.before(learner.init(0)), sampler, scripted([0.3, 0.7, 0.7, 0.2]), outer
    )
    assert (trained.best_iteration, trained.best_val_accuracy) == (4, 0.7)
    assert [row.iteration for row in trained.history] == [2, 4, 6, 7]
    assert [row.val_accuracy for row in trained.history] == [0.3, 0.7, 0.7, 0.2]
    shorter = meta_train(
        Engine(learner),
        TrainingState.before(learner.init(0)),
        sampler,
        lambda _: 0.5,
        replace(outer, iterations=4, validate_every=4),
    )
    assert all(torch.equal(trained.meta[n], shorter.meta[n]) for n in shorter.meta)


def test_training_starts_from_the_given_parameters_and_leaves_them(sampler: EpisodeSampler) -> None:
    learner = make()
    meta = learner.init(0)
    kept = {n: v.clone() for n, v in meta.items()}
    meta_train(Engine(learner), TrainingState.before(meta), sampler, lambda _: 0.5, OUTER)
    assert all(torch.equal(meta[n], kept[n]) for n in kept)


def test_every_iteration_is_reported(sampler: EpisodeSampler) -> None:
    seen: list[IterationDone | Validated] = []
    learner = make()
    meta_train(
        Engine(learner), TrainingState.before(learner.init(0)), sampler, scripted([0.3, 0.7]), OUTER, seen.append
    )
    done = [event for event in seen if isinstance(event, IterationDone)]
    assert [p.iteration for p in done] == [1, 2, 3, 4]
    assert [p.val_accuracy for p in done] == [None, 0.3, 0.3, 0.7]
    rows = [event.rows for event in seen if isinstance(event, Validated)]
    assert [[row.val_accuracy for row in of] for of in rows] == [[0.3], [0.3, 0.7]]


def test_a_loss_that_is_not_finite_stops_training(sampler: EpisodeSampler) -> None:
    learner = make(lr=1e30)
    with pytest.raises(DivergenceError, match=r"outer loss became (nan|inf) at iteration 1: lower inner.lr"):
        meta_train(Engine(learner), TrainingState.before(learner.init(0)), sampler, lambda _: 0.5, OUTER)


@pytest.mark.parametrize("backend", QUICK)
def test_evaluation_does_not_depend_on_the_chunk(sampler: EpisodeSampler, backend: str) -> None:
    learner = make()
    meta = {n: v.double() for n, v in learner.init(0).items()}
    told: list[int] = []
    results = [
        evaluate(
            Engine(learner, testing=BACKENDS[backend], testing_chunk=chunk),
            meta,
            DoubleSampler(sampler),
            episodes=7,
            steps=2,
            on_batch=told.append,
        )
        for chunk in (1, 3, 7)
    ]
    assert all(np.array_equal(r, results[0]) for r in results)
    assert told == [1] * 7 + [3, 3, 1] + [7]
    assert set(np.round(results[0] * 6, 9)) <= set(range(7))  # sixths: six query images an episode
    one = BACKENDS["plain"].count_correct(learner, meta, DoubleSampler(sampler).draw([4]), 2)
    assert results[0][4] == int(one) / 6


@pytest.mark.parametrize("backend", QUICK)
def test_the_outer_step_does_not_depend_on_the_chunk(sampler: EpisodeSampler, backend: str) -> None:
    learner = make()
    meta = {n: v.double() for n, v in learner.init(0).items()}
    engines = [Engine(learner, training=BACKENDS[backend], training_chunk=chunk) for chunk in (7, 1, 3)]
    steps = [engine.outer_step(meta, DoubleSampler(sampler), range(3, 10), steps=2) for engine in engines]
    episode = DoubleSampler(sampler).draw(range(3, 10))
    outcome = BACKENDS["plain"].outer_gradient(learner, meta, episode, SMALL_STRIDED.context(2, shots=1))
    for step in steps:
        assert float(step.loss) == pytest.approx(float(outcome.losses.mean()), rel=1e-12)
        assert float(step.accuracy) == pytest.approx(float(outcome.accuracies.mean()), rel=1e-12)
        for n in meta:
            torch.testing.assert_close(step.gradient[n], outcome.gradient[n] / 7, rtol=1e-9, atol=1e-12)


def test_where_memory_runs_out_fewer_tasks_are_run_at_once(
    sampler: EpisodeSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's own error, for more tasks than two: a learner that asks for more than any machine has."""
    learner = make()
    meta = learner.init(0)
    tasks_at_once: list[int] = []
    draw = sampler.draw

    def greedy(indices: range) -> Episode:
        tasks_at_once.append(len(indices))
        if len(indices) > 2:
            torch.empty(2**58)
        return draw(indices)

    monkeypatch.setattr(sampler, "draw", greedy)
    engine = Engine(learner, training_chunk=8)
    with pytest.warns(UserWarning, match="tasks at once do not fit into memory") as noted:
        step = engine.outer_step(meta, sampler, range(9), steps=1)
    said = [str(n.message) for n in noted]
    assert said == [f"{n} tasks at once do not fit into memory: going on with {n // 2}" for n in (8, 4)]
    assert tasks_at_once == [8, 4, 2, 2, 2, 2, 1]
    assert (engine.training_chunk, engine.testing_chunk) == (2, 16)  # remembered: the next step begins with it
    expected = Engine(learner, training_chunk=1).outer_step(meta, sampler, range(9), steps=1)
    torch.testing.assert_close(step.gradient["head.weight"], expected.gradient["head.weight"])

    def hungry(indices: range) -> Episode:
        torch.empty(2**58)
        return draw(indices)

    monkeypatch.setattr(sampler, "draw", hungry)
    with pytest.warns(UserWarning, match="do not fit"), pytest.raises(RuntimeError, match="allocate"):
        engine.outer_step(meta, sampler, range(2), steps=1)


class _EnoughIterationsError(Exception):
    pass


@pytest.mark.parametrize("backend", QUICK)
def test_iterations_away_from_the_cpu_read_no_value_back(
    sampler: EpisodeSampler, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Sums, Adam and clipping too: a GPU would have to be waited for. Tensors without values have none to read."""
    learner = build_learner("km-maml", {}, SMALL_STRIDED.make, InnerLoop(0.3))
    meta = {n: value.to("meta") for n, value in learner.init(0).items()}
    draw = sampler.draw

    def elsewhere(tasks: range) -> Episode:
        if tasks.start == 2 * OUTER.meta_batch:
            raise _EnoughIterationsError
        episode = draw(tasks)
        tensors = episode.support_x, episode.support_y, episode.query_x, episode.query_y
        return Episode(*(tensor.to("meta") for tensor in tensors))

    monkeypatch.setattr(sampler, "draw", elsewhere)
    outer = replace(OUTER, iterations=100, steps=1, clip_value=10.0, validate_every=100)
    with pytest.raises(_EnoughIterationsError):
        meta_train(
            Engine(learner, training=BACKENDS[backend]), TrainingState.before(meta), sampler, lambda _: 0.5, outer
        )
