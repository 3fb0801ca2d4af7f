"""Running many tasks at once: meta-training and evaluation.

executions    the ways of running tasks: one plain reference, and faster ones that give the same numbers
choice        which of them is used where, by measurement
engine        tasks over ranks and chunks
compilation   the outer gradient as one compiled program
operations    second derivatives of convolution and batch norm
"""

from fewshot_km.engine.choice import Choice, choose_engine
from fewshot_km.engine.engine import Engine, OuterStep
from fewshot_km.engine.evaluate import evaluate
from fewshot_km.engine.executions import EXECUTIONS
from fewshot_km.engine.meta_train import MetaTraining, OuterLoop, Progress, meta_train
from fewshot_km.engine.ranks import Ranks

__all__ = [
    "EXECUTIONS",
    "Choice",
    "Engine",
    "MetaTraining",
    "OuterLoop",
    "OuterStep",
    "Progress",
    "Ranks",
    "choose_engine",
    "evaluate",
    "meta_train",
]
