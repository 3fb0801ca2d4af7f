"""The learners by name, with their options and defaults. Building one imports its module.

Reading a grid needs names and options only, and so does not wait for the import of torch, which takes seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fewshot_km.models.backbone_registry import AffineChoice
from fewshot_km.registry import Registry

if TYPE_CHECKING:
    from fewshot_km.learners.base import Learner, NetworkFactory

LearnerFactory = Callable[..., "Learner"]
"""(make_network, inner, **options) -> learner."""

LEARNERS: Registry[LearnerFactory] = Registry("learner", "learners", given=2)
register = LEARNERS.register


@dataclass(frozen=True)
class InnerLoop:
    """Adaptation by gradient descent on the mean cross-entropy of the support set.

    lr     inner learning rate. On the *mean* loss: rates stated for a loss summed over ways are N times smaller
    order  "second" differentiates through the inner steps; "first" treats their gradients as constants
    """

    lr: float
    order: Literal["first", "second"] = "second"  # what MAML, ANIL and KM report unless they say otherwise


MAML_NORM_AFFINE: AffineChoice = "none"  # MAML's code trains the norm's shift in the outer loop only
KM_NORM_AFFINE: AffineChoice = "full"  # the paper counts scale and shift among what a task stores


@register("maml")
def maml(make_network: "NetworkFactory", inner: InnerLoop, norm_affine: AffineChoice = MAML_NORM_AFFINE) -> "Learner":
    """MAML: the whole network adapts."""
    from fewshot_km.learners.maml import MAML

    return MAML(make_network, inner, norm_affine)


@register("anil")
def anil(make_network: "NetworkFactory", inner: InnerLoop) -> "Learner":
    """ANIL: only the head adapts."""
    from fewshot_km.learners.anil import ANIL

    return ANIL(make_network, inner)


@register("km-maml")
def km_maml(make_network: "NetworkFactory", inner: InnerLoop, norm_affine: AffineChoice = KM_NORM_AFFINE) -> "Learner":
    """KM-MAML: kernel modulators and the head adapt; the outer loop trains the kernels too."""
    from fewshot_km.learners.km_maml import KMMAML

    return KMMAML(make_network, inner, norm_affine)
