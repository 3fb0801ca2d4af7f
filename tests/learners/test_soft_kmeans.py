"""Soft k-means against loops in numpy, and its limits."""

import numpy as np
import pytest
import torch

from tests.support.small_tasks import built, features, one_task


@pytest.mark.parametrize("refinements", [1, 3])
def test_prototypes_are_refined_by_the_queries(refinements: int) -> None:
    learner, meta = built("soft-kmeans", {"refinements": refinements})
    sx, sy, qx = one_task()
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)
    support, queries, labels = features(meta, sx), features(meta, qx), sy.numpy()
    prototypes = np.stack([support[labels == c].mean(0) for c in range(3)])
    for _ in range(refinements):
        z = np.array([[np.exp(-((q - p) ** 2).sum()) for p in prototypes] for q in queries])
        z /= z.sum(1, keepdims=True)
        prototypes = np.stack(
            [
                (support[labels == c].sum(0) + sum(z[j, c] * q for j, q in enumerate(queries)))
                / ((labels == c).sum() + z[:, c].sum())
                for c in range(3)
            ]
        )
    expected = [[-((q - p) ** 2).sum() for p in prototypes] for q in queries]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-9)


def test_without_refinement_it_is_a_prototypical_network() -> None:
    soft, meta = built("soft-kmeans", {"refinements": 0})
    proto, _ = built("protonet")
    sx, sy, qx = one_task()
    logits = [one.predict(meta, one.adapt(meta, sx, sy, steps=0), qx) for one in (soft, proto)]
    assert torch.equal(*logits)


def test_it_is_declared_transductive() -> None:
    soft, _ = built("soft-kmeans")
    proto, _ = built("protonet")
    assert (soft.looks_at_queries, proto.looks_at_queries) == (True, False)
