"""BOIL: the body adapts and the head does not (Oh et al. 2021, arXiv 2008.08882)."""

from collections.abc import Iterable

from fewshot_km.learners.maml import MAML


class BOIL(MAML):
    """BOIL: MAML whose inner learning rate is zero for the head, which the outer loop trains."""

    def adapted_names(self) -> Iterable[str]:
        """What MAML adapts, without the head."""
        head = set(self.head_names())
        return [name for name in super().adapted_names() if name not in head]
