"""Running many tasks at once: meta-training and evaluation.

executions    the ways of running tasks: one plain reference, and faster ones that give the same numbers
choice        which of them is used where, by a fixed rule
tune          which of them is the fastest here, by measurement
engine        tasks over ranks and chunks
meta_train    the outer loop, which can stop and go on anywhere
checkpoint    its state in a file
compilation   the outer gradient as one compiled program
fast          operations for one task at a time on a CPU
operations    how they, and others, are put under any network
agreement     whether those that stand for a formula of ours still compute it
"""

from fewshot_km.engine.choice import Choice, choose_engine
from fewshot_km.engine.engine import Engine, OuterStep
from fewshot_km.engine.evaluate import evaluate
from fewshot_km.engine.executions import EXECUTIONS
from fewshot_km.engine.meta_train import HistoryRow, MetaTraining, OuterLoop, Progress, TrainingState, meta_train
from fewshot_km.engine.ranks import Ranks

__all__ = [
    "EXECUTIONS",
    "Choice",
    "Engine",
    "HistoryRow",
    "MetaTraining",
    "OuterLoop",
    "OuterStep",
    "Progress",
    "Ranks",
    "TrainingState",
    "choose_engine",
    "evaluate",
    "meta_train",
]
