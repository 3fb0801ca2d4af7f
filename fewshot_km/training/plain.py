"""The plain backend: task after task, by autograd. It is the reference that every other backend is compared with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fewshot_km.data.episodes import Episode
from fewshot_km.learners.base import Learner, Params, Task, TaskContext, task_loss, tasks_of
from fewshot_km.learners.modes import evaluating

NOT_FINITE = -1  # no number of images: argmax would take NaN for an answer


@dataclass(frozen=True)
class OuterGradient:
    """The gradient of the loss, summed over T tasks; losses [T] and query accuracies [T] of the tasks."""

    gradient: Params
    losses: Tensor
    accuracies: Tensor


@dataclass(frozen=True)
class Backend:
    """One way of running the T tasks of an episode.

    name           on the command line, in records and in tables
    why            what it is good for
    outer_gradient (learner, meta, episode, context) -> OuterGradient
    count_correct  (learner, meta, episode, inner steps) -> correctly classified query images of each task, int64 [T];
                   NOT_FINITE for a task with a logit that is not finite
    at_once        True where memory grows with the number of tasks that run at once
    compiles       True where the first outer gradient takes minutes
    """

    name: str
    why: str
    outer_gradient: Callable[[Learner, Params, Episode, TaskContext], OuterGradient]
    count_correct: Callable[[Learner, Params, Episode, int], Tensor]
    at_once: bool = False
    compiles: bool = False


def plain_outer_gradient(learner: Learner, meta: Params, episode: Episode, context: TaskContext) -> OuterGradient:
    """Sum the tasks' gradients of the loss with respect to the meta-parameters (MAML, Eq. 4)."""
    leaves = {name: value.detach().requires_grad_() for name, value in meta.items()}
    total = {name: torch.zeros_like(value) for name, value in meta.items()}
    losses, accuracies = [], []
    for task in tasks_of(episode):
        loss, accuracy = loss_and_accuracy(learner, leaves, task, context)
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient
        losses.append(loss.detach())
        accuracies.append(accuracy)
    return OuterGradient(total, torch.stack(losses), torch.stack(accuracies))


@torch.no_grad()
def plain_count_correct(learner: Learner, meta: Params, episode: Episode, steps: int) -> Tensor:
    """Adapt to each task and classify its query images, without a second-order graph."""
    with evaluating(learner):
        return torch.stack([count_correct(learner, meta, task, steps) for task in tasks_of(episode)])


PLAIN = Backend(
    "plain",
    "task after task; the reference that the others are tested against",
    plain_outer_gradient,
    plain_count_correct,
)


def loss_and_accuracy(learner: Learner, meta: Params, task: Task, context: TaskContext) -> tuple[Tensor, Tensor]:
    """A task's loss, which has a graph, and its query accuracy, which has none."""
    loss, logits = task_loss(learner, meta, task, context)
    return loss, (logits.argmax(-1) == task.query_y).to(logits.dtype).mean()


def count_correct(learner: Learner, meta: Params, task: Task, steps: int) -> Tensor:
    """Correctly classified query images of one task, int64; NOT_FINITE where a logit is not finite."""
    delta = learner.adapt(meta, task.support_x, task.support_y, steps=steps)
    logits = learner.predict(meta, delta, task.query_x)
    return torch.where(logits.isfinite().all(), (logits.argmax(-1) == task.query_y).sum(), NOT_FINITE)
