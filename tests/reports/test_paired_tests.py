"""Paired tests against scipy, statsmodels, brute force, and the level that they promise."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fewshot_km.reports.paired_tests import SMALLEST_SIGN_FLIP_P, compare_paired, holm, sign_flip_test


@settings(deadline=None)
@given(
    arrays(np.int64, some.integers(1, 10), elements=some.integers(-6, 6)),
    some.sampled_from([5, 25, 75, 375]),
)
def test_the_sign_flip_test_is_the_count_over_all_flips(steps: npt.NDArray[np.int64], queries: int) -> None:
    observed = abs(int(steps.sum()))
    sums = [abs(int((steps * np.array(flip)).sum())) for flip in itertools.product((1, -1), repeat=len(steps))]
    share = sum(total >= observed for total in sums) / len(sums)
    assert sign_flip_test(steps / queries) == pytest.approx(share, abs=1e-12)


def test_the_sign_flip_test_of_many_pairs_agrees_with_scipys_resampling() -> None:
    random = np.random.default_rng(0)
    differences = random.integers(-10, 12, 300) / 75
    resampled = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=random
    ).pvalue
    assert sign_flip_test(differences) == pytest.approx(float(resampled), abs=4 * (0.25 / 20_000) ** 0.5)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("n", [40, 100, 200])
def test_the_sign_flip_p_is_exact_down_to_a_bound_and_never_noise_below_it(n: int, shift: float) -> None:
    """Against the counts of all flips by their sum, as a polynomial whose coefficients are digits of one integer."""
    steps = np.rint(np.random.default_rng(n).normal(shift, 1, n)).astype(int)
    sizes = [size for size in np.abs(steps).tolist() if size]
    digit, flips = len(sizes) + 1, 1
    for size in sizes:
        flips += flips << (2 * size * digit)
    observed, beyond = abs(int(steps.sum())), 0
    tail = flips >> ((observed + sum(sizes)) * digit)
    while tail:
        beyond, tail = beyond + tail % 2**digit, tail >> digit
    share = min(1.0, 2 * beyond / 2 ** len(sizes)) if observed else 1.0
    found = sign_flip_test(steps / 75)
    assert found == pytest.approx(share, rel=1e-6, abs=SMALLEST_SIGN_FLIP_P)
    assert found >= max(share / 1.000001, SMALLEST_SIGN_FLIP_P)


def test_no_sign_flip_p_is_smaller_than_its_bound() -> None:
    random = np.random.default_rng(0)
    for differences in (np.full(600, 0.04), random.normal(5, 1, 300), random.integers(40, 60, 5000) / 75):
        assert sign_flip_test(differences) == SMALLEST_SIGN_FLIP_P


def test_numbers_without_a_grid_are_flipped_by_scipy() -> None:
    differences = np.array([0.1, 0.2, 0.3]) + np.array([1e-8, 3.7e-7, 2.9e-6]) * math.pi
    assert sign_flip_test(differences) == pytest.approx(2 / 8)  # all of one sign: two of eight flips


def test_many_numbers_without_a_grid_are_as_normal_as_resampling_says() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(0.01, 0.1, 300)
    resampled = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=20_000, rng=random
    ).pvalue
    assert sign_flip_test(differences) == pytest.approx(float(resampled), abs=4 * (0.25 / 20_000) ** 0.5)


def test_differences_of_means_over_seeds_keep_their_grid() -> None:
    """600 episodes of 75 queries over five seeds: multiples of 1/375 up to rounding, whose test is exact."""
    random = np.random.default_rng(0)
    first, second = (random.binomial(75, 0.6, (5, 600)).mean(0) / 75 for _ in range(2))
    steps = np.rint((first - second) * 375)
    found = compare_paired(first, second).p_sign_flip
    assert found == pytest.approx(sign_flip_test(steps), rel=1e-9)
    assert found == pytest.approx(2 * float(stats.norm.sf(abs(steps.sum()) / np.sqrt((steps**2).sum()))), abs=0.005)


def test_a_paired_comparison_is_scipys() -> None:
    random = np.random.default_rng(0)
    first, second = random.binomial(25, 0.7, 50) / 25, random.binomial(25, 0.66, 50) / 25
    found = compare_paired(first, second)
    test = stats.ttest_rel(first, second)
    bounds = test.confidence_interval(0.95)
    assert found.p_t == pytest.approx(float(test.pvalue))
    assert (found.difference.low, found.difference.high) == (pytest.approx(bounds.low), pytest.approx(bounds.high))
    assert found.n == 50
    wins, ties = int((first > second).sum()), int(np.isclose(first, second).sum())
    assert found.first_better.mean == pytest.approx((wins + ties / 2) / 50)


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("n", [2, 3, 10, 600])
def test_the_paired_t_test_is_scipys_far_into_the_tail(n: int, shift: float) -> None:
    random = np.random.default_rng(n)
    first, second = random.binomial(75, 0.6, n) / 75 + shift, random.binomial(75, 0.5, n) / 75
    expected = float(stats.ttest_rel(np.round(first - second, 12), np.zeros(n)).pvalue)
    assert compare_paired(first, second).p_t == pytest.approx(expected, rel=1e-12, abs=0)


def test_equal_methods_do_not_differ() -> None:
    values = np.random.default_rng(0).random(20)
    found = compare_paired(values, values.copy())
    assert (found.p_t, found.p_sign_flip, found.first_better.mean) == (1, 1, 0.5)


def test_paired_differences_of_skilled_and_lucky_seeds_keep_their_level() -> None:
    """Of 400 comparisons of equal methods, 5 % are significant, by each of the tests that can be at n = 12."""
    random = np.random.default_rng(0)
    rejected = np.zeros(2)
    for _ in range(400):
        first, second = random.binomial(500, 0.7, (2, 12)) / 500
        found = compare_paired(first, second)
        rejected += np.array([found.p_t, found.p_sign_flip]) < 0.05
    assert (np.abs(rejected / 400 - 0.05) < 0.033).all()


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_holms_adjustment_is_statsmodels(count: int) -> None:
    p_values = [*(np.random.default_rng(count).random(count) / 20).tolist(), 0.01, 0.01]  # ties too
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())
