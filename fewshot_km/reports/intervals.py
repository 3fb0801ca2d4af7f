"""Confidence intervals for a mean of accuracies (0 to 1), all of them 95 %: pure functions of arrays."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy  # not its parts, which it imports when used: scipy.stats takes half a second, and few tables need it

CONFIDENCE = 0.95  # what the field reports
LINEAR = 0.25  # of the way to 0 or 1: an interval over a few seeds that reaches farther is on the logit scale
FEWEST_SEEDS_FOR_ALGORITHMS = 5  # fewer trained models say nothing about the algorithms that trained them

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
    return share_interval(values, lambda: _too_skewed(values))


def seed_interval(accuracies: Array) -> Interval:
    """Interval over independently meta-trained seeds: accuracies [seeds, episodes]; a seed's value is its mean.

    Student's t; on the logit scale where it reaches a quarter of the way to 0 or 1, because seeds are skewed there and
    a few of them cannot show it.
    """
    values = accuracies.mean(1)
    return share_interval(values, lambda: _is_near_an_end(float(values.mean()), _t_reach(values)))


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


def share_interval(values: Array, is_too_skewed: Callable[[], bool] = lambda: False) -> Interval:
    """Interval for the mean of shares [n], whose ends lie within 0 and 1: Student's t where it fits."""
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
