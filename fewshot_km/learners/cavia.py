"""CAVIA: a small context vector adapts, which conditions the network (Zintgraf et al. 2019, arXiv 1810.03642)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import GradientLearner, NetworkFactory, Params
from fewshot_km.learners.learner_registry import CAVIA_CONTEXT, CAVIA_LAYER, InnerLoop
from fewshot_km.models.film import film_layers, filmed


class CAVIA(GradientLearner):
    """CAVIA: the inner loop moves the context from zero; the parameters of the network stay as they are.

    context  numbers in the context
    layer    the norm layer, counted from 1 at the input, whose output is scaled and shifted by a linear map of it

    A context of zeros leaves the network as it is: the map's bias starts at ones for the scale and zeros for the shift,
    where the authors' code has torch's small random numbers. Scale and shift come before max-pooling instead of after
    it, which differs where the scale is negative. The paper's inner learning rate is 1.0.
    """

    def __init__(
        self, make_network: NetworkFactory, inner: InnerLoop, context: int = CAVIA_CONTEXT, layer: int = CAVIA_LAYER
    ) -> None:
        if context < 1:
            raise ConfigError(f"cavia needs a context of at least one number, not {context}")
        layers = film_layers(make_network())
        if not 1 <= layer <= len(layers):
            raise ConfigError(f"cavia: the network has norm layers 1 to {len(layers)}, and no layer {layer}")
        self.context, self.conditioned = context, layers[layer - 1]
        super().__init__(make_network, inner)

    def build_network(self) -> nn.Module:
        """The network with a context, and the linear map from it as `film`."""
        network = super().build_network()
        channels = self.conditioned.channels
        film = nn.Linear(self.context, 2 * channels)
        nn.init.kaiming_uniform_(film.weight, nonlinearity="linear")  # as the authors' code
        film.bias.data = torch.cat([torch.ones(channels), torch.zeros(channels)])
        network.film, network.context = film, nn.Parameter(torch.zeros(self.context))
        return network

    def adapted_names(self) -> Iterable[str]:
        """The context."""
        return ["context"]

    def init(self, seed: int) -> Params:
        """All but the context, whose start is zero in every task: the map's bias is trained in its place."""
        return {name: value for name, value in super().init(seed).items() if name != "context"}

    def descend(self, meta: Params, loss: Callable[[Params], Tensor], *, steps: int) -> Params:
        """The inner loop from a context of zeros."""
        return super().descend({**meta, "context": meta["film.weight"].new_zeros(self.context)}, loss, steps=steps)

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        """Logits [M, N] of the network whose layer the context scales and shifts."""
        scale, shift = F.linear(delta["context"], meta["film.weight"], meta["film.bias"]).chunk(2)
        return super().predict({**meta, **filmed(meta, self.conditioned, scale, shift)}, {}, x)
