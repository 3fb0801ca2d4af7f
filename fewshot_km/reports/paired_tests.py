"""Paired comparisons of two methods by their accuracies on the same episodes, or of the same seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy  # not its parts: see intervals.py

from fewshot_km.reports.intervals import Array, Interval, share_interval, t_interval

MANY = 200  # differences whose flipped sum is normal to a thousandth; resampling more takes seconds
SMALLEST_SIGN_FLIP_P = 1e-12  # the Fourier transform leaves errors below a tenth of it: a smaller p would be noise


@dataclass(frozen=True)
class PairedComparison:
    """First minus second, on the same n episodes or seeds.

    difference   mean difference and its t interval
    p_t          of the two-sided paired t test
    first_better how often the first is better, ties counted half: P(A > B), with its interval
    differences  [n], of either sign: the tests are two-sided
    """

    difference: Interval
    p_t: float
    first_better: Interval
    differences: Array = field(repr=False, compare=False)

    @cached_property
    def p_sign_flip(self) -> float:
        """Two-sided p of `sign_flip_test`; computed where it is asked for, as few tables do."""
        return sign_flip_test(self.differences)

    @property
    def n(self) -> int:
        """Pairs."""
        return self.difference.n[0]


def compare_paired(first: Array, second: Array) -> PairedComparison:
    """Compare two methods by accuracies [n] of the same episodes, or of the same seeds, n >= 2."""
    differences = np.round(first - second, 12)  # equal differences stay equal: far above rounding
    return PairedComparison(
        t_interval(differences),
        _t_test(differences),
        share_interval((np.sign(differences) + 1) / 2),
        differences,
    )


def sign_flip_test(differences: Array) -> float:
    """Two-sided p of the mean of `differences` [n] among all 2^n ways to flip their signs.

    Differences of accuracies are multiples of one over the number of queries; then the p is exact, by the
    characteristic function of the flipped sum, the product over all differences of cos(k w). Otherwise it is scipy's
    resampling, or from many differences on the normal distribution that the flipped sum tends to. What is smaller than
    SMALLEST_SIGN_FLIP_P is given as that.
    """
    sizes = np.abs(differences[differences != 0])
    if not len(sizes):
        return 1.0
    unit = _common_unit(np.unique(sizes))
    if unit is None and len(sizes) > MANY:
        normal = float(2 * scipy.special.ndtr(-abs(differences.sum()) / np.sqrt((sizes**2).sum())))
        return max(normal, SMALLEST_SIGN_FLIP_P)  # the normal distribution is no guide so far out
    if unit is None:
        flips = scipy.stats.permutation_test(
            (differences,),
            lambda sample, axis: np.mean(sample, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=9_999,  # p to 0.0001
            rng=np.random.default_rng(0),
        )
        return float(flips.pvalue)
    steps, times = np.unique(np.rint(sizes / unit).astype(np.int64), return_counts=True)
    observed = abs(round(float(differences.sum() / unit)))
    deviation = float(np.sqrt((steps**2 * times).sum()))
    reach = min(int((steps * times).sum()), int(12 * deviation) + 1)  # twelve deviations: beyond float64's digits
    points = 2 * reach + 1
    cosines = np.cos(2 * np.pi / points * np.arange(points))
    frequencies = np.arange(reach + 1)
    transform = np.ones(reach + 1)
    for step, count in zip(steps.tolist(), times.tolist(), strict=True):
        transform *= cosines[step * frequencies % points] ** count
    mass = np.fft.irfft(transform, points)  # of the sums 0, 1, ..., reach, then of -reach, ..., -1
    tail = 2 * float(mass[observed : reach + 1].sum()) if observed else 1.0
    return float(np.clip(tail, max(2.0 ** (1 - len(sizes)), SMALLEST_SIGN_FLIP_P), 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: reject where it is at most the level, and the family's error keeps that level."""
    order = np.argsort(p_values, kind="stable")
    left = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(np.asarray(p_values)[order] * left)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def _t_test(differences: Array) -> float:
    if np.ptp(differences) == 0:  # no spread at all
        return float(differences[0] == 0)
    n = len(differences)
    t = differences.mean() / np.sqrt(differences.var(ddof=1) / n)
    return float(2 * scipy.special.stdtr(n - 1, -abs(t)))


def _common_unit(sizes: Array) -> float | None:
    """The greatest number of which all `sizes` are multiples, or None where they have no common grid."""
    unit = 0.0
    for size in sizes.tolist():
        rest = size
        while rest > 1e-9:  # far above rounding, far below one query
            unit, rest = rest, abs(unit - rest * round(unit / rest))
    return unit if unit > 1e-5 else None
