"""ANIL: almost no inner loop (Raghu et al. 2020)."""

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional as F

from fewshot_km.learners.base import GradientLearner, Params, call_part
from fewshot_km.models.exact import is_exactly
from fewshot_km.models.network import Network


class ANIL(GradientLearner):
    """ANIL: only the head adapts."""

    def adapted_names(self) -> Iterable[str]:
        """Weight and bias of the head."""
        return self.head_names()

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        """The inner loop on the head; the backbone does not change, so the support set goes through it once.

        A subclass with its own `predict`, or a network other than `Network`, may compute its logits otherwise: these
        use the general inner loop.
        """
        if type(self).predict is not GradientLearner.predict or not is_exactly(self.network, Network):
            return super().adapt(meta, x, y, steps=steps)
        features = call_part(self.network, "backbone", meta, x)

        def loss(head: Params) -> Tensor:
            return F.cross_entropy(call_part(self.network, "head", head, features), y)

        return self.descend(meta, loss, steps=steps)
