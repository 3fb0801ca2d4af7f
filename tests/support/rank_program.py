"""One rank of meta-trainings in float64: python -m tests.support.rank_program RANK SIZE MEETING FOLDER."""

import sys
from pathlib import Path

import numpy as np
import torch

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learners import InnerLoop, Params, build_learner
from fewshot_km.training.engine import Engine
from fewshot_km.training.evaluation import evaluate
from fewshot_km.training.outer_loop import OuterLoop, meta_train
from fewshot_km.training.ranks import join, leave
from fewshot_km.training.training_state import TrainingState
from tests.support.networks_under_test import SMALL_STRIDED
from tests.support.noise import DoubleSampler, noise_sampler

TRAINED_BY = ("plain", "vmap")
OUTER = OuterLoop(lr=0.01, meta_batch=4, iterations=20, steps=2, clip_value=None, validate_every=10)


def train(engine: Engine, out: Path) -> None:
    """Meta-train and evaluate, and write what came out."""
    sampler = DoubleSampler(noise_sampler())
    meta = {n: v.double() for n, v in engine.learner.init(0).items()}

    def validate(current: Params) -> float:
        return float(evaluate(engine, current, sampler, episodes=5, steps=2).mean())

    trained = meta_train(engine, TrainingState.before(meta), sampler, validate, OUTER)
    accuracies = evaluate(engine, trained.meta, sampler, episodes=7, steps=3)
    last = trained.history[-1]
    np.savez(
        out,
        **{n: v.numpy() for n, v in trained.meta.items()},
        accuracies=accuracies,
        history=[last.train_loss, last.train_accuracy, last.val_accuracy],
    )


if __name__ == "__main__":
    rank, size, meeting, folder = sys.argv[1:]
    torch.set_num_threads(1)
    learner = build_learner("maml", {}, SMALL_STRIDED.make, InnerLoop(0.3))
    ranks = join(int(rank), int(size), torch.device("cpu"), f"file://{meeting}")
    for name in TRAINED_BY:
        engine = Engine(learner, training=BACKENDS[name], testing=BACKENDS[name], ranks=ranks)
        train(engine, Path(folder) / f"{name}{rank}.npz")
    leave()
