"""FEAT against self-attention and layer norm written out in numpy."""

import numpy as np

from tests.support.small_tasks import built, features, one_task


def test_prototypes_attend_to_one_another() -> None:
    learner, meta = built("feat", {"temperature": 4.0})
    sx, sy, qx = one_task()
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)
    support, queries, labels = features(meta, sx), features(meta, qx), sy.numpy()
    p = np.stack([support[labels == c].mean(0) for c in range(3)])
    weight = {name: meta[f"head.{name}.weight"].numpy() for name in ("query", "key", "value", "out", "norm")}
    q, k, v = (p @ weight[name].T for name in ("query", "key", "value"))
    attention = np.exp(q @ k.T / np.sqrt(p.shape[1]))
    attention /= attention.sum(1, keepdims=True)
    h = p + attention @ v @ weight["out"].T + meta["head.out.bias"].numpy()
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-5)
    h = h * weight["norm"] + meta["head.norm.bias"].numpy()
    expected = [[-((query - adapted) ** 2).sum() / 4 for adapted in h] for query in queries]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-8)
