"""R2-D2: ridge regression as the head, in closed form (Bertinetto et al. 2019, arXiv 1805.08136)."""

import math

import torch
from torch import Tensor, nn

from fewshot_km.errors import ConfigError
from fewshot_km.learners.base import NetworkFactory, Params
from fewshot_km.learners.features import FeatureLearner
from fewshot_km.learners.learner_registry import R2D2_REGULARISER, R2D2_SCALE
from fewshot_km.models.network import Network


class R2D2(FeatureLearner):
    """R2-D2: ridge regression of one-hot labels; its regulariser, and scale and bias of its scores, are meta-trained.

    regulariser  lambda at the start; learned as its logarithm, which keeps it positive
    scale        alpha at the start
    """

    def __init__(
        self, make_network: NetworkFactory, regulariser: float = R2D2_REGULARISER, scale: float = R2D2_SCALE
    ) -> None:
        if regulariser <= 0:
            raise ConfigError(f"r2d2 needs a positive regulariser, not {regulariser}")
        self.regulariser, self.scale = regulariser, scale
        super().__init__(make_network)

    def make_head(self, network: Network) -> nn.Module:  # noqa: ARG002
        """The learned numbers."""
        head = nn.Module()
        head.log_regulariser = nn.Parameter(torch.tensor(math.log(self.regulariser)))
        head.scale = nn.Parameter(torch.tensor(float(self.scale)))
        head.bias = nn.Parameter(torch.tensor(0.0))  # beta, as the authors' code
        return head

    def fit(self, meta: Params, features: Tensor, labels: Tensor) -> Params:
        """Weight [F, N] and bias [N]: the bias is the weight of a feature that is one everywhere."""
        with_one = torch.cat([features, torch.ones_like(features[:, :1])], 1)
        weight = ridge(with_one, labels, meta["head.log_regulariser"].exp())
        return {"weight": weight[:-1], "bias": weight[-1]}

    def score(self, meta: Params, delta: Params, features: Tensor) -> Tensor:
        """alpha * (features W + b) + beta, [M, N]."""
        return meta["head.scale"] * (features @ delta["weight"] + delta["bias"]) + meta["head.bias"]


def ridge(x: Tensor, y: Tensor, regulariser: Tensor) -> Tensor:
    """W [F, N] = X^T (X X^T + lambda I)^-1 Y of X [S, F] and Y [S, N]: a system of size S, by Woodbury's identity."""
    gram = x @ x.T + regulariser * torch.eye(len(x), dtype=x.dtype, device=x.device)
    dual: Tensor = torch.linalg.solve_ex(gram, y).result  # _ex: a GPU need not be asked whether it is singular
    return x.T @ dual
