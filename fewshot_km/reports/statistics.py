"""Intervals, paired comparisons and ranks for few-shot results: pure functions of arrays of accuracies (0 to 1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy  # not its parts, which it imports when used: scipy.stats takes half a second, and few tables need it

CONFIDENCE = 0.95  # what the field reports
EXACT_WILCOXON = 50  # scipy's own limit; its exact test of tied ranks takes seconds from a dozen differences on
MANY = 200  # differences whose flipped sum is normal to a thousandth; resampling more takes seconds
SMALLEST_SIGN_FLIP_P = 1e-12  # the Fourier transform leaves errors below a tenth of it: a smaller p would be noise
LINEAR = 0.25  # of the way to 0 or 1: an interval over a few seeds that reaches farther is on the logit scale
FEWEST_SEEDS_FOR_ALGORITHMS = 5  # fewer trained models say nothing about the algorithms that trained them
FEWEST_COLUMNS_FOR_RANKS = 5  # Demsar 2006: fewer columns than this cannot tell methods apart by rank

_UPPER = (1 + CONFIDENCE) / 2  # the quantile at the upper end of an interval

Array = npt.NDArray[np.float64]
Kind = Literal["episodes", "open", "seeds", "hierarchical"]
Method = Literal["t", "logit", "exact"]


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % interval, which are None where n < 2 allows none.

    method  t: Student's, symmetric. logit: Student's on the logit scale, for means close to 0 or 1.
            exact: Clopper and Pearson's, where every value is 0 or every value is 1
    n       values, or seeds and episodes
    """

    mean: float
    low: float | None
    high: float | None
    method: Method
    n: tuple[int, ...]

    @property
    def half_width(self) -> float | None:
        """Half of the way from low to high: what stands behind ± where the interval is symmetric."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def t_interval(values: Array) -> Interval:
    """Student's t interval for the mean of `values` [n], n >= 1: mean ± t(n - 1) s / sqrt(n)."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, None, None, "t", (n,))
    reach = _t_reach(values)
    return Interval(mean, mean - reach, mean + reach, "t", (n,))


def logit_interval(values: Array) -> Interval:
    """Student's t interval on the logit scale (delta method), for a mean between 0 and 1, both excluded."""
    mean = float(np.mean(values))
    return Interval(mean, *_logit_ends(mean, _t_reach(values)), "logit", (len(values),))


def exact_interval(values: Array) -> Interval:
    """Interval where every value [n] is 0, or every value is 1, so that they show no spread.

    At most the share of values that are not perfect is lost, and Clopper and Pearson's interval bounds that share.
    """
    mean, n = float(values[0]), len(values)
    perfect = float((1 - _UPPER) ** (1 / n))  # the least share at which so many of so many are no surprise
    return Interval(mean, *((perfect, 1.0) if mean else (0.0, 1 - perfect)), "exact", (n,))


def episode_interval(accuracies: Array) -> Interval:
    """Interval over test episodes of *these* trained models: accuracies [seeds, episodes], the same episodes for each.

    An episode's value is its mean over the seeds. Student's t, unless the episodes are too skewed for it (Cochran 1977:
    n > 25 skewness^2 keeps a 95 % interval honest), as they are close to 0 or 1: then on the logit scale. Kind
    `episodes` or `open`, by how the episodes were drawn.
    """
    values = accuracies.mean(0)
    return _accuracy_interval(values, lambda: _too_skewed(values))


def seed_interval(accuracies: Array) -> Interval:
    """Interval over independently meta-trained seeds: accuracies [seeds, episodes]; a seed's value is its mean.

    Student's t; on the logit scale where it reaches a quarter of the way to 0 or 1, because seeds are skewed there and
    a few of them cannot show it.
    """
    values = accuracies.mean(1)
    return _accuracy_interval(values, lambda: _is_near_an_end(float(values.mean()), _t_reach(values)))


def hierarchical_interval(accuracies: Array) -> Interval:
    """Interval over seeds and episodes, both a sample: accuracies [seeds, episodes], the same episodes for each seed.

    In the two-way analysis of variance without replication, with mean squares MS of I seeds, J episodes and their
    interaction, the squared standard error of the grand mean is (MS_seeds + MS_episodes - MS_interaction) / (I J), and
    Student's t has Satterthwaite's (1946) degrees of freedom. Where few seeds happen to be alike, these degrees are
    those of the episodes, and the interval is narrower than the one over seeds, which claims less: at three seeds it
    covered 91 to 93 % in simulations instead of 95 %. Either end is therefore the farther one of the two intervals,
    which covers 94 to 96 % at three seeds, and at least as much at two.
    """
    seeds, episodes = accuracies.shape
    mean, n = float(accuracies.mean()), (seeds, episodes)
    over_seeds = seed_interval(accuracies)
    if seeds < 2 or episodes < 2 or over_seeds.low is None or over_seeds.high is None:
        return Interval(mean, None, None, "t", n)
    if over_seeds.method == "exact":
        return replace(over_seeds, n=n)
    error, freedom = _two_way_error(accuracies)
    reach = float(scipy.special.stdtrit(freedom, _UPPER)) * error
    low, high, method = mean - reach, mean + reach, over_seeds.method
    if over_seeds.method == "logit" or _is_near_an_end(mean, reach) or _too_skewed(accuracies.mean(0)):
        low, high, method = *_logit_ends(mean, reach), "logit"
    return Interval(mean, min(low, over_seeds.low), max(high, over_seeds.high), method, n)


