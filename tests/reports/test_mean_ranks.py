"""Ranks and their tests against Demsar 2006."""

import numpy as np
import pytest
from scipy import stats

from fewshot_km.reports.mean_ranks import critical_difference, friedman_test, mean_ranks


def test_ranks_share_ties() -> None:
    scores = np.array([[0.9, 0.8, 0.8], [0.5, 0.7, 0.6]])
    assert mean_ranks(scores).tolist() == [(1 + 3) / 2, (2.5 + 1) / 2, (2.5 + 2) / 2]


def test_the_critical_difference_is_demsars() -> None:
    """Demsar 2006: table 5a, q at 0.05; section 3.2.2, four methods on 14 data sets: CD 1.25."""
    tabled = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for methods, q in tabled.items():
        assert critical_difference(methods, 14) == pytest.approx(q * (methods * (methods + 1) / 84) ** 0.5, rel=3e-4)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_friedmans_p_is_the_textbooks() -> None:
    """Demsar 2006, section 3.2.2: mean ranks 3.143, 2.000, 2.893, 1.964 over 14 data sets give chi squared 9.28."""
    scores = np.random.default_rng(0).random((14, 4))
    ranks = mean_ranks(scores)
    chi = 12 * 14 / (4 * 5) * (float((ranks**2).sum()) - 4 * 25 / 4)
    assert friedman_test(scores) == pytest.approx(float(stats.chi2.sf(chi, 3)))
    assert friedman_test(np.full((6, 3), 0.5)) == 1.0
