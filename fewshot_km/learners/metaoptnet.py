"""MetaOptNet: a convex classifier as the head (Lee et al. 2019, arXiv 1904.03758)."""

import torch
from torch import Tensor, nn

from fewshot_km.learners.base import NetworkFactory, Params
from fewshot_km.learners.features import FeatureLearner
from fewshot_km.learners.learner_registry import METAOPTNET_HEAD, MetaOptNetHead
from fewshot_km.learners.r2d2 import ridge
from fewshot_km.models.network import Network

SVM_COST = 0.1  # C of the authors' code
RIDGE_REGULARISER = 50.0  # lambda of the authors' code
ITERATIONS = 100  # of the solver: 1e-6 of C from the solution at 5-way 5-shot, 1e-3 at 20-way 5-shot, or better
RELAXATION = 1.6  # over-relaxation between the 1.5 and 1.8 of Boyd et al. 2011, Sec. 3.4.3


class MetaOptNet(FeatureLearner):
    """MetaOptNet with the multi-class SVM of Crammer & Singer, or ridge regression; its scores have a learned scale.

    head  svm or ridge

    The paper solves the SVM's dual by an interior-point method and differentiates the optimality conditions; here
    autograd goes through a fixed number of ADMM iterations. Label smoothing and augmentation are left out.
    """

    def __init__(self, make_network: NetworkFactory, head: MetaOptNetHead = METAOPTNET_HEAD) -> None:
        self.head = head
        super().__init__(make_network)

    def make_head(self, network: Network) -> nn.Module:  # noqa: ARG002
        """The learned scale."""
        head = nn.Module()
        head.scale = nn.Parameter(torch.tensor(1.0))  # as the authors' code
        return head

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:  # noqa: ARG002
        """The weight [F, N] of a linear classifier without bias."""
        if self.head == "ridge":
            return {"weight": ridge(features, labels, features.new_tensor(RIDGE_REGULARISER))}
        return {"weight": features.T @ crammer_singer(features, labels)}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:
        """Scaled scores [M, N]."""
        return meta["head.scale"] * (features @ delta["weight"])


def crammer_singer(x: Tensor, y: Tensor) -> Tensor:
    """The dual variables A [S, N] of the SVM for X [S, F] and one-hot Y [S, N].

    They minimise tr(A^T (X X^T + I) A) / 2 - tr(A^T Y), where A <= C Y and every row of A sums to zero; I is the
    authors', to make the problem positive definite. ADMM alternates between the quadratic with the sums, whose minimum
    is a product with one inverse, and the bounds, which cut off.
    """
    unit = torch.eye(len(x), dtype=x.dtype, device=x.device)
    gram = x @ x.T + unit
    rho = gram.detach().norm().sqrt()  # near the geometric mean of the extreme eigenvalues; decides the speed alone
    inverse = torch.linalg.inv_ex(gram + rho * unit).inverse  # _ex: a GPU need not be asked whether it is singular
    summed = bounded = dual = torch.zeros_like(y)
    for _ in range(ITERATIONS):
        target = y + rho * (bounded - dual)
        summed = inverse @ (target - target.mean(1, keepdim=True))
        relaxed = RELAXATION * summed + (1 - RELAXATION) * bounded
        bounded = torch.minimum(relaxed + dual, SVM_COST * y)
        dual = dual + relaxed - bounded
    return summed
