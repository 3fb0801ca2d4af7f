"""KM-MAML: kernel modulators and head adapt, kernels stay frozen (Hu & Liu 2022, arXiv 2203.15297)."""

from collections.abc import Iterable

from torch import nn

from fewshot_km.learners.base import GradientLearner, NetworkFactory
from fewshot_km.learners.learner_registry import KM_NORM_AFFINE, InnerLoop
from fewshot_km.models.backbone_registry import AffineChoice
from fewshot_km.models.modulation import modulate, modulator_names
from fewshot_km.models.norms import norm_parameter_names


class KMMAML(GradientLearner):
    """KM-MAML: kernel modulators and the head adapt; the outer loop trains the kernels too.

    norm_affine  implicit modulation (paper Eq. 5-8): the norm parameters that adapt with them: full, bias or none
    """

    def __init__(
        self, make_network: NetworkFactory, inner: InnerLoop, norm_affine: AffineChoice = KM_NORM_AFFINE
    ) -> None:
        self.norm_affine = norm_affine
        super().__init__(make_network, inner)

    def build_network(self) -> nn.Module:
        """The network with a modulator on every convolution."""
        return modulate(super().build_network())

    def adapted_names(self) -> Iterable[str]:
        """U1 and U2 of every layer, the chosen norm parameters, and the head."""
        norm = norm_parameter_names(self.network, self.norm_affine)
        return [*modulator_names(self.network), *norm, *self.head_names()]
