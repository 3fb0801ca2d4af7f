"""First-order MAML: the gradients of the inner loop are constants to the outer loop (Finn et al. 2017, Sec. 5.2)."""

from dataclasses import replace

from fewshot_km.learners.base import NetworkFactory
from fewshot_km.learners.learner_registry import MAML_NORM_AFFINE, InnerLoop
from fewshot_km.learners.maml import MAML
from fewshot_km.models.backbone_registry import AffineChoice


class FOMAML(MAML):
    """MAML without second derivatives, whatever order the settings name."""

    def __init__(
        self, make_network: NetworkFactory, inner: InnerLoop, norm_affine: AffineChoice = MAML_NORM_AFFINE
    ) -> None:
        super().__init__(make_network, replace(inner, order="first"), norm_affine)
