"""Checks that a learner keeps to its contract: at a cell's first episode, and of its meta-parameters at every test.

A learner that breaks it would otherwise give a wrong number without an error: it may return too many logits, or change
the meta-parameters while they are tested.
"""

import inspect

import torch
from torch import Tensor

from fewshot_km.data.episodes import Episode
from fewshot_km.errors import ContractError
from fewshot_km.learners.base import Learner, Params, TaskContext, task_loss, tasks_of
from fewshot_km.learners.learner_registry import LEARNERS
from fewshot_km.learners.modes import evaluating


def say_learner(learner: object) -> str:
    """How a message calls a learner: ours by its name, another one by its class and file."""
    kind = type(learner)
    if kind.__module__.split(".")[0] == __name__.split(".")[0]:
        name = kind.__module__.rpartition(".")[2].replace("_", "-")  # a learner has a file of its name
        return f"learner '{name if name in LEARNERS else kind.__qualname__}'"
    try:
        return f"{kind.__qualname__} in {inspect.getfile(kind)}"
    except (TypeError, OSError):  # a class without a file
        return f"{kind.__module__}.{kind.__qualname__}"


def initial_meta(learner: Learner, seed: int) -> Params:
    """The learner's `init(seed)`; raises ContractError where that is no dict of float32 tensors."""
    meta = learner.init(seed)
    wrong = _not_tensors(meta) or next(
        (f"{value.dtype} for '{name}'" for name, value in meta.items() if value.dtype != torch.float32), ""
    )
    if wrong or not meta:
        raise ContractError(
            f"{say_learner(learner)}: init() returned {wrong or 'nothing'}: return a dict of float32 tensors"
        )
    return meta


def check_contract(learner: Learner, meta: Params, train: Episode, test: Episode, *, steps: tuple[int, int]) -> None:
    """Run one training task and one test task plainly; `steps` are those of training and of testing.

    Raises ContractError for a delta that is no dict of tensors, for logits of another shape, precision or device than
    [M, N] of M images and N ways, for a `task_loss` that returns no loss and logits, and for meta-parameters or images
    that are changed in place.
    """
    with torch.random.fork_rng(devices=[train.query_x.device] if train.query_x.is_cuda else []):
        leaves = {name: value.detach().requires_grad_() for name, value in meta.items()}
        with torch.enable_grad():
            _check_task(learner, leaves, train, steps[0], "training")
        with torch.no_grad(), evaluating(learner):
            _check_task(learner, meta, test, steps[1], "testing")


def _check_task(learner: Learner, meta: Params, episode: Episode, steps: int, purpose: str) -> None:
    sx, sy, qx = episode.support_x[0], episode.support_y[0], episode.query_x[0]
    images = {"support": sx, "query": qx}
    meta_before, images_before = kept(meta), kept(images)
    try:
        delta = learner.adapt(meta, sx, sy, steps=steps)
        if wrong := _not_tensors(delta):
            raise ContractError(f"{say_learner(learner)}: adapt() returned {wrong}: return a dict of tensors")
        logits = learner.predict(meta, delta, qx)
        outcome = _own_loss(learner, meta, episode, steps) if purpose == "training" else None
    except RuntimeError as error:
        if "leaf Variable that requires grad" in str(error):  # torch notices it where a gradient is wanted
            raise ContractError(say_changed(learner, "meta-parameters", purpose)) from error
        raise
    for what, before, after in (("meta-parameters", meta_before, meta), ("images", images_before, images)):
        if name := changed(before, after):
            raise ContractError(say_changed(learner, f"{what} ('{name}')", purpose))
    ways = int(sy.max()) + 1
    if wrong := _not_logits(logits, qx, ways):
        raise ContractError(f"{say_learner(learner)}: predict() returned {wrong}")
    if outcome is not None and (wrong := _not_an_outcome(outcome, qx, ways)):
        raise ContractError(f"{say_learner(learner)}: task_loss() returned {wrong}")


def _own_loss(learner: Learner, meta: Params, episode: Episode, steps: int) -> object:
    """The result of the learner's own `task_loss` on the episode's first task; None where it has none."""
    if not hasattr(learner, "task_loss"):
        return None
    task = tasks_of(episode)[0]
    return task_loss(learner, meta, task, TaskContext.of(task, steps, iteration=1))


def _not_an_outcome(found: object, images: Tensor, ways: int) -> str:
    """What it is instead of a scalar loss and logits, in a few words; "" where it is right."""
    if not (isinstance(found, tuple) and len(found) == 2):
        return f"a {type(found).__name__}: return TaskOutcome(loss, logits)"
    loss, logits = found
    if not (isinstance(loss, Tensor) and loss.ndim == 0):
        shape = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        return f"{shape} as the loss: return a scalar tensor"
    return _not_logits(logits, images, ways)


def _not_tensors(found: object) -> str:
    """What it is instead of a dict of tensors, in a few words; "" where it is one."""
    if not isinstance(found, dict):
        return f"a {type(found).__name__}"
    for name, value in found.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            return f"a dict with a {type(value).__name__} for {name!r}"
    return ""


def _not_logits(found: object, images: Tensor, ways: int) -> str:
    """What it is instead of logits, in a few words; "" where it is right."""
    if not isinstance(found, Tensor):
        return f"a {type(found).__name__}: return a tensor of logits"
    wanted = [len(images), ways]
    if list(found.shape) != wanted:
        return f"logits {list(found.shape)} for {len(images)} images and {ways} ways: return {wanted}"
    if (found.dtype, found.device) != (images.dtype, images.device):
        return (
            f"logits of {found.dtype} on {found.device} for images of {images.dtype} on {images.device}: keep to these"
        )
    return ""


def kept(tensors: Params) -> Params:
    """A copy, for a later comparison by `changed`."""
    return {name: value.detach().clone() for name, value in tensors.items()}


def changed(before: Params, tensors: Params) -> str:
    """The first name whose tensor has changed, or "" where none has."""

    def same(a: Tensor, b: Tensor) -> bool:
        return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)

    names = dict.fromkeys([*before, *tensors])
    return next((n for n in names if not (n in before and n in tensors and same(before[n], tensors[n]))), "")


def say_changed(learner: Learner, what: str, purpose: str) -> str:
    """The message for a learner that changes tensors in place, with the mend."""
    return (
        f"{say_learner(learner)}: it changes {what} in place in {purpose}: build new tensors and a new dict, as in "
        "{name: value - lr * gradient[name] for name, value in delta.items()}"
    )
