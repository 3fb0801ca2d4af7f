"""What learners share that classify by the features of support images instead of by an inner loop."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import NetworkFactory, Params, call_part
from fewshot_km.models.network import Network
from fewshot_km.models.norms import uses_batch_statistics


class FeatureLearner(ABC):
    """A learner without inner loop: it fits a classifier to the support features, and scores the query features by it.

    A subclass fills in `fit` and `score`. If it has meta-parameters of its own, `make_head` returns them as a module,
    which takes the place of the network's linear head: they are called `head.NAME`.
    """

    looks_at_queries: ClassVar[bool] = False
    """Whether `score` answers a query by the other queries of the call, too."""

    def __init__(self, make_network: NetworkFactory) -> None:
        self._make_network = make_network
        self.ways, self.network = self._build()  # gives structure only: values always come from meta

    @property
    def transductive(self) -> bool:
        """Whether the answer to a query depends on the other queries: through `score`, or through the batch's norm."""
        return self.looks_at_queries or uses_batch_statistics(self.network)

    @abstractmethod
    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:
        """The delta, from support features [S, F] and labels as rows of zeros and a one [S, N]."""

    @abstractmethod
    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:
        """Logits [M, N] of query features [M, F]."""

    def make_head(self, network: Network) -> nn.Module:  # noqa: ARG002 - for subclasses
        """A newly initialised module for the features of this network's backbone; this one has no parameters."""
        return nn.Identity()

    def init(self, seed: int) -> Params:
        """The parameters of a new backbone and head, drawn from `seed` without touching the global generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _, network = self._build()
        return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:  # noqa: ARG002 - there are none
        """The delta, from support images x [S, C, H, W] and labels y [S]."""
        features = self.features(meta, x)
        return self.fit(meta, features, one_hot(y, self.ways, features))

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        """Logits [M, N] of images x [M, C, H, W]."""
        return self.score(meta, delta, self.features(meta, x))

    def features(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Features [M, F] of images x [M, C, H, W] by the backbone."""
        return call_part(self.network, "backbone", params, x)

    def _build(self) -> tuple[int, nn.Module]:
        network = self._make_network()
        if not isinstance(network, Network):
            raise ConfigError(f"{type(self).__name__} needs a network with a backbone and a linear head")
        ways, head = network.head.out_features, self.make_head(network)
        network.head = head  # type: ignore[assignment]
        return ways, network


def one_hot(y: Tensor, ways: int, like: Tensor) -> Tensor:
    """Labels [S] as rows of zeros and a one [S, N], of the type of `like`. torch's own does not run under vmap."""
    return (y[:, None] == torch.arange(ways, device=y.device)).to(like.dtype)


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    """Mean features [N, F] of the classes, from features [S, F] and labels [S, N]."""
    return labels.T @ features / labels.sum(0)[:, None]


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances [M, N] of rows [M, F] and [N, F]."""
    return (a[:, None] - b).square().sum(-1)
