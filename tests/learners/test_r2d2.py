"""R2-D2 against the primal normal equations in numpy, and its gradients by finite differences."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fewshot_km.learners.r2d2 import ridge
from tests.support.derivatives import numbers
from tests.support.small_tasks import built, features, one_task


@pytest.mark.parametrize("shots", [1, 5])
def test_scores_are_those_of_the_normal_equations(shots: int) -> None:
    """W = (X^T X + lambda I)^-1 X^T Y: fewer images than features, and more."""
    learner, meta = built("r2d2", {"regulariser": 0.7, "scale": 3.0})
    sx, sy, qx = one_task(shots=shots)
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)
    x, q = (np.c_[f, np.ones(len(f))] for f in (features(meta, sx), features(meta, qx)))
    regulariser, scale, bias = (float(meta[f"head.{n}"]) for n in ("log_regulariser", "scale", "bias"))
    w = np.linalg.solve(x.T @ x + np.exp(regulariser) * np.eye(x.shape[1]), x.T @ np.eye(3)[sy.numpy()])
    np.testing.assert_allclose(logits.numpy(), scale * (q @ w) + bias, rtol=1e-9)


def test_it_starts_with_the_given_numbers() -> None:
    learner, _ = built("r2d2", {"regulariser": 0.25, "scale": 3.0})
    meta = learner.init(0)
    assert float(meta["head.log_regulariser"].exp()) == pytest.approx(0.25)
    assert (float(meta["head.scale"]), float(meta["head.bias"])) == (3, 0)


def test_the_solution_minimises_the_regularised_squared_error() -> None:
    x, y = numbers(6, 4, seed=1).detach(), numbers(6, 3, seed=2).detach()
    w = ridge(x, y, torch.tensor(0.3, dtype=torch.float64)).requires_grad_()
    ((x @ w - y).square().sum() + 0.3 * w.square().sum()).backward()
    assert w.grad is not None
    assert float(w.grad.abs().max()) < 1e-12


def test_derivatives_of_the_closed_form() -> None:
    """First and second, with respect to features, targets and regulariser."""
    x, y = numbers(5, 4, seed=1), numbers(5, 3, seed=2)
    regulariser = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    inputs: tuple[Tensor, ...] = (x, y, regulariser)
    assert torch.autograd.gradcheck(ridge, inputs)
    assert torch.autograd.gradgradcheck(ridge, inputs)
