"""Prototypical networks refined by soft k-means on unlabelled images (Ren et al. 2018, arXiv 1803.00676)."""

from typing import ClassVar

from torch import Tensor

from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import NetworkFactory, Params
from fewshot_km.learners.features import FeatureLearner, class_means, squared_distances
from fewshot_km.learners.learner_registry import SOFT_KMEANS_REFINEMENTS


class SoftKMeans(FeatureLearner):
    """Soft k-means whose unlabelled images are the queries of the call: the scores of a query depend on the others.

    refinements  times that the prototypes are computed anew

    The paper has unlabelled images beside the queries; its clusters for distractors and its masks are left out.
    """

    looks_at_queries: ClassVar[bool] = True

    def __init__(self, make_network: NetworkFactory, refinements: int = SOFT_KMEANS_REFINEMENTS) -> None:
        if refinements < 0:
            raise ConfigError(f"soft-kmeans cannot refine {refinements} times")
        self.refinements = refinements
        super().__init__(make_network)

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:  # noqa: ARG002
        """Prototypes [N, F], and how many images [N] each is the mean of."""
        return {"prototypes": class_means(features, labels), "images": labels.sum(0)}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:  # noqa: ARG002
        """Minus the squared distances [M, N] to refined prototypes, in which query j counts z_jc in class c (Eq. 3)."""
        images = delta["images"][:, None]
        prototypes = delta["prototypes"]
        for _ in range(self.refinements):
            z = (-squared_distances(features, prototypes)).softmax(-1)
            prototypes = (images * delta["prototypes"] + z.T @ features) / (images + z.sum(0)[:, None])
        return -squared_distances(features, prototypes)
