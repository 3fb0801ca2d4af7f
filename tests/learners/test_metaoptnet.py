"""MetaOptNet's SVM against the conditions of optimality and scipy's solver; its ridge regression against numpy."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from fewshot_km.learners.metaoptnet import RIDGE_REGULARISER, SVM_COST, crammer_singer
from tests.support.small_tasks import built, features, one_task


def problem(ways: int, shots: int, width: int = 6, size: float = 1.0) -> tuple[Tensor, Tensor]:
    """Features [S, F] of overlapping classes, and one-hot labels [S, N]."""
    generator = torch.Generator().manual_seed(ways * 10 + shots)
    centres = torch.rand(ways, 1, width, generator=generator, dtype=torch.float64)
    x = (centres + torch.rand(ways, shots, width, generator=generator, dtype=torch.float64)).flatten(0, 1)
    return size * x, torch.eye(ways, dtype=torch.float64).repeat_interleave(shots, 0)


@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("ways", "shots"), [(2, 1), (5, 1), (5, 5), (20, 1)])
def test_the_dual_fulfils_the_conditions_of_optimality(ways: int, shots: int, size: float) -> None:
    """Karush, Kuhn & Tucker: each row's gradient is constant where a bound is loose, and not larger where it is tight.

    Minimise tr(A^T G A) / 2 - tr(A^T Y) where A <= C Y and rows sum to zero: with D = G A - Y there are t_i with
    D_ik = t_i where A_ik < C Y_ik, and D_ik <= t_i where A_ik = C Y_ik.
    """
    x, y = problem(ways, shots, size=size)
    a = crammer_singer(x, y)
    upper = SVM_COST * y
    tolerance = 1e-4 * SVM_COST
    assert float(a.sum(1).abs().max()) < 1e-12
    assert float((a - upper).max()) < tolerance
    d = (x @ x.T + torch.eye(len(x), dtype=x.dtype)) @ a - y
    scale = 1 + float((x @ x.T).norm())
    loose = a < upper - 1e-3 * SVM_COST
    for row, free in zip(d, loose, strict=True):
        if free.any():
            level = row[free].mean()
            assert float((row[free] - level).abs().max()) < tolerance * scale
            assert float((row[~free] - level).clamp(min=0).max() if (~free).any() else 0.0) < tolerance * scale


def test_the_dual_is_that_of_another_solver() -> None:
    x, y = problem(3, 3)
    gram = (x @ x.T + torch.eye(len(x), dtype=x.dtype)).numpy()
    labels = y.numpy()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        a = flat.reshape(labels.shape)
        return float((a * (gram @ a)).sum() / 2 - (a * labels).sum()), (gram @ a - labels).ravel()

    sums = np.kron(np.eye(len(x)), np.ones(3))
    found = minimize(
        objective,
        np.zeros(labels.size),
        jac=True,
        method="SLSQP",
        bounds=[(None, SVM_COST * u) for u in labels.ravel()],
        constraints={"type": "eq", "fun": lambda a: sums @ a, "jac": lambda _: sums},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    np.testing.assert_allclose(crammer_singer(x, y).numpy().ravel(), found.x, atol=1e-6)


def test_the_gradient_is_that_of_the_solution() -> None:
    """Autograd through the iterations against central differences of their result, where no bound changes sides."""
    x, y = problem(3, 2)
    weights = torch.rand(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((weights * crammer_singer(at, y)).sum(), at)
    up, down = (float((weights * crammer_singer(x + s * 1e-6 * direction, y)).sum()) for s in (1, -1))
    assert (up - down) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


@pytest.mark.parametrize("shots", [1, 4])
def test_scores_are_those_of_the_dual_form(shots: int) -> None:
    learner, meta = built("metaoptnet")
    sx, sy, qx = one_task(shots=shots)
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)
    x, q = features(meta, sx), features(meta, qx)
    a = crammer_singer(torch.from_numpy(x), torch.eye(3, dtype=torch.float64)[sy]).numpy()
    np.testing.assert_allclose(logits.numpy(), float(meta["head.scale"]) * (q @ x.T @ a), rtol=1e-8, atol=1e-12)


def test_the_ridge_head_is_ridge_regression() -> None:
    learner, meta = built("metaoptnet", {"head": "ridge"})
    sx, sy, qx = one_task()
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)
    x, q = features(meta, sx), features(meta, qx)
    w = np.linalg.solve(x.T @ x + RIDGE_REGULARISER * np.eye(x.shape[1]), x.T @ np.eye(3)[sy.numpy()])
    np.testing.assert_allclose(logits.numpy(), float(meta["head.scale"]) * (q @ w), rtol=1e-9)
