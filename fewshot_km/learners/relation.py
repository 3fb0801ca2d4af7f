"""Relation networks: a learned comparison of query and class (Sung et al. 2018, arXiv 1711.06025)."""

import torch
from torch import Tensor, nn

from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import NetworkFactory, Params, call_part
from fewshot_km.learners.features import FeatureLearner
from fewshot_km.learners.learner_registry import RELATION_HIDDEN
from fewshot_km.models.network import Network

LAST_HIDDEN = 8  # the paper's hidden fully connected layer


class RelationNet(FeatureLearner):
    """Relation networks on feature vectors, trained by cross-entropy.

    hidden  width of the first layer of the relation module

    Left out: the paper compares feature maps by convolutions, where a backbone gives vectors; and its scores are
    sigmoids, trained by mean squared error, where these are logits.
    """

    def __init__(self, make_network: NetworkFactory, hidden: int = RELATION_HIDDEN) -> None:
        if hidden < 1:
            raise ConfigError(f"relation needs a hidden layer of at least one unit, not {hidden}")
        self.hidden = hidden
        super().__init__(make_network)

    def make_head(self, network: Network) -> nn.Module:
        """The relation module g: pairs [M, N, 2F] -> scores [M, N, 1]."""
        return nn.Sequential(
            nn.Linear(2 * network.head.in_features, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, LAST_HIDDEN),
            nn.ReLU(),
            nn.Linear(LAST_HIDDEN, 1),
        )

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:  # noqa: ARG002
        """The sum [N, F] of the features of each class, as the paper has it for several shots."""
        return {"classes": labels.T @ features}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:
        """Scores [M, N] of every class concatenated with every query (Eq. 1)."""
        classes = delta["classes"]
        shape = (len(features), len(classes), classes.shape[-1])
        pairs = torch.cat([classes.expand(shape), features[:, None].expand(shape)], -1)
        return call_part(self.network, "head", meta, pairs).squeeze(-1)
