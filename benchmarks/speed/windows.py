"""Gradients of convolutions by torch and as products over windows, on one thread:

    python benchmarks/speed/windows.py

For layers of 64 filters and 5 to 100 images, milliseconds of the gradients of images and kernels in float32, medians of
rounds in which the ways take turns; and the time of products over that of torch.
`fewshot_km.accel.fused.convolution` says where products are used.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from tabulate import tabulate

from fewshot_km.accel.fused import window_products
from fewshot_km.training.memory import keep_freed_memory

LAYERS = {  # channels, height, stride; 64 filters of 3x3
    "strided 1": (1, 28, 2),
    "strided 1 of colours": (3, 84, 2),
    "strided 2 of 8": (8, 14, 2),
    "strided 2 of 16": (16, 14, 2),
    "strided 2": (64, 14, 2),
    "strided 3": (64, 7, 2),
    "strided 4": (64, 4, 2),
    "pooled 2": (64, 14, 1),
    "pooled 3": (64, 7, 1),
    "pooled 4": (64, 3, 1),
}
FILTERS = 64
IMAGES = (5, 20, 100)
ROUNDS = 25


def milliseconds(ways: list[Callable[[], object]], rounds: int) -> list[float]:
    """The median of each, after one round to warm up."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds + 1):
        for way, took in zip(ways, seconds, strict=True):
            began = time.perf_counter()
            way()
            took.append(time.perf_counter() - began)
    return [statistics.median(took[1:]) * 1e3 for took in seconds]


def compare(images: int, channels: int, height: int, stride: int, rounds: int) -> list[str]:
    """A row of the table: torch, products, products over torch."""
    generator = torch.Generator().manual_seed(0)

    def numbers(n: int, channels: int, height: int, width: int) -> torch.Tensor:
        rows = torch.randn(n * height * width * channels, generator=generator)
        strides = (height * width * channels, 1, width * channels, channels)  # torch leaves those of one channel
        return rows.as_strided((n, channels, height, width), strides)

    x, weight = numbers(images, channels, height, height), numbers(FILTERS, channels, 3, 3)
    geometry = ([stride, stride], [1, 1], [1, 1], False, [0, 0], 1)
    g = numbers(*torch.ops.aten.convolution(x, weight, None, *geometry).shape)

    def torchs() -> object:
        return torch.ops.aten.convolution_backward(g, x, weight, None, *geometry, [True, True, False])

    def products() -> object:
        return window_products.gradients(g, x, weight, (stride, stride), (1, 1), of_weight=True)

    by_torch, by_products = milliseconds([torchs, products], rounds)
    return [f"{by_torch:.2f}", f"{by_products:.2f}", f"{by_products / by_torch:.2f}x"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = [
        [name, images, *compare(images, *layer, given.rounds)] for name, layer in LAYERS.items() for images in IMAGES
    ]
    columns = ["layer", "images", "torch, ms", "products, ms", "ratio"]
    print(tabulate(rows, headers=columns, tablefmt="github"))


if __name__ == "__main__":
    main()
