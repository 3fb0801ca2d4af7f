"""FEAT: prototypes that see one another (Ye et al. 2020, arXiv 1812.03664)."""

from torch import Tensor, nn

from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import NetworkFactory, Params, call_part
from fewshot_km.learners.features import FeatureLearner, class_means, squared_distances
from fewshot_km.learners.learner_registry import FEAT_TEMPERATURE
from fewshot_km.models.network import Network


class FEAT(FeatureLearner):
    """FEAT with its transformer: self-attention of one head over the prototypes of a task.

    temperature  what squared distances are divided by

    Left out: pre-training, the contrastive regulariser, and dropout.
    """

    def __init__(self, make_network: NetworkFactory, temperature: float = FEAT_TEMPERATURE) -> None:
        if temperature <= 0:
            raise ConfigError(f"feat needs a positive temperature, not {temperature}")
        self.temperature = temperature
        super().__init__(make_network)

    def make_head(self, network: Network) -> nn.Module:
        """The set-to-set function."""
        return SelfAttention(network.head.in_features)

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:
        """Adapted prototypes [N, F]."""
        return {"prototypes": call_part(self.network, "head", meta, class_means(features, labels))}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:  # noqa: ARG002
        """Minus the squared distances [M, N] to the adapted prototypes, divided by the temperature."""
        return -squared_distances(features, delta["prototypes"]) / self.temperature


class SelfAttention(nn.Module):
    """LayerNorm(x + W softmax(Q K^T / sqrt(F)) V) of a set x [N, F]; Q, K and V are linear without bias, W with one."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(features, features, bias=False) for _ in range(3))
        self.out = nn.Linear(features, features)
        self.norm = nn.LayerNorm(features)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_normal_(linear.weight)  # as the authors' code

    def forward(self, x: Tensor) -> Tensor:
        """[N, F] -> [N, F]."""
        attention = (self.query(x) @ self.key(x).T / x.shape[-1] ** 0.5).softmax(-1)
        result: Tensor = self.norm(x + self.out(attention @ self.value(x)))
        return result
