"""ANIL: almost no inner loop (Raghu et al. 2020)."""

from collections.abc import Iterable

from fewshot_km.learners.base import GradientLearner, register


@register("anil")
class ANIL(GradientLearner):
    """ANIL: only the head adapts."""

    def adapted_names(self) -> Iterable[str]:
        """Weight and bias of the head."""
        return self.head_names()
