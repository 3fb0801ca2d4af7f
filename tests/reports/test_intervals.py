"""Intervals against textbook formulas, tabled quantiles, scipy, and what 95 % means."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from scipy import optimize, special, stats

from fewshot_km.reports.intervals import (
    Array,
    Interval,
    episode_interval,
    exact_interval,
    hierarchical_interval,
    logit_interval,
    seed_interval,
    t_interval,
)

TABLED_T = {2: 12.706, 5: 2.776, 10: 2.262, 31: 2.042, 600: 1.964}  # n -> 97.5 % quantile with n - 1 degrees of freedom
EXPERIMENTS = 2000


@pytest.mark.parametrize("n", TABLED_T)
def test_half_width_is_the_textbooks(n: int) -> None:
    values = np.random.default_rng(n).random(n)
    interval = t_interval(values)
    mean = sum(values) / n
    s = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
    assert interval.mean == pytest.approx(mean, rel=1e-12)
    assert interval.half_width == pytest.approx(TABLED_T[n] * s / n**0.5, rel=3e-4)
    assert interval.n == (n,)


def test_a_single_value_has_no_interval() -> None:
    assert t_interval(np.array([0.5])).half_width is None
    assert seed_interval(np.array([[0.5, 0.7]])).half_width is None
    assert episode_interval(np.array([[1.0]])).half_width is None
    assert hierarchical_interval(np.array([[0.5, 0.7]])).half_width is None


def test_equal_values_have_an_interval_of_zero() -> None:
    assert t_interval(np.full(10, 0.75)).half_width == 0
    assert episode_interval(np.full((2, 10), 0.75)).half_width == 0
    assert hierarchical_interval(np.full((2, 10), 0.75)).half_width == 0


def test_episodes_are_averaged_over_seeds_and_seeds_over_episodes() -> None:
    accuracies = np.array([[0.2, 0.4, 0.6], [0.4, 0.6, 0.9]])  # 2 seeds, 3 episodes
    over_episodes = episode_interval(accuracies)
    assert over_episodes.n == (3,)
    assert over_episodes.mean == pytest.approx(3.1 / 6)
    # episode means 0.3, 0.5, 0.75; mean 3.1/6: squares (1.3/6)^2 + (0.1/6)^2 + (1.4/6)^2 = 3.66/36
    assert t_interval(accuracies.mean(0)).half_width == pytest.approx(4.30265 * (3.66 / 36 / 2 / 3) ** 0.5, rel=1e-5)
    many = np.stack([np.linspace(0.4, 0.6, 5), np.linspace(0.42, 0.62, 5), np.linspace(0.41, 0.61, 5)])
    over_seeds = seed_interval(many)  # seed means 0.50, 0.52, 0.51: s = 0.01
    assert (over_seeds.mean, over_seeds.n) == (pytest.approx(0.51), (3,))
    assert over_seeds.half_width == pytest.approx(4.30265 * 0.01 / 3**0.5, rel=1e-5)


def test_where_students_t_would_leave_the_scale_the_logit_takes_over() -> None:
    values = np.array([0.8, 1.0, 1.0, 1.0, 1.0])
    assert t_interval(values).high > 1  # type: ignore[operator]
    interval = episode_interval(values[None])
    # mean 0.96, s / sqrt(5) = 0.04; on the logit scale 0.04 / (0.96 * 0.04) times t(4) = 2.77645
    reach = 2.77645 * 0.04 / (0.96 * 0.04)
    assert interval.method == "logit"
    assert interval.low == pytest.approx(1 / (1 + math.exp(-(math.log(24) - reach))), rel=1e-5)
    assert interval.high == pytest.approx(1 / (1 + math.exp(-(math.log(24) + reach))), rel=1e-5)


@pytest.mark.parametrize("perfect", [0.0, 1.0])
def test_without_any_error_the_exact_interval_of_a_share_bounds_it(perfect: float) -> None:
    interval = episode_interval(np.full((1, 600), perfect))
    bound = 0.025 ** (1 / 600)  # Clopper and Pearson for 600 of 600
    assert (interval.mean, interval.method) == (perfect, "exact")
    assert interval.low == pytest.approx(bound if perfect else 0)
    assert interval.high == pytest.approx(1 if perfect else 1 - bound)


def test_few_skewed_episodes_are_told_from_many() -> None:
    """Cochran's rule: 600 episodes of accuracy 0.9 suffice for Student's t, 42 of accuracy 0.99 do not."""
    random = np.random.default_rng(0)
    assert episode_interval(random.binomial(25, 0.9, (1, 600)) / 25).method == "t"
    assert episode_interval(random.binomial(20, 0.99, (1, 42)) / 20).method == "logit"


def covered(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


def uneven_episodes(accuracy: float, episodes: int, queries: int, unevenness: float) -> Array:
    """Simulated tests [experiments, episodes]: binomial, with an accuracy of its own for every episode (beta)."""
    random = np.random.default_rng(0)
    strength = 1 / unevenness - 1
    hardness = random.beta(accuracy * strength, (1 - accuracy) * strength, (EXPERIMENTS, episodes))
    return np.asarray(random.binomial(queries, hardness) / queries)


@pytest.mark.parametrize(
    ("accuracy", "episodes", "queries", "unevenness"),
    [
        (0.8, 30, 25, 0.05),
        (0.99, 600, 20, 0.02),
        (0.99, 42, 100, 0.02),  # open 20-way 5-shot Omniglot
        (0.998, 600, 20, 0.02),
    ],
)
def test_an_interval_over_episodes_covers_95_percent(
    accuracy: float, episodes: int, queries: int, unevenness: float
) -> None:
    simulated = uneven_episodes(accuracy, episodes, queries, unevenness)
    share = np.mean([covered(episode_interval(row[None]), accuracy) for row in simulated])
    assert 0.93 <= share <= 0.97


def test_students_t_alone_does_not_near_one() -> None:
    simulated = uneven_episodes(0.99, 42, 20, 0.02)
    assert np.mean([covered(t_interval(row), 0.99) for row in simulated]) < 0.91
    some_errors = [row for row in simulated if row.mean() < 1]
    assert np.mean([covered(logit_interval(row), 0.99) for row in some_errors]) > 0.93


def test_an_open_interval_covers_what_the_images_were_drawn_from_and_a_closed_one_does_not() -> None:
    """A pool of 2,000 images, each right or wrong for good: 600 closed episodes only know this pool.

    15 queries an episode; in the 100 open ones no image stands twice.
    """
    random = np.random.default_rng(0)
    closed_covers, open_covers = [], []
    for _ in range(EXPERIMENTS):
        right = random.random(2000) < 0.6
        closed = right[random.integers(0, 2000, (600, 15))].mean(1)
        apart = right[random.permutation(2000)[:1500].reshape(100, 15)].mean(1)
        closed_covers.append(covered(episode_interval(closed[None]), 0.6))
        open_covers.append(covered(episode_interval(apart[None]), 0.6))
    assert 0.93 <= np.mean(open_covers) <= 0.97
    assert np.mean(closed_covers) < 0.75


def trained_seeds(seeds: int, of_seeds: float, of_episodes: float, accuracy: float = 0.6) -> Callable[[], Array]:
    """Simulated tests [seeds, 100] of trained seeds on the same episodes: seeds, episodes and pairs of them vary."""
    random = np.random.default_rng(seeds)

    def simulate() -> Array:
        chance = accuracy + of_seeds * random.standard_normal((seeds, 1)) + of_episodes * random.standard_normal(100)
        chance = chance + of_episodes / 3 * random.standard_normal((seeds, 100))
        return np.asarray(random.binomial(25, np.clip(chance, 0, 1)) / 25)

    return simulate


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_an_interval_over_seeds_covers_95_percent(seeds: int) -> None:
    simulate = trained_seeds(seeds, 0.02, 0.0)  # over seeds alone: the episodes are what they are
    share = np.mean([covered(seed_interval(simulate()), 0.6) for _ in range(EXPERIMENTS)])
    assert 0.93 <= share <= 0.97


def logit_normal(accuracy: float, seeds: int, episodes: int, of_seeds: float) -> Array:
    """Simulated tests [experiments, seeds, episodes] that stay within 0 and 1 and have exactly this accuracy.

    Logits of seeds, episodes and pairs of them are normal. `of_seeds`: their standard deviation on the scale of
    accuracies at 0.6, 0.08 that of episodes; nearer to 1, both shrink as a proportion's standard deviation does.
    """
    random = np.random.default_rng([seeds, round(1000 * of_seeds)])
    spreads = np.array([of_seeds, 0.08, 0.03]) / np.sqrt(0.24 * accuracy * (1 - accuracy))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def excess(middle: float) -> float:
        logits = middle + np.linalg.norm(spreads) * nodes
        return float(weights @ special.expit(logits) / weights.sum()) - accuracy

    logits = np.full((EXPERIMENTS, seeds, episodes), optimize.brentq(excess, -20, 20))
    for spread, shape in zip(spreads, ((seeds, 1), (1, episodes), (seeds, episodes)), strict=True):
        logits += spread * random.standard_normal((EXPERIMENTS, *shape))
    return np.asarray(random.binomial(25, special.expit(logits)) / 25)


@pytest.mark.parametrize(
    ("accuracy", "seeds", "of_seeds"),
    [
        (0.6, 3, 0.0),
        (0.6, 3, 0.02),
        (0.96, 3, 0.0),
        (0.96, 3, 0.01),
        (0.96, 3, 0.02),
        (0.99, 3, 0.02),
        (0.96, 5, 0.01),
        (0.96, 10, 0.01),
    ],
)
def test_a_hierarchical_interval_covers_95_percent(accuracy: float, seeds: int, of_seeds: float) -> None:
    simulated = logit_normal(accuracy, seeds, 100, of_seeds)
    share = np.mean([covered(hierarchical_interval(one), accuracy) for one in simulated])
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize("accuracy", [0.9, 0.96])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_an_interval_over_seeds_covers_95_percent_near_one(accuracy: float, seeds: int) -> None:
    """Over seeds alone: the episodes' own part is so small here that it does not matter."""
    random = np.random.default_rng(seeds)
    simulated = random.beta(100 * accuracy, 100 * (1 - accuracy), (EXPERIMENTS, seeds, 1)) + np.zeros(2)
    share = np.mean([covered(seed_interval(one), accuracy) for one in simulated])
    assert 0.93 <= share <= 0.97


