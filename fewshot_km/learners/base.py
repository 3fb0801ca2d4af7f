"""The learner contract, and the one inner loop that gradient-based learners share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch._C._functorch import maybe_current_level
from torch.func import functional_call, grad
from torch.nn import functional as F

from fewshot_km.data.episodes import Episode
from fewshot_km.errors import PluginError
from fewshot_km.learners.learner_registry import LEARNERS, InnerLoop
from fewshot_km.models.norms import uses_batch_statistics

Params = dict[str, Tensor]
"""Tensors by flat dotted names, as `nn.Module.named_parameters()` gives them."""

NetworkFactory = Callable[[], nn.Module]
"""Returns a new network [M, C, H, W] -> logits [M, ways], initialised from torch's global generator."""


class Learner(Protocol):
    """A meta-learning algorithm for a single task, free of side effects; the engine runs many tasks at once.

    Nothing may be kept on `self` between calls: `adapt` and `predict` run under `torch.func` transforms. Networks that
    it holds are in evaluation mode at validation and test (see `fewshot_km.learners.modes`).

    A learner may also have `task_loss(meta, task, context) -> TaskOutcome`; see the function `task_loss`.
    """

    def init(self, seed: int) -> Params:
        """Meta-parameters: a pure function of the seed, float32, on the CPU."""

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        """One task's delta from its support images x [N*K, C, H, W] and labels y [N*K]: what this task must store."""

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        """Logits [M, N] of images x [M, C, H, W]."""


class Task(NamedTuple):
    """One task's images [M, C, H, W] and labels [M] in 0..N-1."""

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor


def stacked(episode: Episode) -> Task:
    """The tensors of all tasks of an episode, with the task axis in front."""
    return Task(episode.support_x, episode.support_y, episode.query_x, episode.query_y)


def tasks_of(episode: Episode) -> list[Task]:
    """The tasks of an episode, one by one."""
    return [Task(*tensors) for tensors in zip(*stacked(episode), strict=True)]


