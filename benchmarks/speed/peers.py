"""MAML and ANIL as users of learn2learn, higher, torchmeta and TorchOpt write them, on this suite's four-conv network.

Each function adds the second-order meta-gradient of some tasks, summed, to `.grad` of the network's parameters; each
evaluating one counts the query images that are classified correctly after adapting, by the cheapest way that the
library documents. Weights, tasks and the inner learning rate are those that they are given.
"""

import importlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from learn2learn_tasks import import_learn2learn
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.data.episodes import Episode
from fewshot_km.models import Network

LR = 0.4
Task = tuple[Tensor, Tensor, Tensor, Tensor]
"""Support images and labels, query images and labels."""
MetaGradient = Callable[[nn.Module, list[Task], int], None]
CountCorrect = Callable[[nn.Module, list[Task], int], list[int]]


def tasks_of(episode: Episode) -> list[Task]:
    """One after the other."""
    return list(zip(episode.support_x, episode.support_y, episode.query_x, episode.query_y, strict=True))


def learn2learn_maml(network: nn.Module, tasks: list[Task], steps: int) -> None:
    """Every parameter adapts."""
    maml = import_learn2learn().algorithms.MAML(network, lr=LR, first_order=False)
    for sx, sy, qx, qy in tasks:
        clone = maml.clone()
        for _ in range(steps):
            clone.adapt(F.cross_entropy(clone(sx), sy))
        torch.autograd.backward(F.cross_entropy(clone(qx), qy))


def learn2learn_maml_correct(network: nn.Module, tasks: list[Task], steps: int) -> list[int]:
    """Adapted without a second-order graph."""
    maml = import_learn2learn().algorithms.MAML(network, lr=LR, first_order=True)
    counts = []
    for sx, sy, qx, qy in tasks:
        clone = maml.clone()
        for _ in range(steps):
            clone.adapt(F.cross_entropy(clone(sx), sy))
        with torch.no_grad():
            counts.append(_correct(clone(qx), qy))
    return counts


def learn2learn_anil(network: nn.Module, tasks: list[Task], steps: int) -> None:
    """The head adapts; support features are computed once, as in its example."""
    assert isinstance(network, Network)
    head = import_learn2learn().algorithms.MAML(network.head, lr=LR, first_order=False)
    for sx, sy, qx, qy in tasks:
        clone = head.clone()
        features = network.backbone(sx)
        for _ in range(steps):
            clone.adapt(F.cross_entropy(clone(features), sy))
        torch.autograd.backward(F.cross_entropy(clone(network.backbone(qx)), qy))


def higher_maml(network: nn.Module, tasks: list[Task], steps: int) -> None:
    """Every parameter adapts, by higher's differentiable SGD."""
    higher = importlib.import_module("higher")
    optimiser = torch.optim.SGD(network.parameters(), lr=LR)
    for sx, sy, qx, qy in tasks:
        with higher.innerloop_ctx(network, optimiser, copy_initial_weights=False) as (functional, differentiable):
            for _ in range(steps):
                differentiable.step(F.cross_entropy(functional(sx), sy))
            torch.autograd.backward(F.cross_entropy(functional(qx), qy))


def higher_maml_correct(network: nn.Module, tasks: list[Task], steps: int) -> list[int]:
    """Adapted without a second-order graph."""
    higher = importlib.import_module("higher")
    optimiser = torch.optim.SGD(network.parameters(), lr=LR)
    counts = []
    for sx, sy, qx, qy in tasks:
        with higher.innerloop_ctx(network, optimiser, track_higher_grads=False) as (functional, differentiable):
            for _ in range(steps):
                differentiable.step(F.cross_entropy(functional(sx), sy))
            with torch.no_grad():
                counts.append(_correct(functional(qx), qy))
    return counts


def higher_anil(network: nn.Module, tasks: list[Task], steps: int) -> None:
    """The head adapts."""
    assert isinstance(network, Network)
    higher = importlib.import_module("higher")
    optimiser = torch.optim.SGD(network.head.parameters(), lr=LR)
    for sx, sy, qx, qy in tasks:
        with higher.innerloop_ctx(network.head, optimiser, copy_initial_weights=False) as (head, differentiable):
            features = network.backbone(sx)
            for _ in range(steps):
                differentiable.step(F.cross_entropy(head(features), sy))
            torch.autograd.backward(F.cross_entropy(head(network.backbone(qx)), qy))


def torchmeta_maml(network: nn.Module, tasks: list[Task], steps: int) -> None:
    """Every parameter adapts, on a network of torchmeta's own layers that shares the parameters."""
    meta = _torchmeta_network(network)
    update = import_torchmeta("utils.gradient_based").gradient_update_parameters
    for sx, sy, qx, qy in tasks:
        params = None
        for _ in range(steps):
            loss = F.cross_entropy(meta(sx, params=params), sy)
            params = update(meta, loss, params=params, step_size=LR)
        torch.autograd.backward(F.cross_entropy(meta(qx, params=params), qy))


