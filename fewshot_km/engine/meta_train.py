"""Meta-training: Adam on the outer loss, the best meta-parameters by validation kept."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot_km.engine.engine import Engine
from fewshot_km.episodes import EpisodeSampler
from fewshot_km.errors import DivergenceError
from fewshot_km.learners.base import Params


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


@dataclass(frozen=True)
class Progress:
    """What an iteration did: its mean query loss and accuracy, and the last validation accuracy (None before it)."""

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
    engine: Engine,
    meta: Params,
    sampler: EpisodeSampler,
    validate: Callable[[Params], float],
    outer: OuterLoop,
    on_iteration: Callable[[Progress], None] = lambda _: None,
) -> MetaTraining:
    """Meta-train from `meta`; iteration i uses tasks i*meta_batch to (i+1)*meta_batch - 1 of the sampler.

    `on_iteration` hears of every iteration on a CPU. On a GPU, which must not wait for being read, it hears of one in a
    while. Raises DivergenceError where an outer loss, or at a validation a parameter, is not finite.
    """
    parameters = {name: value.clone().requires_grad_() for name, value in meta.items()}
    optimiser = torch.optim.Adam(parameters.values(), lr=outer.lr)
    best: tuple[float, int, Params] | None = None
    history: list[HistoryRow] = []
    log = _Log()
    val_accuracy = None
    began = time.monotonic()
    for iteration in range(1, outer.iterations + 1):
        first = (iteration - 1) * outer.meta_batch
        now = {name: value.detach() for name, value in parameters.items()}
        step = engine.outer_step(now, sampler, range(first, first + outer.meta_batch), steps=outer.steps)
        for name, value in parameters.items():
            value.grad = step.gradient[name]
        if outer.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters.values(), outer.clip_value)
        optimiser.step()
        log.add(step.loss, step.accuracy)
        validates = iteration % outer.validate_every == 0 or iteration == outer.iterations
        if validates or log.is_due():
            loss, accuracy = log.read(iteration)
        if validates:
            current = {name: value.detach().clone() for name, value in parameters.items()}
            for name, value in current.items():
                if not value.isfinite().all():
                    raise DivergenceError(f"'{name}' is not finite after iteration {iteration}: {_MEND}")
            val_accuracy = validate(current)
            if best is None or val_accuracy > best[0]:
                best = (val_accuracy, iteration, current)
            seconds = round(time.monotonic() - began, 1)
            history.append(HistoryRow(iteration, *log.means(), val_accuracy, seconds))
        if log.is_read():
            on_iteration(Progress(iteration, loss, accuracy, val_accuracy))
    assert best is not None  # iterations >= 1, and the last one is validated
    return MetaTraining(best[2], best[1], best[0], history)


class _Log:
    """Losses and accuracies of iterations, left on their device until someone needs to know them."""

    def __init__(self) -> None:
        self._unread: list[Tensor] = []
        self._losses: list[float] = []
        self._accuracies: list[float] = []
        self._last_read = time.monotonic()

    def add(self, loss: Tensor, accuracy: Tensor) -> None:
        """What one more iteration did."""
        self._unread.append(torch.stack([loss, accuracy]))

    def is_due(self) -> bool:
        """Reading costs nothing on a CPU; elsewhere it waits for the device, so once in a while."""
        on_cpu = self._unread[-1].device.type == "cpu"
        return on_cpu or time.monotonic() - self._last_read > READ_PERIOD_SECONDS

    def is_read(self) -> bool:
        """Whether nothing is unread."""
        return not self._unread

    def read(self, iteration: int) -> tuple[float, float]:
        """Loss and accuracy of the last iteration; DivergenceError for the first whose loss is not finite."""
        values = torch.stack(self._unread).tolist()
        for number, (loss, _) in enumerate(values, start=iteration - len(values) + 1):
            if not math.isfinite(loss):
                raise DivergenceError(f"the outer loss became {loss} at iteration {number}: {_MEND}")
        self._losses += [loss for loss, _ in values]
        self._accuracies += [accuracy for _, accuracy in values]
        self._unread = []
        self._last_read = time.monotonic()
        return self._losses[-1], self._accuracies[-1]

    def means(self) -> tuple[float, float]:
        """Mean loss and accuracy since the last call."""
        result = _mean(self._losses), _mean(self._accuracies)
        self._losses, self._accuracies = [], []
        return result


READ_PERIOD_SECONDS = 1.0  # often enough for a live display, rare enough to cost a GPU nothing
_MEND = "lower inner.lr or outer.lr, or set outer.clip_value"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
