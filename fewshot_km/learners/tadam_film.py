"""TADAM's conditioning: the task scales and shifts feature maps (Oreshkin et al. 2018, arXiv 1805.10123)."""

import torch
from torch import Tensor, nn

from fewshot_km.learners.base import NetworkFactory, Params, call_part
from fewshot_km.learners.features import FeatureLearner, class_means, one_hot, squared_distances
from fewshot_km.models.film import film_layers, filmed
from fewshot_km.models.network import Network

POST_MULTIPLIER = 0.1  # near the unconditioned network; not 0, where the task encoders would have no gradient


class TADAMFilm(FeatureLearner):
    """Prototypical networks with a learned metric scale and task-conditioned feature maps.

    The mean of a task's prototypes goes through a small network for each norm layer (TEN), which gives a scale
    1 + gamma_0 * gamma and a shift beta_0 * beta of its channels. Support and queries are then embedded with these.

    Left out: auxiliary co-training on all training classes, and the L2 penalty on gamma_0 and beta_0, which need a
    loss of the learner's own. Scale and shift act on the norm layer's output, before max-pooling.
    """

    def __init__(self, make_network: NetworkFactory) -> None:
        super().__init__(make_network)
        self.layers = film_layers(self.network)

    def make_head(self, network: Network) -> nn.Module:
        """A task encoder for each norm layer, and alpha."""
        features, layers = network.head.in_features, film_layers(network.backbone)
        head = nn.Module()
        head.encoders = nn.ModuleList(TaskEncoder(features, layer.channels) for layer in layers)
        head.scale = nn.Parameter(torch.tensor(1.0))  # with which the metric is that of prototypical networks
        return head

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:  # noqa: ARG002
        """Scale and shift [2, channels] for each norm layer, and the prototypes [N, F] of the network that has them."""
        plain = self.features(meta, x)
        labels = one_hot(y, self.ways, plain)
        task = class_means(plain, labels).mean(0)
        encoders = [f"head.encoders.{i}" for i in range(len(self.layers))]
        films = {f"film.{i}": call_part(self.network, name, meta, task) for i, name in enumerate(encoders)}
        return films | self.fit(meta, self.features(self._conditioned(meta, films), x), labels)

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        """Logits [M, N] in the conditioned network."""
        return self.score(meta, delta, self.features(self._conditioned(meta, delta), x))

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:  # noqa: ARG002
        """Prototypes [N, F]."""
        return {"prototypes": class_means(features, labels)}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:
        """-alpha * squared distances [M, N] to the prototypes."""
        return -meta["head.scale"] * squared_distances(features, delta["prototypes"])

    def _conditioned(self, meta: Params, films: Params) -> Params:
        conditioned = dict(meta)
        for i, layer in enumerate(self.layers):
            conditioned |= filmed(meta, layer, *films[f"film.{i}"].unbind())
        return conditioned


class TaskEncoder(nn.Module):
    """TEN for one layer: for scale and shift each a network of three layers, the second one with a skip connection."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(features, channels) for _ in range(2))
        self.second = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.last = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.post = nn.Parameter(torch.full((2, channels), POST_MULTIPLIER))

    def forward(self, task: Tensor) -> Tensor:
        """The task's features [F] -> scale and shift [2, channels]."""
        found = []
        for first, second, last in zip(self.first, self.second, self.last, strict=True):
            h = first(task).relu()
            found.append(last((h + second(h)).relu()))
        scale, shift = self.post * torch.stack(found)
        return torch.stack([1 + scale, shift])