@settings(max_examples=200)
@given(arrays(np.int64, some.tuples(some.integers(2, 6), some.integers(2, 8)), elements=some.integers(0, 25)))
def test_a_hierarchical_interval_holds_the_one_over_seeds_which_claims_less(right: npt.NDArray[np.int64]) -> None:
    seeds, both = seed_interval(right / 25), hierarchical_interval(right / 25)
    assert both.low is not None
    assert both.high is not None
    assert seeds.low is not None
    assert seeds.high is not None
    assert both.low <= seeds.low <= seeds.high <= both.high
    assert (both.n, both.mean) == (right.shape, pytest.approx(seeds.mean))


def test_the_error_of_seeds_and_episodes_is_the_textbooks() -> None:
    """Means squares by hand: MS of seeds 0.09, of episodes 0.19, of their interaction 0.01, over 6 accuracies."""
    accuracies = np.array([[0.2, 0.5, 0.8], [0.5, 0.6, 1.0]])
    # rows 0.5, 0.7; columns 0.35, 0.55, 0.9; grand mean 0.6
    seeds = 3 * 2 * 0.1**2 / 1
    episodes = 2 * (0.25**2 + 0.05**2 + 0.3**2) / 2
    interaction = 2 * (0.05**2 + 0.05**2) / 2  # residuals ∓0.05, ±0.05, 0
    total = seeds + episodes - interaction
    freedom = total**2 / (seeds**2 / 1 + episodes**2 / 2 + interaction**2 / 2)
    reach = float(stats.t.ppf(0.975, freedom)) * (total / 6) ** 0.5
    odds = 0.6 / 0.4 * np.exp(np.array([-1, 1]) * reach / 0.24)
    over_seeds = seed_interval(accuracies)
    found = hierarchical_interval(accuracies)
    assert (found.low, found.high) == (
        pytest.approx(min(odds[0] / (1 + odds[0]), over_seeds.low)),
        pytest.approx(max(odds[1] / (1 + odds[1]), over_seeds.high)),
    )


