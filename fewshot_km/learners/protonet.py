"""Prototypical networks: the nearest class mean (Snell et al. 2017, arXiv 1703.05175)."""

from torch import Tensor

from fewshot_km.learners.base import Params
from fewshot_km.learners.features import FeatureLearner, class_means, squared_distances


class ProtoNet(FeatureLearner):
    """Prototypical networks with squared Euclidean distance, which the paper found better than cosine."""

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:  # noqa: ARG002
        """Prototypes [N, F]: the mean feature of each class (Eq. 1)."""
        return {"prototypes": class_means(features, labels)}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:  # noqa: ARG002
        """Minus the squared distances [M, N] to the prototypes (Eq. 2)."""
        return -squared_distances(features, delta["prototypes"])
