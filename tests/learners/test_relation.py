"""Relation networks against the relation module written out in numpy, pair by pair."""

import numpy as np
import pytest

from tests.support.small_tasks import built, features, one_task


@pytest.mark.parametrize("shots", [1, 3])
def test_scores_are_those_of_the_relation_module_on_class_sums_and_queries(shots: int) -> None:
    learner, meta = built("relation", {"hidden": 6})
    sx, sy, qx = one_task(shots=shots)
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx).numpy()
    support, queries, labels = features(meta, sx), features(meta, qx), sy.numpy()
    w1, b1, w2, b2, w3, b3 = (meta[f"head.{i}.{p}"].numpy() for i in (0, 2, 4) for p in ("weight", "bias"))
    assert (w1.shape, w2.shape, w3.shape) == ((6, 16), (8, 6), (1, 8))
    for j, query in enumerate(queries):
        for c in range(3):
            pair = np.concatenate([support[labels == c].sum(0), query])
            h = np.maximum(w2 @ np.maximum(w1 @ pair + b1, 0) + b2, 0)
            assert logits[j, c] == pytest.approx((w3 @ h + b3).item(), rel=1e-9)
