"""Second-order meta-gradients of learn2learn and higher against this suite's, from the same weights and episode.

Run it with an interpreter that has all three (peers_env.sh makes one). Prints one JSON object: for each case and
peer, the norm of the difference between its meta-gradient and that of each of our executions, over the norm of ours,
in float64.
"""

import importlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from learn2learn_tasks import import_learn2learn
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.engine import EXECUTIONS
from fewshot_km.episodes import Episode
from fewshot_km.learners import InnerLoop, Params, build_learner
from fewshot_km.networks import Network, build_network

LR, SHOTS, QUERIES, TASKS = 0.4, 1, 2, 2
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int, int], int]] = {
    "omniglot strided 5-way": ({"filters": 64, "downsampling": "stride"}, (1, 28, 28), 5),
    "omniglot pooled 5-way": ({"filters": 64, "downsampling": "pool"}, (1, 28, 28), 5),
    "mini-imagenet 5-way": ({"filters": 32, "downsampling": "pool"}, (3, 84, 84), 5),
}
MetaGradient = Callable[[Network, Episode, int], Params]


def learn2learn_maml(network: Network, episode: Episode, steps: int) -> Params:
    """Every parameter adapts, as learn2learn's MAML has it."""
    maml = import_learn2learn().algorithms.MAML(network, lr=LR, first_order=False)
    for sx, sy, qx, qy in tasks_of(episode):
        clone = maml.clone()
        for _ in range(steps):
            clone.adapt(F.cross_entropy(clone(sx), sy))
        torch.autograd.backward(F.cross_entropy(clone(qx), qy))
    return gradients_of(network, len(episode))


def learn2learn_anil(network: Network, episode: Episode, steps: int) -> Params:
    """The head adapts, in learn2learn's words."""
    head = import_learn2learn().algorithms.MAML(network.head, lr=LR, first_order=False)
    for sx, sy, qx, qy in tasks_of(episode):
        clone = head.clone()
        features = network.backbone(sx)
        for _ in range(steps):
            clone.adapt(F.cross_entropy(clone(features), sy))
        torch.autograd.backward(F.cross_entropy(clone(network.backbone(qx)), qy))
    return gradients_of(network, len(episode))


def higher_maml(network: Network, episode: Episode, steps: int) -> Params:
    """Every parameter adapts, by higher's differentiable SGD."""
    higher = importlib.import_module("higher")
    optimiser = torch.optim.SGD(network.parameters(), lr=LR)
    for sx, sy, qx, qy in tasks_of(episode):
        with higher.innerloop_ctx(network, optimiser, copy_initial_weights=False) as (functional, differentiable):
            for _ in range(steps):
                differentiable.step(F.cross_entropy(functional(sx), sy))
            torch.autograd.backward(F.cross_entropy(functional(qx), qy))
    return gradients_of(network, len(episode))


PEERS: dict[str, tuple[str, MetaGradient]] = {
    "learn2learn maml": ("maml", learn2learn_maml),
    "higher maml": ("maml", higher_maml),
    "learn2learn anil": ("anil", learn2learn_anil),
}
OPTIONS: dict[str, dict[str, Any]] = {"maml": {"norm_affine": "full"}, "anil": {}}  # peers adapt every parameter


def compare() -> dict[str, dict[str, float]]:
    """Relative differences by case, then by execution."""
    found: dict[str, dict[str, float]] = {}
    for title, (options, image_shape, ways) in NETWORKS.items():
        episode = make_episode(image_shape, ways)
        for peer, (name, meta_gradient) in PEERS.items():
            for steps in (1, 5):
                learner = build_learner(
                    name,
                    OPTIONS[name],
                    lambda: build_network("conv4", options, image_shape, ways),  # noqa: B023 used within this turn
                    InnerLoop(LR),
                )
                meta = {key: value.double() for key, value in learner.init(0).items()}
                network = build_network("conv4", options, image_shape, ways).double()
                network.load_state_dict(meta)
                theirs = meta_gradient(network, episode, steps)
                found[f"{peer}, {title}, {steps} steps"] = {
                    execution: difference(
                        EXECUTIONS[execution].outer_gradient(learner, meta, episode, steps).gradient, theirs
                    )
                    for execution, how in EXECUTIONS.items()
                    if not how.compiles  # minutes each: tests/engine/test_compilation.py compares them with the others
                }
    return found


def difference(ours: Params, theirs: Params) -> float:
    """Norm of the difference over the norm of ours, which is a sum over tasks."""
    flat = torch.cat([value.flatten() for value in ours.values()]) / TASKS
    other = torch.cat([theirs[name].flatten() for name in ours])
    return float((flat - other).norm() / flat.norm())


def tasks_of(episode: Episode) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Support and query of each task."""
    return list(zip(episode.support_x, episode.support_y, episode.query_x, episode.query_y, strict=True))


def gradients_of(network: nn.Module, tasks: int) -> Params:
    """What backward() has summed, per task."""
    return {name: p.grad / tasks for name, p in network.named_parameters() if p.grad is not None}


def make_episode(image_shape: tuple[int, int, int], ways: int) -> Episode:
    """Noise, in float64."""
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[Tensor, Tensor]:
        x = torch.rand(TASKS, ways * count, *image_shape, generator=generator, dtype=torch.float64)
        return x, torch.arange(ways).repeat_interleave(count).expand(TASKS, -1)

    return Episode(*part(SHOTS), *part(QUERIES))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # gym, which learn2learn imports, has much to say
    torch.set_num_threads(1)
    json.dump(compare(), sys.stdout, indent=1)
