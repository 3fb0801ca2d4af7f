"""Kernels as they are kept and as they are used, against plain networks with the same kernels baked in."""

import torch
from torch import nn

from fewshot_km.models.kernels import kept_kernels, used_kernels
from fewshot_km.models.modulation import merge, modulate
from tests.support.networks_under_test import SMALL_STRIDED

LAYERS = [f"backbone.blocks.{n}.conv" for n in range(4)]


def moved(network: nn.Module) -> dict[str, torch.Tensor]:
    """Other values than those that the network holds."""
    return {name: value.detach() + 0.1 * torch.randn_like(value) for name, value in network.named_parameters()}


def test_a_plain_network_uses_what_it_keeps() -> None:
    network = SMALL_STRIDED.make()
    parameters = moved(network)
    for kernels in (kept_kernels(network, parameters), used_kernels(network, parameters)):
        assert list(kernels) == LAYERS
        assert all(torch.equal(kernels[name], parameters[f"{name}.weight"]) for name in LAYERS)


def test_a_modulated_network_uses_what_merging_bakes_in() -> None:
    network = modulate(SMALL_STRIDED.make())
    parameters = moved(network)
    kept, used = kept_kernels(network, parameters), used_kernels(network, {**parameters, "not.its.own": torch.ones(1)})
    network.load_state_dict(parameters)
    merged = merge(network).state_dict()
    for name in LAYERS:
        assert torch.equal(kept[name], parameters[f"{name}.parametrizations.weight.original"])
        torch.testing.assert_close(used[name], merged[f"{name}.weight"])
        assert not torch.allclose(used[name], kept[name], atol=1e-3)


def test_a_network_without_convolutions_has_none() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert kept_kernels(network, {}) == used_kernels(network, {}) == {}
