"""conv4 against the published counts and shapes, and norm modes against their definitions."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fewshot_km.errors import ConfigError, UnknownNameError
from fewshot_km.learners import InnerLoop, build_learner
from fewshot_km.models import NETWORKS, Network, build_network
from fewshot_km.models.conv4 import ConvBlock
from fewshot_km.models.modulation import KernelModulator
from fewshot_km.models.norms import make_norm, norm_parameter_names
from tests.support.networks_under_test import MINI_IMAGENET_5_WAY, OMNIGLOT_20_WAY, SMALL_GROUP, PaperNetwork


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


class Own(nn.Module):
    """A module with parameters of its own of the given shapes."""

    def __init__(self, affine: bool | None = None, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        if affine is not None:
            self.affine = affine
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.ones(shape)))


class OwnBatchNorm(nn.BatchNorm2d):
    pass


class OwnConv(nn.Conv2d):
    pass


BOTH = {"full": ["0.weight", "0.bias"], "bias": ["0.bias"]}
SCALE = {"full": ["0.weight"], "bias": []}
NONE: dict[str, list[str]] = {"full": [], "bias": []}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.BatchNorm1d(4), BOTH),
        (nn.SyncBatchNorm(4), BOTH),
        (nn.InstanceNorm2d(4, affine=True), BOTH),
        (nn.InstanceNorm2d(4), NONE),
        (nn.BatchNorm2d(4, affine=False), NONE),
        (nn.GroupNorm(2, 4), BOTH),
        (nn.LayerNorm((4, 3, 3)), BOTH),
        (nn.RMSNorm((4,)), SCALE),
        (nn.LocalResponseNorm(3), NONE),
        (OwnBatchNorm(4), BOTH),
        (Own(weight=(4,), bias=(4,)), BOTH),
        (Own(weight=(1, 4, 1, 1), bias=(1, 4, 1, 1)), BOTH),
        (Own(weight=(4, 1, 1), bias=(4, 1, 1)), BOTH),
        (Own(weight=(4, 3, 3), bias=(4, 3, 3)), BOTH),
        (Own(gamma=(4,), beta=(4,)), {"full": ["0.gamma", "0.beta"], "bias": ["0.beta"]}),
        (Own(affine=True, weight=(3, 3), bias=(3,)), BOTH),
        (Own(affine=False, weight=(4,), bias=(4,)), NONE),
        (Own(affine=False, other=(4,)), NONE),
        # not norm layers
        (nn.Linear(3, 4), NONE),
        (nn.Conv2d(1, 4, 1), NONE),
        (nn.PReLU(4), NONE),
        (OwnConv(1, 4, 3), NONE),
        (Own(weight=(4, 3), bias=(4,)), NONE),
        (Own(weight=(4, 1, 1, 1), bias=(4,)), NONE),
        (Own(weight=(1, 3), bias=(1,)), NONE),
        (Own(temperature=()), NONE),
        (KernelModulator((1, 1)), NONE),
        (KernelModulator((3, 3)), NONE),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), NONE),
    ],
)
def test_scale_and_shift_of_norms_of_any_kind(module: nn.Module, expected: dict[str, list[str]]) -> None:
    for network, prefix in ((nn.Sequential(module), "0."), (module, "")):
        for choice, names in expected.items():
            assert norm_parameter_names(network, choice) == [prefix + name.removeprefix("0.") for name in names]
        assert norm_parameter_names(network, "none") == []


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Own(stretch=(4,), bias=(4,)), r"'0' \(Own\): its 'stretch' may be a norm's scale or shift: if it is"),
        (Own(alpha=(1, 4, 1, 1)), "its 'alpha' may be a norm's scale"),
        (Own(affine=True, alpha=(4, 4)), "its 'alpha' may be a norm's scale"),
        (Own(kernel=(4, 3, 3, 3), gamma=(4,), beta=(4,)), "its 'beta' may be a norm's scale"),
        (
            nn.utils.parametrizations.weight_norm(nn.LayerNorm((4, 4))),
            "the scale or shift of a norm layer is parametrized",
        ),
    ],
)
def test_what_may_be_a_norm_is_never_passed_over(module: nn.Module, message: str) -> None:
    for choice in ("full", "bias", "none"):
        with pytest.raises(ConfigError, match=message):
            norm_parameter_names(nn.Sequential(module), choice)


def test_a_scale_that_two_norms_share_is_named_once() -> None:
    one, other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    other.weight = one.weight
    network = nn.Sequential(one, other)
    assert norm_parameter_names(network) == ["0.weight", "0.bias", "1.bias"]


@pytest.mark.parametrize("name", ["maml", "km-maml"])
def test_instance_norm_adapts_as_it_is_told(name: str) -> None:
    def make() -> nn.Module:
        norm = nn.InstanceNorm2d(4, affine=True)
        return Network(nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten()), 3, (1, 5, 5))

    x, y = torch.rand(6, 1, 5, 5), torch.arange(3).repeat(2)
    for choice, expected in {"full": {"weight", "bias"}, "bias": {"bias"}, "none": set()}.items():
        learner = build_learner(name, {"norm_affine": choice}, make, InnerLoop(0.1))
        delta = learner.adapt(learner.init(0), x, y, steps=1)
        assert {n.removeprefix("backbone.1.") for n in delta if n.startswith("backbone.1.")} == expected


class Remembering(nn.Module):
    """Keeps a mean over all batches, under a name of its own."""

    def __init__(self, change: Callable[["Remembering", torch.Tensor], None]) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))
        self.register_buffer("unset", torch.tensor([torch.nan]))
        self._change = change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._change(self, x.mean((0, 2, 3)))
        return x.flatten(1)


@pytest.mark.parametrize(
    "change",
    [
        lambda self, mean: self.seen.mul_(0.9).add_(0.1 * mean),
        lambda self, mean: setattr(self, "seen", 0.9 * self.seen + 0.1 * mean),
        lambda self, mean: self.register_buffer("later", mean),
        lambda self, mean: self.seen.add_(0.1 * (mean - self.seen)) if self.training else None,
    ],
)
def test_statistics_that_run_under_any_name_are_refused(change: Callable[[Remembering, torch.Tensor], None]) -> None:
    with pytest.raises(ConfigError, match=r"keeps running statistics \('1.(seen|later)'\), which leak between tasks"):
        Network(nn.Sequential(nn.Conv2d(1, 4, 3), Remembering(change)), 5, (1, 8, 8))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.InstanceNorm2d(4, track_running_stats=True),
        nn.BatchNorm2d(4).eval(),
        nn.BatchNorm2d(4, momentum=0.0),
        nn.BatchNorm2d(4, affine=False),
    ],
)
def test_norms_with_running_statistics_are_refused(norm: nn.Module) -> None:
    with pytest.raises(ConfigError, match="keeps running statistics"):
        Network(nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Flatten()), 5, (1, 8, 8))


def test_looking_for_running_statistics_changes_no_initialisation() -> None:
    """The head's numbers are those that follow the backbone's."""
    torch.manual_seed(3)
    network = Network(nn.Sequential(nn.Conv2d(1, 4, 3), Remembering(lambda *_: None)), 5, (1, 8, 8))
    torch.manual_seed(3)
    assert torch.equal(nn.Conv2d(1, 4, 3).weight, network.backbone.get_submodule("0").weight)  # type: ignore[arg-type]
    assert torch.equal(nn.Linear(144, 5).weight, network.head.weight)


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
