"""One rank of meta-trainings in float64: python -m tests.engine.rank_program RANK SIZE MEETING FOLDER."""

import sys
from pathlib import Path

import numpy as np
import torch

from fewshot_km.engine import Engine, OuterLoop, TrainingState, evaluate, meta_train
from fewshot_km.engine.ranks import join, leave
from fewshot_km.learners import InnerLoop, Params, build_learner
from tests.engine.noise import DoubleSampler, noise_sampler
from tests.networks_under_test import SMALL_STRIDED

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
    for execution in TRAINED_BY:
        engine = Engine(learner, training=execution, testing=execution, ranks=ranks)
        train(engine, Path(folder) / f"{execution}{rank}.npz")
    leave()
