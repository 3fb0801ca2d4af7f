"""MAML on norm layers alone: implicit modulation, the part of KM-MAML without kernels (Hu & Liu 2022, Eq. 5-8)."""

from collections.abc import Iterable

from fewshot_km.learners.base import GradientLearner, NetworkFactory
from fewshot_km.learners.learner_registry import InnerLoop
from fewshot_km.models.norms import norm_parameter_names


class BNMAML(GradientLearner):
    """Scale and shift of every norm layer adapt; the outer loop trains everything.

    adapt_head  whether the head adapts, too: KM-MAML without its kernel modulators
    """

    def __init__(self, make_network: NetworkFactory, inner: InnerLoop, adapt_head: bool = False) -> None:
        self.adapt_head = adapt_head
        super().__init__(make_network, inner)

    def adapted_names(self) -> Iterable[str]:
        """(gamma, beta) of every norm layer, and the head where it adapts."""
        return [*norm_parameter_names(self.network), *(self.head_names() if self.adapt_head else [])]
