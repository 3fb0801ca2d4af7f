"""Feature-wise modulation: which layers it finds, and that folding it into gamma and beta changes nothing."""

import pytest
import torch
from torch import nn

from fewshot_km.errors import ConfigError
from fewshot_km.models.film import FilmLayer, film_layers, filmed
from tests.support.networks_under_test import SMALL_GROUP, SMALL_STRIDED


@pytest.mark.parametrize("network", [SMALL_STRIDED, SMALL_GROUP])
def test_every_norm_layer_is_found_from_the_input_on(network: object) -> None:
    blocks = [f"backbone.blocks.{i}.norm" for i in range(4)]
    assert film_layers(network.make()) == [FilmLayer(f"{b}.weight", f"{b}.bias", 8) for b in blocks]


def test_a_network_without_them_is_refused() -> None:
    for network in (nn.Linear(2, 2), nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False))):
        with pytest.raises(ConfigError, match="needs a network with norm layers that have a scale and a shift"):
            film_layers(network)


def test_the_folded_layer_is_the_layer_and_then_scale_and_shift() -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False).double()
    x, generator = torch.rand(4, 3, 5, 5, dtype=torch.float64), torch.Generator().manual_seed(0)
    gamma, beta, scale, shift = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    norm.load_state_dict({"weight": gamma, "bias": beta})
    expected = scale[:, None, None] * norm(x) + shift[:, None, None]
    norm.load_state_dict(filmed({"weight": gamma, "bias": beta}, film_layers(norm)[0], scale, shift))
    torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)
