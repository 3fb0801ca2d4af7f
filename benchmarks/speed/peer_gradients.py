"""Second-order meta-gradients of learn2learn, higher, torchmeta and TorchOpt against this suite's, in float64.

Run it with an interpreter that has them all (peers_env.sh makes one). Prints one JSON object: for each case and peer,
the norm of the difference between its meta-gradient and that of each of our backends, over the norm of ours, from the
same weights and episode.
"""

import json
import sys
import warnings
from typing import Any

import peers
import torch
from torch import Tensor, nn

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.data.episodes import Episode
from fewshot_km.learners import InnerLoop, Params, TaskContext, build_learner
from fewshot_km.models import build_network

SHOTS, QUERIES, TASKS = 1, 2, 2
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int, int], int]] = {
    "omniglot strided 5-way": ({"filters": 64, "downsampling": "stride"}, (1, 28, 28), 5),
    "omniglot pooled 5-way": ({"filters": 64, "downsampling": "pool"}, (1, 28, 28), 5),
    "mini-imagenet 5-way": ({"filters": 32, "downsampling": "pool"}, (3, 84, 84), 5),
}
PEERS: dict[str, tuple[str, peers.MetaGradient]] = {
    **{f"{library} maml": ("maml", functions[0]) for library, functions in peers.MAML.items()},
    **{f"{library} anil": ("anil", function) for library, function in peers.ANIL.items()},
}
OPTIONS: dict[str, dict[str, Any]] = {"maml": {"norm_affine": "full"}, "anil": {}}  # peers adapt every parameter


def compare() -> dict[str, dict[str, float]]:
    """Relative differences by case, then by backend."""
    found: dict[str, dict[str, float]] = {}
    for title, (options, image_shape, ways) in NETWORKS.items():
        episode = make_episode(image_shape, ways)
        for peer, (name, meta_gradient) in PEERS.items():
            for steps in (1, 5):
                learner = build_learner(
                    name,
                    OPTIONS[name],
                    lambda: build_network("conv4", options, image_shape, ways),  # noqa: B023 used within this turn
                    InnerLoop(peers.LR),
                )
                meta = {key: value.double() for key, value in learner.init(0).items()}
                context = TaskContext(ways, SHOTS, image_shape, steps)
                network = build_network("conv4", options, image_shape, ways).double()
                network.load_state_dict(meta)
                meta_gradient(network, peers.tasks_of(episode), steps)
                theirs = gradients_of(network, len(episode))
                found[f"{peer}, {title}, {steps} steps"] = {
                    backend: difference(
                        BACKENDS[backend].outer_gradient(learner, meta, episode, context).gradient, theirs
                    )
                    for backend, how in BACKENDS.items()
                    if not how.compiles  # minutes each: tests/accel/test_compiled.py compares them with the others
                }
    return found


def difference(ours: Params, theirs: Params) -> float:
    """Norm of the difference over the norm of ours, which is a sum over tasks."""
    flat = torch.cat([value.flatten() for value in ours.values()]) / TASKS
    other = torch.cat([theirs[name].flatten() for name in ours])
    return float((flat - other).norm() / flat.norm())


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
