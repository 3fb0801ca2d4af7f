"""TADAM's conditioning against hooks on the network's own norm layers, and task encoders written out in numpy."""

import numpy as np
import torch
from torch import nn

from fewshot_km.learners import Params
from tests.support.networks_under_test import SMALL_STRIDED
from tests.support.small_tasks import Array, built, features, one_task


def encoded(meta: Params, layer: int, which: int, task: Array) -> Array:
    """gamma_0 * gamma or beta_0 * beta of a layer."""

    def linear(name: str, x: Array) -> Array:
        at = f"head.encoders.{layer}.{name}.{which}"
        result: Array = meta[f"{at}.weight"].numpy() @ x + meta[f"{at}.bias"].numpy()
        return result

    h = np.maximum(linear("first", task), 0)
    result: Array = meta[f"head.encoders.{layer}.post"][which].numpy() * linear(
        "last", np.maximum(h + linear("second", h), 0)
    )
    return result


def test_the_task_scales_and_shifts_every_norm_layer() -> None:
    learner, meta = built("tadam-film")
    sx, sy, qx = one_task()
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx)

    plain, labels = features(meta, sx), sy.numpy()
    task = np.mean([plain[labels == c].mean(0) for c in range(3)], axis=0)
    backbone = SMALL_STRIDED.make().backbone.double()
    backbone.load_state_dict({n.removeprefix("backbone."): v for n, v in meta.items() if n.startswith("backbone.")})
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for i, norm in enumerate(norms):
        scale, shift = (torch.from_numpy(encoded(meta, i, w, task))[:, None, None] for w in (0, 1))
        norm.register_forward_hook(lambda _, inputs, out, scale=scale, shift=shift: (1 + scale) * out + shift)
    with torch.no_grad():
        support, queries = backbone(sx).numpy(), backbone(qx).numpy()
    means = [support[labels == c].mean(0) for c in range(3)]
    expected = [[-float(meta["head.scale"]) * ((q - m) ** 2).sum() for m in means] for q in queries]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-8)


def test_without_conditioning_it_is_a_prototypical_network() -> None:
    learner, meta = built("tadam-film")
    meta = meta | {n: torch.zeros_like(v) for n, v in meta.items() if n.endswith(".post")}
    meta["head.scale"] = torch.tensor(1.0, dtype=torch.float64)
    proto, _ = built("protonet")
    sx, sy, qx = one_task()
    logits = [one.predict(meta, one.adapt(meta, sx, sy, steps=0), qx) for one in (learner, proto)]
    torch.testing.assert_close(*logits, rtol=1e-12, atol=1e-12)
