"""Meta-training: Adam on the outer loss, the best meta-parameters by validation kept."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fewshot_km.engine.tasks import Execution, outer_gradient
from fewshot_km.episodes import EpisodeSampler
from fewshot_km.errors import DivergenceError
from fewshot_km.learners.base import Learner, Params


@dataclass(frozen=True)
class OuterLoop:
    """Adam over meta-batches.

    lr          outer learning rate
    meta_batch  tasks per iteration
    iterations  outer steps
    steps       inner steps at training
    clip_value  bound on each component of the outer gradient; None: no bound
    validate_every  iterations between validations; the last iteration is always validated
    """

    lr: float
    meta_batch: int
    iterations: int
    steps: int
    clip_value: float | None
    validate_every: int
    execution: Execution


@dataclass(frozen=True)
class Progress:
    """What one iteration did: its mean query loss and accuracy, and the last validation accuracy (None before it)."""

    iteration: int
    loss: float
    accuracy: float
    val_accuracy: float | None


@dataclass(frozen=True)
class HistoryRow:
    """Means over the iterations since the row before, and the validation that ended them."""

    iteration: int
    train_loss: float
    train_accuracy: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True)
class MetaTraining:
    """The meta-parameters that validated best (the earliest among equals), and how training went."""

    meta: Params
    best_iteration: int
    best_val_accuracy: float
    history: list[HistoryRow]


def meta_train(
    learner: Learner,
    meta: Params,
    sampler: EpisodeSampler,
    validate: Callable[[Params], float],
    outer: OuterLoop,
    on_iteration: Callable[[Progress], None] = lambda _: None,
) -> MetaTraining:
    """Meta-train from `meta`; iteration i uses tasks i*meta_batch to (i+1)*meta_batch - 1 of the sampler.

    Raises DivergenceError as soon as an outer loss, or at a validation a parameter, is not finite.
    """
    parameters = {name: value.clone().requires_grad_() for name, value in meta.items()}
    optimiser = torch.optim.Adam(parameters.values(), lr=outer.lr)
    best: tuple[float, int, Params] | None = None
    history: list[HistoryRow] = []
    losses: list[float] = []
    accuracies: list[float] = []
    val_accuracy = None
    began = time.monotonic()
    for iteration in range(1, outer.iterations + 1):
        first = (iteration - 1) * outer.meta_batch
        episode = sampler.draw(range(first, first + outer.meta_batch))
        now = {name: value.detach() for name, value in parameters.items()}
        gradient, loss, accuracy = outer_gradient(learner, now, episode, steps=outer.steps, execution=outer.execution)
        mean_loss, mean_accuracy = float(loss.mean()), float(accuracy.mean())
        losses.append(mean_loss)
        accuracies.append(mean_accuracy)
        if not math.isfinite(mean_loss):
            raise DivergenceError(f"the outer loss became {mean_loss} at iteration {iteration}: {_MEND}")
        for name, value in parameters.items():
            value.grad = gradient[name]
        if outer.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters.values(), outer.clip_value)
        optimiser.step()
        if iteration % outer.validate_every == 0 or iteration == outer.iterations:
            current = {name: value.detach().clone() for name, value in parameters.items()}
            for name, value in current.items():
                if not value.isfinite().all():
                    raise DivergenceError(f"'{name}' is not finite after iteration {iteration}: {_MEND}")
            val_accuracy = validate(current)
            if best is None or val_accuracy > best[0]:
                best = (val_accuracy, iteration, current)
            seconds = round(time.monotonic() - began, 1)
            history.append(HistoryRow(iteration, _mean(losses), _mean(accuracies), val_accuracy, seconds))
            losses, accuracies = [], []
        on_iteration(Progress(iteration, mean_loss, mean_accuracy, val_accuracy))
    assert best is not None  # iterations >= 1, and the last one is validated
    return MetaTraining(best[2], best[1], best[0], history)


_MEND = "lower inner.lr or outer.lr, or set outer.clip_value"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
