"""Matching networks against loops in numpy."""

import numpy as np
import pytest

from tests.support.small_tasks import built, features, one_task


@pytest.mark.parametrize("shots", [1, 3])
def test_probabilities_are_labels_weighted_by_the_softmax_of_cosines(shots: int) -> None:
    learner, meta = built("matching")
    sx, sy, qx = one_task(shots=shots)
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)
    support, queries = features(meta, sx), features(meta, qx)
    for query, row in zip(queries, logits.exp().numpy(), strict=True):
        cosines = [s @ query / (np.linalg.norm(s) * np.linalg.norm(query)) for s in support]
        weights = np.exp(cosines) / np.sum(np.exp(cosines))
        expected = np.zeros(3)
        for weight, label in zip(weights, sy.tolist(), strict=True):
            expected[label] += weight
        np.testing.assert_allclose(row, expected, rtol=1e-9)
