"""Ways of running a learner's single-task functions over the task axis: same numbers, different speed and memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.nn import functional as F

from fewshot_km.accel.compiled import run_compiled
from fewshot_km.accel.fused.channels_last import episode_channels_last, kernels_channels_last
from fewshot_km.accel.fused.operations import FastOperations
from fewshot_km.data.episodes import Episode
from fewshot_km.learners.base import Learner, Params
from fewshot_km.learners.modes import evaluating

NOT_FINITE = -1  # no number of images, and so no accuracy: argmax would take NaN for an answer


@dataclass(frozen=True)
class Outcome:
    """The sum over T tasks of the gradient of their mean query loss; losses and accuracies of their queries [T]."""

    gradient: Params
    losses: Tensor
    accuracies: Tensor


@dataclass(frozen=True)
class Backend:
    """One way of running tasks.

    why            what it is good for
    outer_gradient (learner, meta, episode, steps) -> Outcome
    count_correct  (learner, meta, episode, steps) -> query images classified correctly after adapting, int64 [T];
                   NOT_FINITE for a task of which a logit is not finite
    at_once        whether memory grows with the tasks that are run at once
    compiles       whether the first outer gradient of so many tasks takes minutes
    """

    why: str
    outer_gradient: Callable[[Learner, Params, Episode, int], Outcome]
    count_correct: Callable[[Learner, Params, Episode, int], Tensor]
    at_once: bool = False
    compiles: bool = False


def plain_outer_gradient(learner: Learner, meta: Params, episode: Episode, steps: int) -> Outcome:
    """Task after task by autograd (MAML, Eq. 4): what every other backend is compared with."""
    leaves = {name: value.detach().requires_grad_() for name, value in meta.items()}
    total = {name: torch.zeros_like(value) for name, value in meta.items()}
    losses, accuracies = [], []
    for task in zip(*_tensors(episode), strict=True):
        loss, accuracy = _query_loss(learner, leaves, *task, steps=steps)
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient
        losses.append(loss.detach())
        accuracies.append(accuracy.detach())
    return Outcome(total, torch.stack(losses), torch.stack(accuracies))


@torch.no_grad()
def plain_count_correct(learner: Learner, meta: Params, episode: Episode, steps: int) -> Tensor:
    """Task after task; what they adapt by keeps no second-order graph."""
    tasks = zip(*_tensors(episode), strict=True)
    with evaluating(learner):
        return torch.stack([_correct(learner, meta, *task, steps=steps) for task in tasks])


def loop_outer_gradient(learner: Learner, meta: Params, episode: Episode, steps: int) -> Outcome:
    """As the plain one, with images laid out channels-last and fast second derivatives."""
    with FastOperations(next(iter(meta.values())).dtype):
        found = plain_outer_gradient(learner, kernels_channels_last(meta), episode_channels_last(episode), steps)
    return Outcome({name: g.contiguous() for name, g in found.gradient.items()}, found.losses, found.accuracies)


def loop_count_correct(learner: Learner, meta: Params, episode: Episode, steps: int) -> Tensor:
    """As the plain one, with images laid out channels-last and precise statistics for them."""
    with FastOperations(next(iter(meta.values())).dtype):
        return plain_count_correct(learner, kernels_channels_last(meta), episode_channels_last(episode), steps)


def vmap_outer_gradient(learner: Learner, meta: Params, episode: Episode, steps: int) -> Outcome:
    """All tasks at once: `vmap(grad(task))`.

    The other order, `grad(mean(vmap(task)))`, gives wrong second-order gradients through torch's native batch norm.
    """

    return Outcome(*_all_at_once(learner, meta, episode, steps))


def compiled_outer_gradient(learner: Learner, meta: Params, episode: Episode, steps: int) -> Outcome:
    """As vmap, compiled into one program."""
    return Outcome(*run_compiled(_all_at_once, learner, meta, episode, steps))


@torch.no_grad()
def vmap_count_correct(learner: Learner, meta: Params, episode: Episode, steps: int) -> Tensor:
    """All tasks at once."""

    def correct(*task: Tensor) -> Tensor:
        return _correct(learner, meta, *task, steps=steps)

    with evaluating(learner):
        result: Tensor = vmap(correct)(*_tensors(episode))
    return result


BACKENDS: dict[str, Backend] = {
    "plain": Backend(
        "task after task; the reference that the others are tested against", plain_outer_gradient, plain_count_correct
    ),
    "fused": Backend(
        "task after task; batch norm, pooling and ReLU in one go, fast second derivatives: for most networks on a CPU",
        loop_outer_gradient,
        loop_count_correct,
    ),
    "vmap": Backend(
        "all tasks at once: the faster one for small networks and on a GPU; takes the memory of all tasks",
        vmap_outer_gradient,
        vmap_count_correct,
        at_once=True,
    ),
    "compiled": Backend(
        "training as vmap, compiled for minutes before the first step: the fastest one for long trainings of small "
        "networks; testing is vmap's",
        compiled_outer_gradient,
        vmap_count_correct,
        at_once=True,
        compiles=True,
    ),
}


def _tensors(episode: Episode) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return episode.support_x, episode.support_y, episode.query_x, episode.query_y


def _all_at_once(learner: Learner, meta: Params, episode: Episode, steps: int) -> tuple[Params, Tensor, Tensor]:
    def query_loss(meta: Params, *task: Tensor) -> tuple[Tensor, Tensor]:
        return _query_loss(learner, meta, *task, steps=steps)

    per_task = vmap(grad_and_value(query_loss, has_aux=True), in_dims=(None, 0, 0, 0, 0))
    gradients, (losses, accuracies) = per_task(meta, *_tensors(episode))
    return {name: g.sum(0) for name, g in gradients.items()}, losses.detach(), accuracies


def _query_loss(
    learner: Learner, meta: Params, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor, *, steps: int
) -> tuple[Tensor, Tensor]:
    """Query loss and accuracy of one task after adapting."""
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=steps), qx)
    return F.cross_entropy(logits, qy), (logits.argmax(-1) == qy).to(logits.dtype).mean()


def _correct(learner: Learner, meta: Params, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor, *, steps: int) -> Tensor:
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=steps), qx)
    return torch.where(logits.isfinite().all(), (logits.argmax(-1) == qy).sum(), NOT_FINITE)
