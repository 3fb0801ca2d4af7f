"""Matching networks: support labels weighted by similarity (Vinyals et al. 2016, arXiv 1606.04080)."""

from torch import Tensor
from torch.nn import functional as F

from fewshot_km.learners.base import Params
from fewshot_km.learners.features import FeatureLearner


class MatchingNet(FeatureLearner):
    """Matching networks without full context embeddings: support and queries go through the backbone alone."""

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:  # noqa: ARG002
        """Unit features [S, F] of the support images, and their labels [S, N]."""
        return {"support": F.normalize(features, dim=-1), "labels": labels}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:  # noqa: ARG002
        """log sum_i a(x, x_i) y_i [M, N], with a the softmax of the cosines (Eq. 1)."""
        attention = (F.normalize(features, dim=-1) @ delta["support"].T).softmax(-1)
        return (attention @ delta["labels"]).log()
