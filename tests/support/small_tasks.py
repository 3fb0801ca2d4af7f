"""Learners on a small network in double precision, with one task's images, to compare with truths written out."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot_km.data.episodes import Episode
from fewshot_km.learners import InnerLoop, Params, TaskContext, build_learner
from tests.support.networks_under_test import SMALL_STRIDED, PaperNetwork

Array = NDArray[np.float64]
SHOTS, QUERIES = 2, 3


def built(
    name: str,
    options: Mapping[str, Any] | None = None,
    network: PaperNetwork = SMALL_STRIDED,
    lr: float = 0.3,
    order: str = "second",
) -> tuple[Any, Params]:
    """A learner and its meta-parameters, in which no scale is one and no shift or bias is zero."""
    learner = build_learner(name, options or {}, network.make, InnerLoop(lr, order))
    generator = torch.Generator().manual_seed(9)
    return learner, {
        n: v.double() + 0.1 * torch.randn(v.shape, generator=generator, dtype=torch.float64) * (v.ndim < 2)
        for n, v in learner.init(1).items()
    }


def episodes(network: PaperNetwork = SMALL_STRIDED, tasks: int = 1, shots: int = SHOTS) -> Episode:
    """Images of noise in double precision; queries are support images with other noise, in another order."""
    generator = torch.Generator().manual_seed(5)
    classes = torch.rand((tasks, network.ways, 1, *network.image_shape), generator=generator, dtype=torch.float64)

    def images(per_class: int) -> Tensor:
        shape = (tasks, network.ways, per_class, *network.image_shape)
        noise = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (classes + noise).flatten(1, 2)

    labels = torch.arange(network.ways)
    sx, qx = images(shots), images(QUERIES)
    sy, qy = labels.repeat_interleave(shots), labels.repeat_interleave(QUERIES)
    mix_s, mix_q = (torch.randperm(len(y), generator=generator) for y in (sy, qy))
    return Episode(sx[:, mix_s], sy[mix_s].expand(tasks, -1), qx[:, mix_q], qy[mix_q].expand(tasks, -1))


def one_task(network: PaperNetwork = SMALL_STRIDED, shots: int = SHOTS) -> tuple[Tensor, Tensor, Tensor]:
    """Support images, their labels, and query images of one task."""
    episode = episodes(network, shots=shots)
    return episode.support_x[0], episode.support_y[0], episode.query_x[0]


def features(meta: Params, x: Tensor) -> Array:
    """Features [M, F] by a backbone that torch's modules compute, whatever the learner does."""
    backbone = SMALL_STRIDED.make().backbone.double()
    own = {n.removeprefix("backbone."): v for n, v in meta.items() if n.startswith("backbone.")}
    backbone.load_state_dict(own)
    with torch.no_grad():
        found: Array = backbone(x).numpy()
    return found


def slope(function: Callable[[Params], Tensor], at: Params, direction: Params, size: float = 1e-6) -> float:
    """Central difference of a function along a direction."""
    up, down = (function({n: v + sign * size * direction[n] for n, v in at.items()}) for sign in (1, -1))
    return float(up - down) / (2 * size)


def directions(at: Params, only: str = "", seed: int = 0) -> Params:
    """Random numbers for the parameters whose names start so, zeros for the others."""
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.randn(v.shape, generator=generator, dtype=v.dtype) * float(n.startswith(only)) for n, v in at.items()
    }


def context(steps: int, network: PaperNetwork = SMALL_STRIDED) -> TaskContext:
    """What a loss is told of tasks with so many inner steps."""
    return network.context(steps, SHOTS)
