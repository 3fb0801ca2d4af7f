"""The backends by name. All compute the same numbers; they differ in speed and memory."""

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from fewshot_km.accel.compiled import run_compiled
from fewshot_km.accel.fused.channels_last import episode_channels_last, kernels_channels_last
from fewshot_km.accel.fused.fast_operations import fast_operations
from fewshot_km.data.episodes import Episode
from fewshot_km.learners.base import Learner, Params, Task, TaskContext, stacked
from fewshot_km.learners.modes import evaluating
from fewshot_km.training.plain import (
    PLAIN,
    Backend,
    OuterGradient,
    count_correct,
    loss_and_accuracy,
    plain_count_correct,
    plain_outer_gradient,
)


def fused_outer_gradient(learner: Learner, meta: Params, episode: Episode, context: TaskContext) -> OuterGradient:
    """The plain loop with channels-last images and fast operations."""
    with fast_operations(learner, _dtype(meta)):
        found = plain_outer_gradient(learner, kernels_channels_last(meta), episode_channels_last(episode), context)
    return OuterGradient({name: g.contiguous() for name, g in found.gradient.items()}, found.losses, found.accuracies)


def fused_count_correct(learner: Learner, meta: Params, episode: Episode, steps: int) -> Tensor:
    """The plain loop with channels-last images and fast operations."""
    with fast_operations(learner, _dtype(meta)):
        return plain_count_correct(learner, kernels_channels_last(meta), episode_channels_last(episode), steps)


def vmap_outer_gradient(learner: Learner, meta: Params, episode: Episode, context: TaskContext) -> OuterGradient:
    """All tasks at once: `vmap(grad(task))`.

    The other order, `grad(mean(vmap(task)))`, gives wrong second-order gradients through torch's native batch norm.
    """

    def loss(meta: Params, task: Task) -> tuple[Tensor, Tensor]:
        return loss_and_accuracy(learner, meta, task, context)

    per_task = vmap(grad_and_value(loss, has_aux=True), in_dims=(None, 0))
    gradients, (losses, accuracies) = per_task(meta, stacked(episode))
    return OuterGradient({name: g.sum(0) for name, g in gradients.items()}, losses.detach(), accuracies)


@torch.no_grad()
def vmap_count_correct(learner: Learner, meta: Params, episode: Episode, steps: int) -> Tensor:
    """All tasks at once."""

    def correct(task: Task) -> Tensor:
        return count_correct(learner, meta, task, steps)

    with evaluating(learner):
        result: Tensor = vmap(correct)(stacked(episode))
    return result


def compiled_outer_gradient(learner: Learner, meta: Params, episode: Episode, context: TaskContext) -> OuterGradient:
    """The vmapped step, compiled into one program."""
    return run_compiled(vmap_outer_gradient, learner, meta, episode, context)


_BACKENDS = (
    PLAIN,
    Backend(
        "fused",
        "task after task; batch norm, pooling and ReLU in one go, fast second derivatives: for most networks on a CPU",
        fused_outer_gradient,
        fused_count_correct,
    ),
    Backend(
        "vmap",
        "all tasks at once: the faster one for small networks and on a GPU; takes the memory of all tasks",
        vmap_outer_gradient,
        vmap_count_correct,
        at_once=True,
    ),
    Backend(
        "compiled",
        "training as vmap, compiled for minutes before the first step: the fastest one for long trainings of small "
        "networks; testing is vmap's",
        compiled_outer_gradient,
        vmap_count_correct,
        at_once=True,
        compiles=True,
    ),
)
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _BACKENDS}


def _dtype(meta: Params) -> torch.dtype:
    return next(iter(meta.values())).dtype
