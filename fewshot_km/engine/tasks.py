"""A learner's single-task functions over the task axis: a plain loop, or all tasks at once by `torch.func.vmap`."""

from typing import Literal

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.nn import functional as F

from fewshot_km.episodes import Episode
from fewshot_km.learners.base import Learner, Params

Execution = Literal["vmap", "loop"]


def outer_gradient(
    learner: Learner, meta: Params, episode: Episode, *, steps: int, execution: Execution
) -> tuple[Params, Tensor, Tensor]:
    """Gradient of the mean query loss over T tasks with respect to the meta-parameters (MAML, Eq. 4).

    Returns the gradient, the query losses [T] and the query accuracies [T]. "loop" differentiates task after task and
    is the reference; "vmap" maps the per-task gradient, `vmap(grad(task))`. The other order, `grad(mean(vmap(task)))`,
    gives wrong second-order gradients through torch's native batch norm.
    """

    def query_loss(meta: Params, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> tuple[Tensor, Tensor]:
        delta = learner.adapt(meta, sx, sy, steps=steps)
        logits = learner.predict(meta, delta, qx)
        return F.cross_entropy(logits, qy), (logits.argmax(-1) == qy).to(logits.dtype).mean()

    tensors = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    if execution == "vmap":
        per_task = vmap(grad_and_value(query_loss, has_aux=True), in_dims=(None, 0, 0, 0, 0))
        gradients, (losses, accuracies) = per_task(meta, *tensors)
        return {name: g.mean(0) for name, g in gradients.items()}, losses.detach(), accuracies

    leaves = {name: value.detach().requires_grad_() for name, value in meta.items()}
    total = {name: torch.zeros_like(value) for name, value in meta.items()}
    loss_list, accuracy_list = [], []
    for task in zip(*tensors, strict=True):
        loss, accuracy = query_loss(leaves, *task)
        for name, g in zip(leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True):
            if g is not None:
                total[name] += g
        loss_list.append(loss.detach())
        accuracy_list.append(accuracy.detach())
    mean = {name: g / len(episode) for name, g in total.items()}
    return mean, torch.stack(loss_list), torch.stack(accuracy_list)


@torch.no_grad()
def count_correct(learner: Learner, meta: Params, episode: Episode, *, steps: int, execution: Execution) -> Tensor:
    """Query images classified correctly after adapting, int64 [T]; keeps no second-order graph."""

    def correct(sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> Tensor:
        delta = learner.adapt(meta, sx, sy, steps=steps)
        logits = learner.predict(meta, delta, qx)
        return ((logits.argmax(-1) == qy) & logits.isfinite().all(-1)).sum()  # argmax would take NaN for an answer

    tensors = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    if execution == "vmap":
        result: Tensor = vmap(correct)(*tensors)
        return result
    return torch.stack([correct(*task) for task in zip(*tensors, strict=True)])
