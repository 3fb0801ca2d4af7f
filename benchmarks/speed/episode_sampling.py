"""Episodes drawn per second on one core: `python benchmarks/speed/episode_sampling.py`.

Draws meta-batches of 16 tasks, as float tensors ready for a network, from random pixels: in the shape of MAML's
Omniglot (1,100 training characters in 4 rotations, 20 drawings of 28x28), and of mini-ImageNet (64 classes, a tenth of
their images of 84x84 in colours). Prints the median of several rounds, and how long it takes merely to copy as many
floats, which no sampler of float images in memory can do without.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from fewshot_km.data import Dataset, ImageBank
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.splits import Split
from fewshot_km.training.memory import keep_freed_memory

META_BATCH = 16
ROUNDS = 7  # odd, so that the median is one of them
SHAPES = {  # classes, views of each, images, their shape; tasks; episodes in a round
    "Omniglot": (
        (1100, 4, 20, (1, 28, 28)),
        [TaskSpec(5, 1, 1), TaskSpec(20, 1, 1), TaskSpec(20, 1, 5), TaskSpec(20, 5, 5)],
        1600,
    ),
    "mini-ImageNet": ((64, 1, 60, (3, 84, 84)), [TaskSpec(5, 1, 15), TaskSpec(5, 5, 15)], 160),
}


def shaped(classes: int, views: int, images: int, image_shape: tuple[int, int, int]) -> Dataset:
    """Random pixels, memory for memory what the real data set takes."""
    count = classes * views
    pixels = np.random.default_rng(0).integers(0, 256, (count, images, *image_shape), dtype=np.uint8)
    bank = ImageBank.from_classes([str(c) for c in range(count)], pixels)
    return Dataset("random", bank, {"train": Split("train", np.arange(count).reshape(classes, views), "")})


def median_seconds(run: Callable[[int], object]) -> float:
    """Of a round, which is told its number."""
    seconds = []
    for r in range(ROUNDS):
        began = time.perf_counter()
        run(r)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure(sampler: EpisodeSampler, episodes: int) -> str:
    """Episodes a second, and milliseconds of one and of a copy of its floats."""

    def draw(r: int) -> None:
        for start in range(r * episodes, (r + 1) * episodes, META_BATCH):
            sampler.draw(range(start, start + META_BATCH))

    batch = sampler.draw(range(META_BATCH))
    floats = torch.cat([batch.support_x.flatten(), batch.query_x.flatten()])

    def copy(_: int) -> None:
        for _ in range(episodes // META_BATCH):
            floats.clone()

    drawn, copied = median_seconds(draw) / episodes, median_seconds(copy) / episodes
    return f"{1 / drawn:,.0f} episodes a second, {1e3 * drawn:.3f} ms each; to copy its floats: {1e3 * copied:.3f} ms"


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does
    for name, (shape, tasks, episodes) in SHAPES.items():
        dataset = shaped(*shape)
        for spec in tasks:
            sampler = EpisodeSampler(dataset, "train", spec, Stream("train", 0))
            print(f"{name} {spec}, {spec.queries} queries: {measure(sampler, episodes)}")


if __name__ == "__main__":
    main()