@dataclass(frozen=True)
class PairedComparison:
    """First minus second, on the same n episodes or seeds.

    difference   mean difference and its t interval
    p_t          paired t test. p_sign_flip: sign-flip permutation test. p_wilcoxon: signed ranks. All two-sided
    first_better how often the first is better, ties counted half: P(A > B), with its interval
    differences  [n], of either sign: the tests are two-sided
    """

    difference: Interval
    p_t: float
    first_better: Interval
    differences: Array = field(repr=False, compare=False)

    @cached_property
    def p_sign_flip(self) -> float:
        """See `sign_flip_test`; computed where it is asked for, as few tables do."""
        return sign_flip_test(self.differences)

    @cached_property
    def p_wilcoxon(self) -> float:
        """See `wilcoxon_test`; computed where it is asked for, as few tables do."""
        return wilcoxon_test(self.differences)

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
        _accuracy_interval((np.sign(differences) + 1) / 2, lambda: False),
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


def wilcoxon_test(differences: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros left out; exact for up to 50 differences, ties or not."""
    apart = differences[differences != 0]
    if len(apart) > EXACT_WILCOXON:
        return float(scipy.stats.wilcoxon(apart).pvalue)
    return sign_flip_test(np.sign(apart) * scipy.stats.rankdata(np.abs(apart)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: reject where it is at most the level, and the family's error keeps that level."""
    order = np.argsort(p_values, kind="stable")
    left = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(np.asarray(p_values)[order] * left)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def mean_ranks(scores: Array) -> Array:
    """Mean rank of each method over the columns: scores [columns, methods], rank 1 is the best, ties share a rank."""
    ranks: Array = scipy.stats.rankdata(-scores, axis=1).mean(0)
    return ranks


def friedman_test(scores: Array) -> float:
    """p of Friedman's test that all methods rank alike: scores [columns, methods], at least three methods."""
    if (scores == scores[:, :1]).all():
        return 1.0
    return float(scipy.stats.friedmanchisquare(*scores.T).pvalue)


def critical_difference(methods: int, columns: int) -> float:
    """Nemenyi's critical difference of mean ranks (Demsar 2006, section 3.2.2): q sqrt(k (k + 1) / (6 N))."""
    q = float(scipy.stats.studentized_range.ppf(CONFIDENCE, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * columns)))


def _accuracy_interval(values: Array, is_too_skewed: Callable[[], bool]) -> Interval:
    interval = t_interval(values)
    if interval.low is None or interval.high is None:
        return interval
    if np.ptp(values) == 0 and values[0] in (0, 1):
        return exact_interval(values)
    if interval.low < 0 or interval.high > 1 or is_too_skewed():
        return logit_interval(values)
    return interval


def _logit_ends(mean: float, reach: float) -> tuple[float, float]:
    """mean ± reach on the logit scale (delta method)."""
    of_logit = reach / (mean * (1 - mean))
    low, high = scipy.special.expit(scipy.special.logit(mean) + of_logit * np.array([-1, 1]))
    return float(low), float(high)


def _is_near_an_end(mean: float, reach: float) -> bool:
    return reach > LINEAR * min(mean, 1 - mean)


def _t_reach(values: Array) -> float:
    n = len(values)
    return float(scipy.special.stdtrit(n - 1, _UPPER) * values.std(ddof=1) / np.sqrt(n))


def _t_test(differences: Array) -> float:
    if np.ptp(differences) == 0:  # no spread at all
        return float(differences[0] == 0)
    n = len(differences)
    t = differences.mean() / np.sqrt(differences.var(ddof=1) / n)
    return float(2 * scipy.special.stdtr(n - 1, -abs(t)))


def _too_skewed(values: Array) -> bool:
    if len(values) < 3 or np.ptp(values) < 1e-12:  # no spread but that of rounding
        return False
    deviations = values - values.mean()
    skewness = (deviations**3).mean() / (deviations**2).mean() ** 1.5
    return bool(len(values) <= 25 * skewness**2)


def _two_way_error(accuracies: Array) -> tuple[float, float]:
    """Standard error of the grand mean where seeds and episodes both vary, and Satterthwaite's degrees of freedom."""
    seeds, episodes = accuracies.shape
    of_seeds, of_episodes, mean = (
        accuracies.mean(1, keepdims=True),
        accuracies.mean(0, keepdims=True),
        accuracies.mean(),
    )
    rest = accuracies - of_seeds - of_episodes + mean
    freedom = np.array([seeds - 1, episodes - 1, (seeds - 1) * (episodes - 1)])
    squares = np.array([
        episodes * ((of_seeds - mean) ** 2).sum(),
        seeds * ((of_episodes - mean) ** 2).sum(),
        (rest**2).sum(),
    ]) / freedom  # fmt: skip
    signs = np.array([1, 1, -1]) if squares[1] > squares[2] else np.array([1, 0, 0])
    total = float(signs @ squares)
    if total <= 0:
        return 0.0, float(seeds - 1)
    return float(np.sqrt(total / accuracies.size)), total**2 / float((np.abs(signs) * squares**2 / freedom).sum())


def _common_unit(sizes: Array) -> float | None:
    """The greatest number of which all `sizes` are multiples, or None where they have no common grid."""
    unit = 0.0
    for size in sizes.tolist():
        rest = size
        while rest > 1e-9:  # far above rounding, far below one query
            unit, rest = rest, abs(unit - rest * round(unit / rest))
    return unit if unit > 1e-5 else None
