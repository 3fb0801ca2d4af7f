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
CAVIA_CONTEXT = 100  # numbers in the context, as the paper's networks for mini-ImageNet have
CAVIA_LAYER = 3  # the authors' code conditions the third of four convolutions
SOFT_KMEANS_REFINEMENTS = 1  # the paper saw no gain from more
RELATION_HIDDEN = 64  # the filters of the paper's relation module
R2D2_REGULARISER = 50.0  # lambda of the authors' code
R2D2_SCALE = 10.0  # alpha of the authors' code for Omniglot
FEAT_TEMPERATURE = 32.0  # the authors' command for a four-conv network
MetaOptNetHead = Literal["svm", "ridge"]
METAOPTNET_HEAD: MetaOptNetHead = "svm"  # the paper's better one


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


@register("fomaml")
def fomaml(make_network: "NetworkFactory", inner: InnerLoop, norm_affine: AffineChoice = MAML_NORM_AFFINE) -> "Learner":
    """First-order MAML: as MAML, without second derivatives."""
    from fewshot_km.learners.fomaml import FOMAML

    return FOMAML(make_network, inner, norm_affine)


@register("meta-sgd")
def meta_sgd(
    make_network: "NetworkFactory", inner: InnerLoop, norm_affine: AffineChoice = MAML_NORM_AFFINE
) -> "Learner":
    """Meta-SGD: as MAML, with a meta-trained inner learning rate for each parameter."""
    from fewshot_km.learners.meta_sgd import MetaSGD

    return MetaSGD(make_network, inner, norm_affine)


@register("boil")
def boil(make_network: "NetworkFactory", inner: InnerLoop, norm_affine: AffineChoice = MAML_NORM_AFFINE) -> "Learner":
    """BOIL: the body adapts, the head does not."""
    from fewshot_km.learners.boil import BOIL

    return BOIL(make_network, inner, norm_affine)


@register("bn-maml")
def bn_maml(make_network: "NetworkFactory", inner: InnerLoop, adapt_head: bool = False) -> "Learner":
    """Norm layers adapt: implicit modulation alone."""
    from fewshot_km.learners.bn_maml import BNMAML

    return BNMAML(make_network, inner, adapt_head)


@register("nil")
def nil(make_network: "NetworkFactory", inner: InnerLoop) -> "Learner":
    """NIL: trained as ANIL; at test cosines to support features, without inner loop or head."""
    from fewshot_km.learners.nil import NIL

    return NIL(make_network, inner)


@register("cavia")
def cavia(
    make_network: "NetworkFactory", inner: InnerLoop, context: int = CAVIA_CONTEXT, layer: int = CAVIA_LAYER
) -> "Learner":
    """CAVIA: a context vector adapts, which scales and shifts one layer's feature maps."""
    from fewshot_km.learners.cavia import CAVIA

    return CAVIA(make_network, inner, context, layer)


@register("tadam-film")
def tadam_film(make_network: "NetworkFactory", _inner: InnerLoop) -> "Learner":
    """TADAM's conditioning: the task scales and shifts feature maps; nearest class mean."""
    from fewshot_km.learners.tadam_film import TADAMFilm

    return TADAMFilm(make_network)


@register("protonet")
def protonet(make_network: "NetworkFactory", _inner: InnerLoop) -> "Learner":
    """Prototypical networks: the nearest class mean."""
    from fewshot_km.learners.protonet import ProtoNet

    return ProtoNet(make_network)


@register("soft-kmeans")
def soft_kmeans(
    make_network: "NetworkFactory", _inner: InnerLoop, refinements: int = SOFT_KMEANS_REFINEMENTS
) -> "Learner":
    """Prototypical networks refined by soft k-means on the queries: transductive."""
    from fewshot_km.learners.soft_kmeans import SoftKMeans

    return SoftKMeans(make_network, refinements)


@register("matching")
def matching(make_network: "NetworkFactory", _inner: InnerLoop) -> "Learner":
    """Matching networks: support labels weighted by cosine."""
    from fewshot_km.learners.matching import MatchingNet

    return MatchingNet(make_network)


@register("relation")
def relation(make_network: "NetworkFactory", _inner: InnerLoop, hidden: int = RELATION_HIDDEN) -> "Learner":
    """Relation networks: a learned comparison of query and class."""
    from fewshot_km.learners.relation import RelationNet

    return RelationNet(make_network, hidden)


@register("r2d2")
def r2d2(
    make_network: "NetworkFactory", _inner: InnerLoop, regulariser: float = R2D2_REGULARISER, scale: float = R2D2_SCALE
) -> "Learner":
    """R2-D2: ridge regression as the head, in closed form."""
    from fewshot_km.learners.r2d2 import R2D2

    return R2D2(make_network, regulariser, scale)


@register("metaoptnet")
def metaoptnet(make_network: "NetworkFactory", _inner: InnerLoop, head: MetaOptNetHead = METAOPTNET_HEAD) -> "Learner":
    """MetaOptNet: a multi-class SVM or ridge regression as the head."""
    from fewshot_km.learners.metaoptnet import MetaOptNet

    return MetaOptNet(make_network, head)


@register("feat")
def feat(make_network: "NetworkFactory", _inner: InnerLoop, temperature: float = FEAT_TEMPERATURE) -> "Learner":
    """FEAT: class means adapted to one another by self-attention."""
    from fewshot_km.learners.feat import FEAT

    return FEAT(make_network, temperature)
