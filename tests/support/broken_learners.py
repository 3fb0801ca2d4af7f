"""Learners that each break one promise; BROKEN says which check must tell."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import maybe_current_level
from torch.func import functional_call, grad
from torch.nn import functional as F

from fewshot_km.learners import ANIL, MAML, InnerLoop, NetworkFactory, Params
from fewshot_km.training import plain
from tests.support.sound_learners import Centroids

BROKEN: list[tuple[str, Any]] = []


def breaks(check: str) -> Callable[[Any], Any]:
    def note(learner: Any) -> Any:
        BROKEN.append((check, learner))
        return learner

    return note


@breaks("builds")
class NeedsMore(ANIL):
    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        super().__init__(make_network)  # type: ignore[call-arg]


@breaks("builds")
class NoPredict:
    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        pass

    def init(self, seed: int) -> Params:
        return {"w": torch.zeros(3)}

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return {}


@breaks("init")
class ReturnsAList(ANIL):
    def init(self, seed: int) -> Any:
        return list(super().init(seed).values())


@breaks("init")
class DoublePrecision(ANIL):
    def init(self, seed: int) -> Params:
        return {name: value.double() for name, value in super().init(seed).items()}


@breaks("init")
class ReturnsParameters(ANIL):
    def init(self, seed: int) -> Params:
        return dict(self.build_network().named_parameters())


@breaks("init")
class NotANumber(ANIL):
    def init(self, seed: int) -> Params:
        return {**super().init(seed), "log_scale": torch.tensor(0.0).log()}


@breaks("init repeats")
class IgnoresTheSeed(ANIL):
    """It was drawn when it was built, from the global generator."""

    def init(self, seed: int) -> Params:
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}


@breaks("init repeats")
class HandsOutItsOwn(ANIL):
    """The outer loop changes what it gave before."""

    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        super().__init__(make_network, inner)
        self.given: dict[int, Params] = {}

    def init(self, seed: int) -> Params:
        return dict(self.given.setdefault(seed, super().init(seed)))


@breaks("seeds")
class OneSeed(ANIL):
    def init(self, seed: int) -> Params:
        return super().init(0)


@breaks("training")
class Crashes(ANIL):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return {"w": x[0] / (1 // (steps - steps))}


@breaks("training")
class ReturnsATuple(ANIL):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Any:
        return tuple(super().adapt(meta, x, y, steps=steps).values())


@breaks("testing")
class NeedsGradients(ANIL):
    """Under torch.no_grad() there is nothing that autograd could go through."""

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = {name: meta[name] for name in self.head_names()}
        for _ in range(steps):
            loss = F.cross_entropy(self.predict(meta, delta, x), y)
            gradients = torch.autograd.grad(loss, list(delta.values()), create_graph=True)
            delta = {n: v - self.inner.lr * g for (n, v), g in zip(delta.items(), gradients, strict=True)}
        return delta


@breaks("same at test")
class AdaptsInTrainingOnly(ANIL):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return super().adapt(meta, x, y, steps=steps if torch.is_grad_enabled() else 1)


@breaks("shape")
class OneClassMore(ANIL):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return F.pad(super().predict(meta, delta, x), (0, 1))


@breaks("precision")
class AlwaysDouble(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return super().predict(meta, delta, x).double()


@breaks("finite")
class LogOfZero(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return (1000 * super().predict(meta, delta, x)).softmax(-1).floor().log()


@breaks("device")
class MakesTensorsOnTheCPU(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        return logits + torch.zeros(logits.shape, dtype=logits.dtype)


@breaks("device")
class AnswersOnTheCPU(ANIL):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        return logits if logits.device.type == "cpu" else torch.zeros(logits.shape)


@breaks("repeats")
class NoisyAnswers(ANIL):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        return logits if torch.is_grad_enabled() else logits + 1e-4 * torch.randn_like(logits)


@breaks("repeats")
class CountsItsCalls(Centroids):
    calls = 0

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        self.calls += not torch.is_grad_enabled()
        return {n: v * (1 + 1e-9 * self.calls) for n, v in super().adapt(meta, x, y, steps=steps).items()}


@breaks("inputs")
class StepsInPlace(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = super().adapt(meta, x, y, steps=steps)
        if not torch.is_grad_enabled():
            next(iter(meta.values())).mul_(0.999)
        return delta


@breaks("inputs")
class NormalisesInPlace(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return super().predict(meta, delta, x.sub_(x.mean((1, 2, 3), keepdim=True)))


@breaks("inputs")
class AddsToMeta(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = super().adapt(dict(meta), x, y, steps=steps)
        meta["centres"] = delta["centres"]
        return delta

    def features(self, meta: Params, x: Tensor) -> Tensor:
        return super().features({n: v for n, v in meta.items() if n != "centres"}, x)


@breaks("memory")
class ReturnsMetaToo(ANIL):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return {**meta, **super().adapt(meta, x, y, steps=steps)}


@breaks("memory")
class ReturnsAView(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        name = next(name for name, value in meta.items() if value.ndim == 1)
        return {**super().adapt(meta, x, y, steps=steps), "bias": meta[name].detach()[1:]}


@breaks("random numbers")
class SeedsTheWorld(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        torch.manual_seed(0)
        return super().adapt(meta, x, y, steps=steps)


@breaks("random numbers")
class SeedsTheWorldInInit(ANIL):
    def init(self, seed: int) -> Params:
        torch.manual_seed(seed)
        return {name: value.detach().clone() for name, value in self.build_network().named_parameters()}


@breaks("tasks apart")
class KeepsCentresOnSelf(Centroids):
    """As many implementations do."""

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        self.centres = super().adapt(meta, x, y, steps=steps)
        return {}

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return super().predict(meta, self.centres, x)


@breaks("tasks apart")
class RemembersTheFirstTask(Centroids):
    first: Params | None = None

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = super().adapt(meta, x, y, steps=steps)
        if not torch.is_grad_enabled():
            self.first = self.first or delta
            delta = {n: 0.5 * (v + self.first[n]) for n, v in delta.items() if v.shape == self.first[n].shape} or delta
        return delta


@breaks("save and load")
class KeepsAScaleInInit(Centroids):
    scale = 1.0

    def init(self, seed: int) -> Params:
        self.scale = 2.0
        return super().init(seed)

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return self.scale * super().predict(meta, delta, x)


@breaks("save and load")
class SharesMemoryInTheDelta(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = super().adapt(meta, x, y, steps=steps)
        return {**delta, "again": delta["centres"].view_as(delta["centres"])}


@breaks("save and load")
class DrawsWhenBuilt(Centroids):
    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        super().__init__(make_network, inner)
        self.directions = torch.randn(1000)

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        return logits * (1 + self.directions[0].abs().to(logits.device))


@breaks("modes")
class Trains(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        before = self.network.training
        self.network.train()
        try:
            return super().predict(meta, delta, x)
        finally:
            self.network.train(before)


@breaks("modes")
class NeverTrains(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        self.network.eval()
        return super().adapt(meta, x, y, steps=steps)


@breaks("modes")
class HidesItsNetwork(Centroids):
    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        super().__init__(make_network, inner)
        backbone: Any = copy.copy(self.network).backbone
        self.call = lambda meta, x: functional_call(backbone, meta, (x,))
        self.is_transductive = super().transductive
        self.network.backbone = nn.Identity()

    @property
    def transductive(self) -> bool:
        return self.is_transductive

    def features(self, meta: Params, x: Tensor) -> Tensor:
        features: Tensor = self.call(meta, x)
        return features


@breaks("query labels")
class LooksAtItsCallers(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        callers = [found.frame for found in inspect.stack() if found.filename == plain.__file__]
        labels = next((frame.f_locals["task"].query_y for frame in callers if "task" in frame.f_locals), None)
        return logits if labels is None else logits + 10 * F.one_hot(labels, logits.shape[1])


@breaks("query order")
class AnswersByPosition(Centroids):
    """100 % where the queries come in the order of their classes."""

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        ways = logits.shape[1]
        places = torch.arange(len(x), device=x.device) * ways // len(x)
        return logits + 100 * (places[:, None] == torch.arange(ways, device=x.device))


@breaks("query order")
class SumsAlongQueries(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return super().predict(meta, delta, x).cumsum(0)


@breaks("support order")
class TakesTheSupportForSorted(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        head: Any = self.network.head
        return {"centres": self.features(meta, x).reshape(head.out_features, -1, head.in_features).mean(1)}


@breaks("support order")
class ForgetsOldImages(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return {n: v + 0.1 * self.features(meta, x)[-1] for n, v in super().adapt(meta, x, y, steps=steps).items()}


@breaks("queries alone")
class CentresQueries(Centroids):
    """Transductive, and does not say so."""

    def features(self, meta: Params, x: Tensor) -> Tensor:
        features = super().features(meta, x)
        return features - features.mean(0)


@breaks("queries alone")
class DeniesBatchNorm(ANIL):
    transductive = False  # type: ignore[assignment]


@breaks("ways")
class FiveWays(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return super().predict(meta, delta, x)[:, :5]


@breaks("class order")
class ComputesWithLabels(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = super().adapt(meta, x, y, steps=steps)
        return {"centres": delta["centres"] + 0.1 * (y.to(x.dtype)[:, None] * self.features(meta, x)).mean(0)}


@breaks("class order")
class PrefersHigherLabels(ANIL):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        return logits + 0.01 * torch.arange(logits.shape[1], device=x.device)


@breaks("shots")
class TwoShots(Centroids):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        by_class = self.features(meta, x[y.argsort(stable=True)])
        return {"centres": by_class.reshape(int(len(x) / 2), 2, -1).mean(1)}


@breaks("queries")
class QueriesByClass(Centroids):
    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        ways = logits.shape[1]
        return logits.reshape(ways, -1, ways).flatten(0, 1) if len(x) > ways else logits


@breaks("image size")
class GreySquares(Centroids):
    def features(self, meta: Params, x: Tensor) -> Tensor:
        return super().features(meta, x.reshape(len(x), 1, 28, 28))


@breaks("float64")
class AlwaysSingle(Centroids):
    def features(self, meta: Params, x: Tensor) -> Tensor:
        return super().features({n: v.float() for n, v in meta.items()}, x.float())


@breaks("gradients")
class Detaches(Centroids):
    def features(self, meta: Params, x: Tensor) -> Tensor:
        return super().features(meta, x).detach()


@breaks("second order")
class SecretlyFirstOrder(ANIL):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = {name: meta[name] for name in self.head_names()}
        for _ in range(steps):
            gradient = grad(lambda at: F.cross_entropy(self.predict(meta, at, x), y))(delta)
            delta = {name: value - self.inner.lr * gradient[name].detach() for name, value in delta.items()}
        return delta


@breaks("second order")
class ForgetsOneWay(MAML):
    """The support set's share of the first layer's gradient is lost."""

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        first = next(iter(meta))
        return super().adapt({**meta, first: meta[first].detach()}, x, y, steps=steps)


@breaks("backend fused")
class ReadsMemory(Centroids):
    """Right only for images whose channels lie one after the other in memory."""

    def features(self, meta: Params, x: Tensor) -> Tensor:
        return super().features(meta, x.as_strided(x.shape, (x[0].numel(), x[0, 0].numel(), x.shape[-1], 1)))


@breaks("backend vmap")
class AsksForTransforms(ANIL):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return super().adapt(meta, x, y, steps=1 if maybe_current_level() is not None else steps)


@breaks("learns")
class LooksAtNoSupport(ANIL):
    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return {}


@breaks("learns")
class MakesItWorse(Centroids):
    """Its gradient has the wrong sign."""

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = super().predict(meta, delta, x)
        return 2 * logits.detach() - logits
