"""Processes that share meta-batches: the same parameters, whatever their number."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learners import InnerLoop, build_learner
from fewshot_km.training.engine import Engine
from fewshot_km.training.ranks import Ranks
from tests.support.networks_under_test import SMALL_STRIDED
from tests.support.rank_program import TRAINED_BY, train

ROOT = Path(__file__).resolve().parents[2]


def run_ranks(size: int, folder: Path) -> None:
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.rank_program"),
                *(str(rank), str(size), str(folder / "meeting"), str(folder)),
            ],
            cwd=ROOT,
        )
        for rank in range(size)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * size


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_one_two_and_three_ranks_train_the_same_parameters(size: int, tmp_path: Path) -> None:
    """Twenty steps on meta-batches of four: three ranks share them unevenly."""
    learner = build_learner("maml", {}, SMALL_STRIDED.make, InnerLoop(0.3))
    run_ranks(size, tmp_path)
    for backend in TRAINED_BY:
        train(Engine(learner, training=BACKENDS[backend], testing=BACKENDS[backend]), tmp_path / "alone.npz")
        alone = np.load(tmp_path / "alone.npz")
        for rank in range(size):
            found = np.load(tmp_path / f"{backend}{rank}.npz")
            assert set(found) == set(alone)
            for name in alone:
                if not name.endswith("conv.bias"):  # no effect under batch norm: rounding, which Adam magnifies
                    np.testing.assert_allclose(found[name], alone[name], rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_even_and_whole(size: int) -> None:
    shares = [Ranks(rank, size).share(range(4, 9)) for rank in range(size)]
    assert sorted(i for share in shares for i in share) == list(range(4, 9))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