def torchmeta_maml_correct(network: nn.Module, tasks: list[Task], steps: int) -> list[int]:
    """Adapted without a second-order graph."""
    meta = _torchmeta_network(network)
    update = import_torchmeta("utils.gradient_based").gradient_update_parameters
    counts = []
    for sx, sy, qx, qy in tasks:
        params = None
        for _ in range(steps):
            loss = F.cross_entropy(meta(sx, params=params), sy)
            params = update(meta, loss, params=params, step_size=LR, first_order=True)
        with torch.no_grad():
            counts.append(_correct(meta(qx, params=params), qy))
    return counts


def torchopt_maml(network: nn.Module, tasks: list[Task], steps: int) -> None:
    """Every parameter adapts, by TorchOpt's differentiable SGD."""
    with _torchopt_inner(network) as (optimiser, restore):
        for sx, sy, qx, qy in tasks:
            for _ in range(steps):
                optimiser.step(F.cross_entropy(network(sx), sy))
            torch.autograd.backward(F.cross_entropy(network(qx), qy))
            restore()


def torchopt_maml_correct(network: nn.Module, tasks: list[Task], steps: int) -> list[int]:
    """With its second-order graph, which MetaSGD always keeps; cut after each step."""
    torchopt = importlib.import_module("torchopt")
    counts = []
    with _torchopt_inner(network) as (optimiser, restore):
        for sx, sy, qx, qy in tasks:
            for _ in range(steps):
                optimiser.step(F.cross_entropy(network(sx), sy))
                torchopt.stop_gradient(network)
            with torch.no_grad():
                counts.append(_correct(network(qx), qy))
            restore()
    return counts


MAML: dict[str, tuple[MetaGradient, CountCorrect]] = {
    "learn2learn": (learn2learn_maml, learn2learn_maml_correct),
    "higher": (higher_maml, higher_maml_correct),
    "torchmeta": (torchmeta_maml, torchmeta_maml_correct),
    "torchopt": (torchopt_maml, torchopt_maml_correct),
}
ANIL: dict[str, MetaGradient] = {"learn2learn": learn2learn_anil, "higher": higher_anil}


def _correct(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(-1) == labels).sum())


@contextmanager
def _torchopt_inner(network: nn.Module) -> Iterator[tuple[Any, Callable[[], None]]]:
    torchopt = importlib.import_module("torchopt")
    optimiser = torchopt.MetaSGD(network, lr=LR)
    weights = torchopt.extract_state_dict(network, by="reference", detach_buffers=True)
    state = torchopt.extract_state_dict(optimiser, by="reference")

    def restore() -> None:
        torchopt.recover_state_dict(network, weights)
        torchopt.recover_state_dict(optimiser, state)

    yield optimiser, restore


def import_torchmeta(part: str) -> Any:
    """torchmeta 1.8.0 asks torchvision for two functions, which it needs for downloads only and which are gone."""
    import_learn2learn()  # makes torchvision importable
    utilities = importlib.import_module("torchvision.datasets.utils")
    for name in ("_get_confirm_token", "_save_response_content"):
        if not hasattr(utilities, name):
            setattr(utilities, name, None)
    return importlib.import_module(f"torchmeta.{part}")


def _torchmeta_network(network: nn.Module) -> Any:
    """The same layers as torchmeta's, with the same parameter objects."""
    assert isinstance(network, Network)
    modules = import_torchmeta("modules")
    backbone: Any = network.backbone
    layers: list[tuple[str, nn.Module]] = []
    for i, block in enumerate(backbone.blocks):
        conv, norm = block.conv, block.norm
        meta_conv = modules.MetaConv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, stride=conv.stride, padding=conv.padding
        )
        meta_norm = modules.MetaBatchNorm2d(norm.num_features, track_running_stats=False)
        for theirs, ours in ((meta_conv, conv), (meta_norm, norm)):
            theirs.weight, theirs.bias = ours.weight, ours.bias
        layers += [(f"conv{i}", meta_conv), (f"norm{i}", meta_norm), (f"relu{i}", nn.ReLU())]
        if block.pool:
            layers.append((f"pool{i}", nn.MaxPool2d(2)))
    if backbone.average:
        layers.append(("average", nn.AdaptiveAvgPool2d(1)))
    head = modules.MetaLinear(network.head.in_features, network.head.out_features)
    head.weight, head.bias = network.head.weight, network.head.bias
    layers += [("flatten", nn.Flatten()), ("head", head)]
    return modules.MetaSequential(OrderedDict(layers))