@dataclass(frozen=True)
class TaskContext:
    """What a loss may depend on beside the tensors.

    ways, shots   classes of a task, and support images of each
    image_shape   channels, height, width
    steps         inner steps
    iteration     of meta-training, from 1; None where no meta-training runs, as where speed is measured
    """

    ways: int
    shots: int
    image_shape: tuple[int, int, int]
    steps: int
    iteration: int | None = None

    @classmethod
    def of(cls, task: Task, steps: int, iteration: int) -> "TaskContext":
        """The context of a task in which every class has a label and as many support images as the others."""
        ways = int(task.support_y.max()) + 1
        _, channels, height, width = task.support_x.shape
        return cls(ways, len(task.support_y) // ways, (channels, height, width), steps, iteration)


class TaskOutcome(NamedTuple):
    """The loss that the outer loop descends on, a scalar, and the logits [M, N] of the query images."""

    loss: Tensor
    logits: Tensor


def task_loss(learner: Learner, meta: Params, task: Task, context: TaskContext) -> TaskOutcome:
    """The learner's own `task_loss`, or, where it has none, the queries' cross-entropy after adapting (MAML, Eq. 4)."""
    if own := getattr(learner, "task_loss", None):
        outcome: TaskOutcome = own(meta, task, context)
        return outcome
    delta = learner.adapt(meta, task.support_x, task.support_y, steps=context.steps)
    logits = learner.predict(meta, delta, task.query_x)
    return TaskOutcome(F.cross_entropy(logits, task.query_y), logits)


class GradientLearner(ABC):
    """A learner whose delta is a part of the network's parameters after some steps of gradient descent.

    A subclass that fills in `adapted_names` is complete. Every parameter, adapted or not, is meta-trained.
    """

    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        self._make_network = make_network
        self.inner = inner
        self.network = self.build_network()  # gives structure only: values always come from meta and delta
        self._adapted = self._checked_names(self.adapted_names())
        self._buffers = dict(self.network.named_buffers())

    @abstractmethod
    def adapted_names(self) -> Iterable[str]:
        """Names of the parameters of `self.network` that the inner loop adapts."""

    def build_network(self) -> nn.Module:
        """A newly initialised network; learners that reshape the network override this."""
        return self._make_network()

    def init(self, seed: int) -> Params:
        """The parameters of a new network, drawn from `seed` without touching the global generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.build_network()
        return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        """`steps` of gradient descent on the support set, from the meta-parameters (MAML, Finn et al. 2017, Eq. 1)."""
        return self.descend(meta, lambda delta: F.cross_entropy(self.predict(meta, delta, x), y), steps=steps)

    def descend(self, meta: Params, loss: Callable[[Params], Tensor], *, steps: int) -> Params:
        """The inner loop: `steps` of gradient descent on `loss`, a function of the delta, from the meta-parameters."""
        delta = {name: meta[name] for name in self._adapted}
        for _ in range(steps):
            gradient = self._inner_gradient(loss, delta)
            delta = {name: value.sub(gradient[name], alpha=self.inner.lr) for name, value in delta.items()}
        return delta

    def _inner_gradient(self, loss: Callable[[Params], Tensor], delta: Params) -> Params:
        """Gradient of the loss at delta, itself differentiable where an outer gradient will go through it."""
        if torch.compiler.is_compiling() or maybe_current_level() is not None:  # under torch.func
            gradient = grad(loss)(delta)
            return {name: g.detach() for name, g in gradient.items()} if self.inner.order == "first" else gradient
        second = self.inner.order == "second" and torch.is_grad_enabled()
        with torch.enable_grad():  # plain autograd has less overhead, and keeps no graph that nobody will use
            if not second:
                delta = {name: value.detach() for name, value in delta.items()}
            at = {n: value if value.requires_grad else value.detach().requires_grad_() for n, value in delta.items()}
            gradients = torch.autograd.grad(
                loss(at), list(at.values()), create_graph=second, allow_unused=True, materialize_grads=True
            )
        return dict(zip(at, gradients, strict=True))

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        """Logits [M, N] of the network with the task's delta in place of the meta-parameters."""
        buffers = {name: buffer.to(x.device) for name, buffer in self._buffers.items()}
        logits: Tensor = functional_call(self.network, {**buffers, **meta, **delta}, (x,))
        return logits

    @property
    def transductive(self) -> bool:
        """Whether the answer to a query depends on the other queries: where the norm's statistics are the batch's."""
        return uses_batch_statistics(self.network)

    def head_names(self) -> list[str]:
        """Names of the head's weight and bias."""
        return [name for name, _ in self.network.named_parameters() if name.startswith("head.")]

    def _checked_names(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        known = [name for name, _ in self.network.named_parameters()]
        unknown = sorted(wanted.difference(known))
        if unknown or not wanted:
            what = f"'{unknown[0]}', which the network does not have" if unknown else "no parameter at all"
            raise PluginError(f"{type(self).__name__}.adapted_names() names {what}; it has: {', '.join(known)}")
        return tuple(name for name in known if name in wanted)


def call_part(network: nn.Module, part: str, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """What a submodule makes of x, with those of `params` (named as the network names them) that are its own."""
    module = network.get_submodule(part)
    buffers = {name: buffer.to(x.device) for name, buffer in module.named_buffers()}
    own = {key.removeprefix(f"{part}."): value for key, value in params.items() if key.startswith(f"{part}.")}
    result: Tensor = functional_call(module, {**buffers, **own}, (x,))
    return result


def build_learner(name: str, options: Mapping[str, Any], make_network: NetworkFactory, inner: InnerLoop) -> Learner:
    """The registered learner `name` with its options.

    Raises UnknownNameError, or ConfigError for an option that the learner does not take or a value it refuses.
    """
    return LEARNERS.get(name)(make_network, inner, **LEARNERS.options(name, options))
