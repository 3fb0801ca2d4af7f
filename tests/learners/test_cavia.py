"""CAVIA: its inner gradient by finite differences, and its scale and shift by a hook on the network's own layer."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.learners import Params
from tests.support.networks_under_test import SMALL_POOLED
from tests.support.small_tasks import built, one_task


def test_a_step_is_the_finite_difference_of_the_support_loss() -> None:
    learner, meta = built("cavia", {"context": 4}, lr=0.7)
    sx, sy, _ = one_task()

    def loss(context: Tensor) -> float:
        return float(F.cross_entropy(learner.predict(meta, {"context": context}, sx), sy))

    unit = 1e-6 * torch.eye(4, dtype=torch.float64)
    gradient = torch.tensor([(loss(e) - loss(-e)) / 2e-6 for e in unit], dtype=torch.float64)
    delta: Params = learner.adapt(meta, sx, sy, steps=1)
    assert list(delta) == ["context"]
    torch.testing.assert_close(delta["context"], -0.7 * gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("layer", [1, 3])
def test_the_context_scales_and_shifts_the_output_of_one_norm_layer(layer: int) -> None:
    learner, meta = built("cavia", {"context": 4, "layer": layer}, SMALL_POOLED)
    _, _, qx = one_task(SMALL_POOLED)
    context = torch.tensor([0.5, -1.0, 0.2, 2.0], dtype=torch.float64)
    scale, shift = (meta["film.weight"] @ context + meta["film.bias"]).reshape(2, 8, 1, 1)

    module = SMALL_POOLED.make().double()
    module.load_state_dict({n: v for n, v in meta.items() if not n.startswith("film.")})
    norm = module.get_submodule(f"backbone.blocks.{layer - 1}.norm")
    assert isinstance(norm, nn.Module)
    norm.register_forward_hook(lambda _, inputs, output: scale * output + shift)
    with torch.no_grad():
        expected = module(qx)
    torch.testing.assert_close(learner.predict(meta, {"context": context}, qx), expected, rtol=1e-9, atol=1e-9)


def test_at_the_start_the_network_is_the_plain_one() -> None:
    learner, _ = built("cavia")
    meta = learner.init(0)
    sx, sy, qx = (t.float() if t.is_floating_point() else t for t in one_task())
    plain = {n: v for n, v in meta.items() if not n.startswith("film.")}
    module = learner._make_network()
    module.load_state_dict(plain)
    with torch.no_grad():
        torch.testing.assert_close(learner.predict(meta, learner.adapt(meta, sx, sy, steps=0), qx), module(qx))


def test_the_context_starts_at_zero_and_is_not_meta_trained() -> None:
    learner, meta = built("cavia")
    assert "context" not in meta
    sx, sy, _ = one_task()
    assert not learner.adapt(meta, sx, sy, steps=0)["context"].any()
    assert learner.adapt(meta, sx, sy, steps=1)["context"].numel() == 100  # the paper's
