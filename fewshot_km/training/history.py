"""Losses and accuracies of meta-training over its iterations."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HistoryRow:
    """A validation, and the means over the iterations since the one before."""

    iteration: int
    train_loss: float
    train_accuracy: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True)
class IterationDone:
    """Event: mean query loss and accuracy of an iteration, and the last validation accuracy (None: none yet)."""

    iteration: int
    loss: float
    accuracy: float
    val_accuracy: float | None


@dataclass(frozen=True)
class Validated:
    """Event: a validation is done; `rows` are all so far, the newest last."""

    rows: tuple[HistoryRow, ...]


@dataclass(frozen=True)
class Reached:
    """How far training has come: iterations, seconds of work, the best validation accuracy so far (None: none yet)."""

    iteration: int
    seconds: float
    best_val_accuracy: float | None


NOT_BEGUN = Reached(0, 0.0, None)
