"""Learners of other kinds than ours that keep the contract; broken ones are made from them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fewshot_km.learners import ANIL, GradientLearner, InnerLoop, NetworkFactory, Params
from fewshot_km.models.norms import uses_batch_statistics


class Centroids:
    """Prototypical networks (Snell et al. 2017): logits are minus squared distances to the means of the classes."""

    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        self.make_network = make_network
        self.network = make_network()

    @property
    def transductive(self) -> bool:
        return uses_batch_statistics(self.network)

    def init(self, seed: int) -> Params:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone: Any = self.make_network().backbone
        return {name: value.detach().clone() for name, value in backbone.named_parameters()}

    def features(self, meta: Params, x: Tensor) -> Tensor:
        backbone: Any = self.network.backbone
        features: Tensor = functional_call(backbone, meta, (x,))
        return features

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        classes: Any = self.network.head
        of_class = F.one_hot(y, classes.out_features).to(x.dtype).T
        return {"centres": of_class @ self.features(meta, x) / of_class.sum(1, keepdim=True)}

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return -10 * (self.features(meta, x)[:, None] - delta["centres"]).square().sum(-1)


class Ridge(Centroids):
    """R2D2 (Bertinetto et al. 2019): ridge regression on the features, with meta-learned scale and strength."""

    def init(self, seed: int) -> Params:
        return {**super().init(seed), "log_strength": torch.zeros(()), "scale": torch.full((), 5.0)}

    def features(self, meta: Params, x: Tensor) -> Tensor:
        return super().features({n: v for n, v in meta.items() if n not in ("log_strength", "scale")}, x)

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        features, classes = self.features(meta, x), self.network.head
        assert isinstance(classes, nn.Linear)
        within = features @ features.T + meta["log_strength"].exp() * torch.eye(len(x), device=x.device, dtype=x.dtype)
        targets = F.one_hot(y, classes.out_features).to(x.dtype) - 1 / classes.out_features
        return {"weights": features.T @ torch.linalg.solve(within, targets)}

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return meta["scale"] * self.features(meta, x) @ delta["weights"]


class LearnedRates(GradientLearner):
    """Meta-SGD (Li et al. 2017): a learned rate for every number that adapts."""

    def adapted_names(self) -> list[str]:
        return [name for name, _ in self.network.named_parameters()]

    def init(self, seed: int) -> Params:
        meta = super().init(seed)
        return {**meta, **{f"rate.{name}": torch.full_like(value, self.inner.lr) for name, value in meta.items()}}

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        delta = {name: meta[name] for name in self.adapted_names()}
        for _ in range(steps):
            gradient = self._inner_gradient(lambda at: F.cross_entropy(self.predict(meta, at, x), y), delta)
            delta = {name: value - meta[f"rate.{name}"] * gradient[name] for name, value in delta.items()}
        return delta

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        return super().predict({n: v for n, v in meta.items() if not n.startswith("rate.")}, delta, x)


class FirstOrder(ANIL):
    """First-order ANIL that says so."""

    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        super().__init__(make_network, InnerLoop(inner.lr, "first"))
