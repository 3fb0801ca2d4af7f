"""Evaluation on fixed episodes: one accuracy per episode, all of them kept."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fewshot_km.data.episodes import EpisodeSampler
from fewshot_km.learners.base import Params
from fewshot_km.training.engine import Engine


def evaluate(
    engine: Engine,
    meta: Params,
    sampler: EpisodeSampler,
    *,
    episodes: int,
    steps: int,
    on_batch: Callable[[int], None] = lambda _: None,
) -> npt.NDArray[np.float64]:
    """Query accuracies float64 [episodes] of episodes 0, 1, ... of the sampler, after `steps` inner steps.

    `on_batch` is called with the number of episodes just evaluated. Memory does not grow with the episodes.
    """
    correct = engine.count_correct(meta, sampler, episodes, steps=steps, on_batch=on_batch)
    queries = sampler.spec.ways * sampler.spec.queries
    accuracies: npt.NDArray[np.float64] = correct.cpu().numpy() / queries  # whole numbers: exact in every precision
    return accuracies
