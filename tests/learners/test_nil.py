"""NIL: ANIL in training; at test cosine-weighted labels, computed in numpy."""

import numpy as np
import torch

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learners.modes import evaluating
from tests.support.small_tasks import built, context, episodes, features, one_task


def test_it_trains_as_anil() -> None:
    gradients = []
    for name in ("nil", "anil"):
        learner, meta = built(name)
        gradients.append(BACKENDS["plain"].outer_gradient(learner, meta, episodes(), context(2)).gradient)
    assert set(gradients[0]) == set(gradients[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-10, atol=1e-12)


def test_at_test_support_labels_are_weighted_by_the_softmax_of_cosines() -> None:
    learner, meta = built("nil")
    sx, sy, qx = one_task()
    with evaluating(learner):
        logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=5), qx)
    support, queries = features(meta, sx), features(meta, qx)
    for query, row in zip(queries, logits.softmax(-1).numpy(), strict=True):
        cosines = support @ query / np.linalg.norm(support, axis=1) / np.linalg.norm(query)
        weights = np.exp(cosines) / np.exp(cosines).sum()
        expected = [weights[sy.numpy() == c].sum() for c in range(3)]
        np.testing.assert_allclose(row, expected, rtol=1e-10)


def test_at_test_neither_head_nor_inner_steps_matter() -> None:
    learner, meta = built("nil")
    sx, sy, qx = one_task()
    other = meta | {n: v + 1 for n, v in meta.items() if n.startswith("head.")}
    with evaluating(learner):
        one, two = (
            learner.predict(m, learner.adapt(m, sx, sy, steps=steps), qx) for m, steps in ((meta, 0), (other, 3))
        )
    assert torch.equal(one, two)
