"""Episodes drawn per second on one core: `python benchmarks/speed/episode_sampling.py`.

Draws meta-batches of 16 tasks, as float tensors ready for a network, from random pixels in the shape of MAML's Omniglot
(1,100 training characters in 4 rotations, 20 drawings of 28x28). Prints the median of several rounds.
"""

import statistics
import time

import numpy as np
import torch

from fewshot_km.datasets import Dataset, ImageBank
from fewshot_km.datasets.splits import Split
from fewshot_km.episodes import EpisodeSampler, Stream, TaskSpec

CHARACTERS, ROTATIONS, DRAWINGS, SIZE = 1100, 4, 20, 28
META_BATCH = 16
ROUNDS = 7  # odd, so that the median is one of them
EPISODES_PER_ROUND = 1600
TASKS = [TaskSpec(5, 1, 1), TaskSpec(20, 1, 1), TaskSpec(20, 1, 5), TaskSpec(20, 5, 5)]


def omniglot_shaped() -> Dataset:
    """Random pixels, memory for memory what the real data set takes."""
    classes = CHARACTERS * ROTATIONS
    pixels = np.random.default_rng(0).integers(0, 256, (classes, DRAWINGS, 1, SIZE, SIZE), dtype=np.uint8)
    bank = ImageBank.from_classes([str(c) for c in range(classes)], pixels)
    rows = np.arange(classes).reshape(CHARACTERS, ROTATIONS)
    return Dataset("omniglot-shaped", bank, {"train": Split("train", rows, "")})


def episodes_per_second(sampler: EpisodeSampler) -> float:
    """Median rate over the rounds."""
    rates = []
    for r in range(ROUNDS):
        first = r * EPISODES_PER_ROUND
        began = time.perf_counter()
        for start in range(first, first + EPISODES_PER_ROUND, META_BATCH):
            sampler.draw(range(start, start + META_BATCH))
        rates.append(EPISODES_PER_ROUND / (time.perf_counter() - began))
    return statistics.median(rates)


def main() -> None:
    torch.set_num_threads(1)
    dataset = omniglot_shaped()
    for spec in TASKS:
        sampler = EpisodeSampler(dataset, "train", spec, Stream("train", 0))
        print(f"{spec}, {spec.queries} queries: {episodes_per_second(sampler):,.0f} episodes a second")


if __name__ == "__main__":
    main()