def test_episodes_resampled_anew_within_each_seed_cover_less() -> None:
    """Why `hierarchical_interval` takes seeds and episodes as crossed: an easy episode is easy for all seeds."""
    simulate, random = trained_seeds(5, 0.003, 0.08), np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        accuracies = simulate()
        seeds = random.integers(0, 5, (500, 5))
        spread = accuracies.std(1) / np.sqrt(100)  # of the mean of resampled episodes
        means = (accuracies.mean(1)[seeds] + spread[seeds] * random.standard_normal((500, 5))).mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        hits += low <= 0.6 <= high
    assert hits / 400 < 0.9


@pytest.mark.parametrize("n", [1, 2, 5, 600, 100_000])
@pytest.mark.parametrize("perfect", [0, 1])
def test_the_exact_interval_is_scipys(perfect: int, n: int) -> None:
    bounds = stats.binomtest(perfect * n, n).proportion_ci(0.95, method="exact")
    found = exact_interval(np.full(n, float(perfect)))
    assert (found.low, found.high) == (pytest.approx(bounds.low, rel=1e-12), pytest.approx(bounds.high, rel=1e-12))


@settings(max_examples=200)
@given(arrays(np.int64, some.integers(2, 60), elements=some.integers(12, 20)))
def test_the_logit_scale_begins_where_scipys_skewness_says(right: npt.NDArray[np.int64]) -> None:
    values = right / 25  # Student's interval of these stays within 0 and 1 from some n on
    student = t_interval(values)
    assert student.low is not None
    assert student.high is not None
    is_off = student.low < 0 or student.high > 1
    with np.errstate(invalid="ignore"):
        is_skewed = len(values) > 2 and np.ptp(values) > 0 and len(values) <= 25 * float(stats.skew(values)) ** 2
    assert episode_interval(values[None]).method == ("logit" if is_off or is_skewed else "t")
