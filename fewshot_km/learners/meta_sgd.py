"""Meta-SGD: as MAML, with a meta-trained learning rate for each parameter (Li et al. 2017, arXiv 1707.09835)."""

from collections.abc import Callable

import torch
from torch import Tensor

from fewshot_km.learners.base import Params
from fewshot_km.learners.maml import MAML

RATES = "rates."  # before the names of the parameters that the rates belong to


class MetaSGD(MAML):
    """Meta-SGD: delta = theta - alpha * gradient (Eq. 2) with alpha as large as theta, of any sign, and meta-trained.

    Rates start at the inner learning rate, where the learner is MAML; the paper draws them from a range. It takes one
    step; where the settings ask for more, each has the same rates.
    """

    def init(self, seed: int) -> Params:
        """The parameters of a new network, and the rates of those that adapt."""
        meta = super().init(seed)
        return meta | {RATES + name: torch.full_like(meta[name], self.inner.lr) for name in self._adapted}

    def descend(self, meta: Params, loss: Callable[[Params], Tensor], *, steps: int) -> Params:
        """The inner loop with the rates of `meta`."""
        delta = {name: meta[name] for name in self._adapted}
        for _ in range(steps):
            gradient = self._inner_gradient(loss, delta)
            delta = {name: value - meta[RATES + name] * gradient[name] for name, value in delta.items()}
        return delta

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        """Logits [M, N] of the network, which has no rates."""
        return super().predict({n: v for n, v in meta.items() if not n.startswith(RATES)}, delta, x)
