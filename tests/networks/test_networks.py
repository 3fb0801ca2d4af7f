"""conv4 against the published counts and shapes, and norm modes against their definitions."""

import pytest
import torch
from torch import nn

from fewshot_km.errors import ConfigError, UnknownNameError
from fewshot_km.networks import NETWORKS, Network, build_network
from fewshot_km.networks.conv4 import ConvBlock
from fewshot_km.networks.norms import make_norm, norm_parameter_names
from tests.networks_under_test import MINI_IMAGENET_5_WAY, OMNIGLOT_20_WAY, SMALL_GROUP, PaperNetwork


@pytest.mark.parametrize(
    ("network", "weights", "biases", "norm", "head", "features"),
    [(OMNIGLOT_20_WAY, 111_168, 256, 512, 1_300, 64), (MINI_IMAGENET_5_WAY, 28_512, 128, 256, 4_005, 800)],
    ids=["omniglot", "mini-imagenet"],
)
def test_parameter_counts_are_those_of_the_papers(
    network: PaperNetwork, weights: int, biases: int, norm: int, head: int, features: int
) -> None:
    made = network.make()
    count = {name: p.numel() for name, p in made.named_parameters()}

    def total(ending: str) -> int:
        return sum(n for name, n in count.items() if ending in name)

    assert total("conv.weight") == weights
    assert total("conv.bias") == biases
    assert total("norm.") == norm
    assert total("head.") == head
    assert sum(count.values()) == weights + biases + norm + head
    assert made.backbone(torch.rand(2, *network.image_shape)).shape == (2, features)
    assert made(torch.rand(2, *network.image_shape)).shape == (2, network.ways)


def test_strided_maps_have_the_papers_sizes() -> None:
    sizes = []
    network = OMNIGLOT_20_WAY.make()
    for module in network.modules():
        if isinstance(module, ConvBlock):
            module.register_forward_hook(lambda _m, _i, output: sizes.append(tuple(output.shape[2:])))
    network(torch.rand(2, 1, 28, 28))
    assert sizes == [(14, 14), (7, 7), (4, 4), (2, 2)]  # "the last 2x2 map"


def test_batch_norm_is_transductive_and_group_norm_is_not() -> None:
    """An image's features depend on the rest of the batch with batch norm, and on nothing else with group norm."""
    x = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    for network, depends in ((OMNIGLOT_20_WAY, True), (SMALL_GROUP, False)):
        backbone = network.make().double().eval().backbone  # eval: batch statistics must be used at test too
        alone, among = backbone(x[:2])[0], backbone(x)[0]
        assert torch.allclose(alone, among, atol=1e-9) != depends


def test_norms_normalise() -> None:
    x = 3 + 2 * torch.randn(5, 16, 4, 4, dtype=torch.float64)
    batch = make_norm("batch", 16).double()(x)
    torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(16, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        batch.var((0, 2, 3), correction=0), torch.ones(16, dtype=torch.float64), atol=1e-4, rtol=0
    )
    group = make_norm("group", 16).double()(x).reshape(5, 2, 8 * 16)  # eight channels a group
    torch.testing.assert_close(group.mean(2), torch.zeros(5, 2, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(group.var(2, correction=0), torch.ones(5, 2, dtype=torch.float64), atol=1e-4, rtol=0)


def test_norm_parameters_by_choice() -> None:
    network = OMNIGLOT_20_WAY.make()
    of = {name: p.numel() for name, p in network.named_parameters()}
    assert sum(of[n] for n in norm_parameter_names(network, "full")) == 512
    assert sum(of[n] for n in norm_parameter_names(network, "bias")) == 256
    assert norm_parameter_names(network, "none") == []


def test_any_module_is_a_backbone() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten())
    assert Network(backbone, 7, (3, 5, 5))(torch.rand(2, 3, 5, 5)).shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filter": 3}, r"network 'conv4' has no option 'filter': did you mean 'filters'\? it takes: filters,"),
        ({"filters": 0}, "positive whole number of filters, not 0"),
        ({"filters": 64.5}, "option 'filters': 64.5: input should be a valid integer"),
        ({"downsampling": "avg"}, "option 'downsampling': 'avg' is not allowed; allowed: 'stride' or 'pool'"),
        ({"norm": "layer"}, "option 'norm': 'layer' is not allowed; allowed: 'batch' or 'group'"),
        ({"norm": "group", "filters": 12}, "norm 'group' needs a multiple of 8 channels, not 12"),
        ({"downsampling": "pool"}, "28x8 images are too small"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network("conv4", options, (1, 28, 8), 5)


def test_unknown_networks_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown network 'conv5': did you mean 'conv4'"):
        build_network("conv5", {}, (1, 28, 28), 5)


def test_running_statistics_and_maps_are_refused() -> None:
    with pytest.raises(ConfigError, match="running statistics"):
        Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()), 5, (1, 8, 8))
    with pytest.raises(ConfigError, match=r"must return features \[M, F\]; this one returned \[2, 2, 6, 6\]"):
        Network(nn.Conv2d(1, 2, 3), 5, (1, 8, 8))


def test_registered_networks_say_what_they_are() -> None:
    assert all(NETWORKS.get(name).__doc__ for name in NETWORKS)
