"""Intervals against the textbook's formula with tabled quantiles, and against what 95 % means."""

import numpy as np
import pytest

from fewshot_km.reporting.statistics import episode_interval, seed_interval, t_interval

TABLED_T = {2: 12.706, 5: 2.776, 10: 2.262, 31: 2.042, 600: 1.964}  # n -> 97.5 % quantile with n - 1 degrees of freedom


@pytest.mark.parametrize("n", TABLED_T)
def test_half_width_is_the_textbooks(n: int) -> None:
    values = np.random.default_rng(n).random(n)
    interval = t_interval(values)
    mean = sum(values) / n
    s = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
    assert interval.mean == pytest.approx(mean, rel=1e-12)
    assert interval.half_width == pytest.approx(TABLED_T[n] * s / n**0.5, rel=3e-4)
    assert interval.n == n


def test_a_single_value_has_no_interval() -> None:
    assert t_interval(np.array([0.5])).half_width is None
    assert seed_interval(np.array([[0.5, 0.7]])).half_width is None


def test_equal_values_have_an_interval_of_zero() -> None:
    assert t_interval(np.full(10, 0.75)).half_width == 0


def test_episodes_are_averaged_over_seeds_and_seeds_over_episodes() -> None:
    accuracies = np.array([[0.2, 0.4, 0.6], [0.4, 0.6, 1.0]])  # 2 seeds, 3 episodes
    over_episodes, over_seeds = episode_interval(accuracies), seed_interval(accuracies)
    assert (over_episodes.n, over_seeds.n) == (3, 2)
    assert over_episodes.mean == pytest.approx(8 / 15)
    assert over_seeds.mean == pytest.approx(8 / 15)
    # seed means 0.4 and 2/3: s = (4/15) / sqrt(2), s / sqrt(2) = 2/15
    assert over_seeds.half_width == pytest.approx(12.7062 * 2 / 15, rel=1e-5)
    # episode means 0.3, 0.5, 0.8: mean 8/15: s^2 = (49 + 1 + 64) / 900 / 2 = 0.19 / 3
    assert over_episodes.half_width == pytest.approx(4.30265 * (0.19 / 3 / 3) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("episodes", [30, 600])
def test_a_95_percent_interval_covers_95_percent(episodes: int) -> None:
    """2,000 simulated tests of a learner of accuracy 0.8: 25 query images an episode, episodes of uneven hardness."""
    random = np.random.default_rng(0)
    hardness = random.beta(16, 4, size=(2000, episodes))
    accuracies = random.binomial(25, hardness) / 25
    covered = 0
    for row in accuracies:
        interval = t_interval(row)
        assert interval.half_width is not None
        covered += abs(interval.mean - 0.8) <= interval.half_width
    assert 0.93 <= covered / 2000 <= 0.97
