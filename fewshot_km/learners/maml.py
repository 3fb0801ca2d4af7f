"""MAML: every weight adapts (Finn et al. 2017)."""

from collections.abc import Iterable

from fewshot_km.learners.base import GradientLearner, NetworkFactory
from fewshot_km.learners.learner_registry import MAML_NORM_AFFINE, InnerLoop
from fewshot_km.models.backbone_registry import AffineChoice
from fewshot_km.models.norms import norm_parameter_names


class MAML(GradientLearner):
    """MAML: the whole network adapts.

    norm_affine  the norm parameters that adapt with it: none (as in MAML's code), bias or full
    """

    def __init__(
        self, make_network: NetworkFactory, inner: InnerLoop, norm_affine: AffineChoice = MAML_NORM_AFFINE
    ) -> None:
        self.norm_affine = norm_affine
        super().__init__(make_network, inner)

    def adapted_names(self) -> Iterable[str]:
        """Convolutions, biases and head, and the chosen norm parameters."""
        kept = set(norm_parameter_names(self.network)) - set(norm_parameter_names(self.network, self.norm_affine))
        return [name for name, _ in self.network.named_parameters() if name not in kept]
