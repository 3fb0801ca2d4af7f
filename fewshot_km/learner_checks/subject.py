"""The learner under test, built for small tasks, and called as the suite calls it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.data.episodes import Episode
from fewshot_km.errors import describe_error
from fewshot_km.learner_checks.check_report import Fault
from fewshot_km.learner_checks.source_places import place_of_error, place_of_method
from fewshot_km.learners import InnerLoop, Learner, Params, Task
from fewshot_km.learners.modes import evaluating
from fewshot_km.models import NETWORKS, build_network
from fewshot_km.plugins.boundary import plugin_code

WAYS, SHOTS, QUERIES = 5, 2, 3  # small, and all different, so that no two can be taken for one another
IMAGE = (1, 28, 28)  # Omniglot's
STEPS = 2  # inner steps: the second one starts from adapted parameters


def make_task(
    ways: int = WAYS,
    shots: int = SHOTS,
    queries: int = QUERIES,
    image: tuple[int, int, int] = IMAGE,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """A task whose classes are coarse random patterns under noise, so that each image looks like its class."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = image

    def images(of_class: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(ways).repeat_interleave(of_class)[torch.randperm(ways * of_class, generator=generator)]
        noise = torch.rand(len(labels), channels, height, width, generator=generator)
        return (0.7 * patterns[labels] + 0.3 * noise).to(dtype), labels

    coarse = torch.rand(ways, channels, 5, 5, generator=generator).round()
    patterns = F.interpolate(coarse, (height, width))
    return Task(*images(shots), *images(queries))


def episode_of(tasks: list[Task]) -> Episode:
    """The tasks as backends take them."""
    return Episode(*(torch.stack(tensors) for tensors in zip(*tasks, strict=True)))


def moved(task: Task, device: str) -> Task:
    """The task on a device."""
    return Task(*(tensor.to(device) for tensor in task))


@dataclass(frozen=True)
class Subject:
    """A learner's factory, and the network and inner loop that it is built with.

    factory          (make_network, inner) -> learner
    network          name of a network; `network_options` of it
    inner            what the factory is given
    """

    name: str
    factory: Callable[..., Learner]
    network: str
    network_options: Mapping[str, Any]
    inner: InnerLoop
    made: list[nn.Module] = field(default_factory=list)  # networks that `build` made last

    @cached_property
    def variants(self) -> dict[str, "Subject"]:
        """The subject by the norm of its network: those that say more about a learner stand last."""
        known = NETWORKS.options(self.network, self.network_options)
        if "norm" not in known or "norm" in self.network_options:
            return {"": self}
        return {
            f"norm = {norm}": replace(self, network_options={**self.network_options, "norm": norm}, made=[])
            for norm in ("batch", "group")
        }

    @cached_property
    def usual_variant(self) -> "Subject":
        """The variant with the norm that the network has unless it is told otherwise."""
        return next(iter(self.variants.values()))

    @cached_property
    def plain_variant(self) -> "Subject":
        """The variant in which images do not see one another in the network, where there is one."""
        return list(self.variants.values())[-1]

    def build(
        self, ways: int = WAYS, image: tuple[int, int, int] = IMAGE, *, dropout: float = 0.0, seed: int = 0
    ) -> Learner:
        """A learner whose networks are drawn from `seed`, with dropout behind their backbone."""
        self.made.clear()

        def make_network() -> nn.Module:
            network = build_network(self.network, self.network_options, image, ways)
            if dropout:  # in a way that leaves the names of the other modules as they are
                network.backbone.add_module("dropout_of_check", nn.Dropout(dropout))
                network.backbone.register_forward_hook(lambda module, _, features: module.dropout_of_check(features))
            self.made.append(network)
            return network

        with torch.random.fork_rng(devices=[]), plugin_code(self._say("its factory"), passes=()):
            torch.manual_seed(seed)
            return self.factory(make_network, self.inner)

    def init(self, learner: Learner, seed: int = 0, dtype: torch.dtype = torch.float32) -> Params:
        """Meta-parameters in a precision."""
        with plugin_code(self._say("init()", learner, "init"), passes=()):
            meta = learner.init(seed)
        return {name: value.to(dtype) for name, value in meta.items()} if dtype != torch.float32 else meta

    def adapt(self, learner: Learner, meta: Params, task: Task, steps: int = STEPS) -> Params:
        """The delta."""
        with plugin_code(self._say("adapt()", learner, "adapt"), passes=()):
            return learner.adapt(meta, task.support_x, task.support_y, steps=steps)

    def predict(self, learner: Learner, meta: Params, delta: Params, qx: Tensor) -> Tensor:
        """The logits."""
        with plugin_code(self._say("predict()", learner, "predict"), passes=()):
            return learner.predict(meta, delta, qx)

    def answer(self, learner: Learner, meta: Params, task: Task) -> Tensor:
        """The logits at test, after adapting, from copies that the learner may spoil."""
        with torch.no_grad(), evaluating(learner):
            own = copied(meta)
            delta = self.adapt(learner, own, copied_task(task))
            return self.predict(learner, own, delta, task.query_x.clone())

    @cached_property
    def dtype(self) -> torch.dtype:
        """The precision in which comparisons are made: float64 where the learner can, else float32."""
        learner = self.build()
        try:
            logits = self.answer(learner, self.init(learner, dtype=torch.float64), make_task(dtype=torch.float64))
        except Fault:
            return torch.float32
        return torch.float64 if logits.dtype == torch.float64 else torch.float32

    def start(self, ways: int = WAYS) -> tuple[Learner, Params, Task]:
        """A learner, its meta-parameters and a task, in the precision in which comparisons are made."""
        learner = self.build(ways)
        return learner, self.init(learner, dtype=self.dtype), make_task(ways, dtype=self.dtype)

    def _say(self, call: str, learner: Learner | None = None, method: str = "") -> Callable[[BaseException], Fault]:
        def say(error: BaseException) -> Fault:
            where = place_of_error(error) or (place_of_method(learner, method) if learner else "")
            return Fault(f"{call} raised {describe_error(error)[:300]}", where, "mend that line")

        return say


def copied(params: Params) -> Params:
    """A copy of the dictionary and of its tensors."""
    return {name: value.clone() for name, value in params.items()}


def copied_task(task: Task) -> Task:
    """A copy of its tensors."""
    return Task(task.support_x.clone(), task.support_y.clone(), task.query_x.clone(), task.query_y.clone())


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference of two tensors of one shape, relative to how much `b` varies; rounding counts as none.

    Closed forms and inner loops magnify rounding: by 1e-6 in float64 and by 1e-2 in float32 nothing differs.
    """
    apart = float((a - b).abs().max())
    size = float((b - b.mean()).abs().max()) + torch.finfo(b.dtype).eps * float(b.abs().max())
    close = 1e-6 if b.dtype == torch.float64 else 1e-2
    relative = apart / size if size else float(apart > 0)
    return 0.0 if relative <= close else relative


def small_options(network: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a network with few filters, where it takes their number and it is not given."""
    known = NETWORKS.options(network, options)
    return {**({"filters": FILTERS} if "filters" in known else {}), **options}


FILTERS = 8  # the least that group norm takes
