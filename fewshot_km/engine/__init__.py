"""Running many tasks at once: meta-training and evaluation."""

from fewshot_km.engine.evaluate import evaluate
from fewshot_km.engine.meta_train import MetaTraining, OuterLoop, Progress, meta_train
from fewshot_km.engine.tasks import Execution, outer_gradient

__all__ = ["Execution", "MetaTraining", "OuterLoop", "Progress", "evaluate", "meta_train", "outer_gradient"]
