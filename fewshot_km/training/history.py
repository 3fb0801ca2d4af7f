"""The course of meta-training in numbers."""

from dataclasses import dataclass


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
