"""Prototypical networks against distances in numpy, and a case that can be done by hand."""

import numpy as np
import pytest
import torch

from tests.support.small_tasks import built, features, one_task


@pytest.mark.parametrize("shots", [1, 3])
def test_logits_are_minus_squared_distances_to_class_means(shots: int) -> None:
    learner, meta = built("protonet")
    sx, sy, qx = one_task(shots=shots)
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)
    support, queries, labels = features(meta, sx), features(meta, qx), sy.numpy()
    means = [support[labels == c].mean(0) for c in range(3)]
    expected = [[-(np.linalg.norm(query - mean) ** 2) for mean in means] for query in queries]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-9)


def test_a_case_by_hand() -> None:
    learner, meta = built("protonet")
    support = torch.tensor([[0.0, 0.0], [5.0, 5.0], [2.0, 0.0], [1.0, 4.0]])
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    delta = learner.fit(meta, support, labels)
    assert delta["prototypes"].tolist() == [[1, 0], [5, 5], [1, 4]]
    assert learner.score(meta, delta, torch.tensor([[1.0, 1.0]])).tolist() == [[-1, -32, -9]]


def test_the_linear_head_is_no_meta_parameter() -> None:
    learner, _ = built("protonet")
    assert all(name.startswith("backbone.") for name in learner.init(0))
