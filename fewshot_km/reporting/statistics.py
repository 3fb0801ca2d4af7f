"""Intervals for few-shot results: pure functions of arrays of accuracies."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95  # what the field reports


@dataclass(frozen=True)
class Interval:
    """A mean and the half width of its t interval; `half_width` is None where n < 2 allows none."""

    mean: float
    half_width: float | None
    n: int


def t_interval(values: npt.NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """Student's t interval for the mean of `values` [n], n >= 1: mean ± t(n - 1) s / sqrt(n)."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, None, n)
    low, high = stats.t.interval(confidence, n - 1) * np.array(stats.sem(values))
    return Interval(mean, float(high - low) / 2, n)


def episode_interval(accuracies: npt.NDArray[np.float64]) -> Interval:
    """Interval over test episodes of *these* trained models: accuracies [seeds, episodes], the same episodes for each.

    An episode's value is its mean over the seeds. Says how well the mean over episodes is known, nothing about another
    training run.
    """
    return t_interval(accuracies.mean(0))


def seed_interval(accuracies: npt.NDArray[np.float64]) -> Interval:
    """Interval over independently meta-trained seeds: accuracies [seeds, episodes]; a seed's value is its mean."""
    return t_interval(accuracies.mean(1))
