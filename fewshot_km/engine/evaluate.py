"""Evaluation on fixed episodes: one accuracy per episode, all of them kept."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fewshot_km.engine.tasks import Execution, count_correct
from fewshot_km.episodes import EpisodeSampler
from fewshot_km.learners.base import Learner, Params


def evaluate(
    learner: Learner,
    meta: Params,
    sampler: EpisodeSampler,
    *,
    episodes: int,
    steps: int,
    batch: int,
    execution: Execution,
    on_batch: Callable[[int], None] = lambda _: None,
) -> npt.NDArray[np.float64]:
    """Query accuracies float64 [episodes] of episodes 0, 1, ... of the sampler, `batch` tasks at a time.

    `on_batch` is told how many episodes have just been evaluated.
    """
    accuracies = []
    for episode in sampler.batches(episodes, batch):
        correct = count_correct(learner, meta, episode, steps=steps, execution=execution)
        accuracies.append(correct.cpu().numpy() / episode.query_y.shape[1])  # whole numbers: exact in every precision
        on_batch(len(episode))
    return np.concatenate(accuracies)
