"""Meta-learning algorithms: one inner loop, and for each learner an answer to "which parameters adapt?"."""

from fewshot_km.learners.anil import ANIL
from fewshot_km.learners.base import LEARNERS, GradientLearner, InnerLoop, Learner, Params, build_learner, register
from fewshot_km.learners.km_maml import KMMAML
from fewshot_km.learners.maml import MAML

__all__ = [
    "ANIL",
    "KMMAML",
    "LEARNERS",
    "MAML",
    "GradientLearner",
    "InnerLoop",
    "Learner",
    "Params",
    "build_learner",
    "register",
]
