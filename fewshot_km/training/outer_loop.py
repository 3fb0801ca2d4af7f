"""Meta-training: an optimiser on the outer loss; the best meta-parameters by validation are kept."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewshot_km.data.episodes import EpisodeSampler
from fewshot_km.errors import DivergenceError
from fewshot_km.learners.base import Params
from fewshot_km.training.engine import Engine
from fewshot_km.training.history import HistoryRow, IterationDone, Validated
from fewshot_km.training.optimisers import Adam
from fewshot_km.training.training_state import Best, TrainingState


@dataclass(frozen=True)
class OuterLoop:
    """Settings of meta-training.

    lr          outer learning rate
    meta_batch  tasks per iteration
    iterations  outer steps
    steps       inner steps at training
    clip_value  bound on each component of the outer gradient; None: no bound
    validate_every  iterations between validations; the last iteration is always validated
    patience    validations without a better one after which training ends; None: it does not
    seed        of the random numbers that networks draw for themselves, as dropout does
    """

    lr: float
    meta_batch: int
    iterations: int
    steps: int
    clip_value: float | None
    validate_every: int
    patience: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class MetaTraining:
    """The meta-parameters that validated best (the earliest among equals), and how training went."""

    meta: Params
    best_iteration: int
    best_val_accuracy: float
    history: list[HistoryRow]


Pause = Callable[[Callable[[], TrainingState]], None]
"""Called after every iteration (on a GPU after some), and before the first, with a function that returns the state.

It may keep the state, and may raise to end training there.
"""


def meta_train(
    engine: Engine,
    start: TrainingState,
    sampler: EpisodeSampler,
    validate: Callable[[Params], float],
    outer: OuterLoop,
    emit: Callable[[IterationDone | Validated], None] = lambda _: None,
    pause: Pause = lambda _: None,
) -> MetaTraining:
    """Meta-train from `start`; iteration i uses tasks (i-1)*meta_batch to i*meta_batch - 1 of the sampler.

    `emit` hears of validations and of iterations: of all on a CPU, of one in a while on a GPU, which must not wait for
    being read. Raises DivergenceError where an outer loss, or at a validation a parameter, is not finite.
    """
    parameters = {name: value.clone() for name, value in start.meta.items()}
    optimiser = Adam(parameters, outer.lr, start.optimiser)
    iteration, best, history = start.iteration, start.best, list(start.history)
    log = _Log(start.losses, start.accuracies)
    began = time.monotonic() - start.seconds

    def state() -> TrainingState:
        return TrainingState(
            iteration,
            meta=_copy(parameters),
            optimiser=optimiser.state() if iteration else {},
            best=best,
            history=list(history),
            losses=list(log.losses),
            accuracies=list(log.accuracies),
            seconds=time.monotonic() - began,
        )

    while True:
        is_last = iteration == outer.iterations
        validates = (is_last or (iteration > 0 and iteration % outer.validate_every == 0)) and (
            not history or history[-1].iteration < iteration
        )
        if validates or log.is_due():
            log.read(iteration)
        if log.is_read():
            pause(state)
        if validates:
            current = _copy(parameters)
            _check_finite(current, iteration)
            _seed(engine, outer.seed, iteration, 1)
            val_accuracy = validate(current)
            if best is None or val_accuracy > best.val_accuracy:
                best = Best(current, iteration, val_accuracy)
            history.append(HistoryRow(iteration, *log.means(), val_accuracy, round(time.monotonic() - began, 1)))
            emit(Validated(tuple(history)))
        if log.last is not None and log.is_read():
            emit(IterationDone(iteration, *log.last, history[-1].val_accuracy if history else None))
        if is_last or _is_hopeless(history, best, outer.patience):
            pause(state)
            break
        iteration += 1
        _seed(engine, outer.seed, iteration, 0)
        tasks = range((iteration - 1) * outer.meta_batch, iteration * outer.meta_batch)
        step = engine.outer_step(parameters, sampler, tasks, steps=outer.steps, iteration=iteration)
        gradient = step.gradient
        if (bound := outer.clip_value) is not None:
            gradient = {name: value.clamp(-bound, bound) for name, value in gradient.items()}
        optimiser.step(gradient)
        log.add(step.loss, step.accuracy)
    assert best is not None  # iterations >= 1, and the last one is validated
    return MetaTraining(best.meta, best.iteration, best.val_accuracy, history)


def _copy(params: Params) -> Params:
    return {name: value.clone() for name, value in params.items()}


def _seed(engine: Engine, *numbers: int) -> None:
    """Random numbers that networks draw become a function of these numbers and the rank."""
    words = np.random.SeedSequence([*numbers, engine.ranks.rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


def _check_finite(meta: Params, iteration: int) -> None:
    for name, value in meta.items():
        if not value.isfinite().all():
            raise DivergenceError(f"'{name}' is not finite after iteration {iteration}: {_MEND}")


def _is_hopeless(history: Sequence[HistoryRow], best: Best | None, patience: int | None) -> bool:
    """Whether `patience` validations since the best one have been no better."""
    if patience is None or best is None:
        return False
    return sum(row.iteration > best.iteration for row in history) >= patience


class _Log:
    """Losses and accuracies of iterations, left on their device until someone needs to know them."""

    def __init__(self, losses: Sequence[float], accuracies: Sequence[float]) -> None:
        self.losses = list(losses)
        self.accuracies = list(accuracies)
        self.last: tuple[float, float] | None = None
        self._unread: list[Tensor] = []

    def add(self, loss: Tensor, accuracy: Tensor) -> None:
        """Add the loss and accuracy of an iteration (scalar tensors)."""
        self._unread.append(torch.stack([loss, accuracy]))

    def is_due(self) -> bool:
        """Reading costs nothing on a CPU; elsewhere it waits for the device, so once in a while, on all ranks alike."""
        return bool(self._unread) and (self._unread[0].device.type == "cpu" or len(self._unread) >= READ_EVERY)

    def is_read(self) -> bool:
        """Whether nothing is unread."""
        return not self._unread

    def read(self, iteration: int) -> None:
        """Read what is unread, up to this iteration; DivergenceError for the first whose loss is not finite."""
        if not self._unread:
            return
        values = torch.stack(self._unread).tolist()
        for number, (loss, _) in enumerate(values, start=iteration - len(values) + 1):
            if not math.isfinite(loss):
                raise DivergenceError(f"the outer loss became {loss} at iteration {number}: {_MEND}")
        self.losses += [loss for loss, _ in values]
        self.accuracies += [accuracy for _, accuracy in values]
        self.last = self.losses[-1], self.accuracies[-1]
        self._unread = []

    def means(self) -> tuple[float, float]:
        """Mean loss and accuracy since the last call."""
        result = _mean(self.losses), _mean(self.accuracies)
        self.losses, self.accuracies = [], []
        return result


READ_EVERY = 50  # iterations of a GPU: a second or so, often enough for a live display, rare enough to cost nothing
_MEND = "lower inner.lr or outer.lr, or set outer.clip_value"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
