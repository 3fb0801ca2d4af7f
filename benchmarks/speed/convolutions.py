"""Convolutions whose kernels differ by task, as one batched operation: `python benchmarks/speed/convolutions.py`.

Three ways for T tasks, x [T, M, C, H, W] and kernels [T, O, C, 3, 3]:

vmap      `torch.func.vmap` of conv2d
grouped   one conv2d whose groups are the tasks
products  matrix products of each task's kernels with its unfolded patches

For each layer of the two networks: seconds of the value, of first derivatives with it, and of second derivatives with
both, in float32, medians of rounds in which the ways take turns. First all are compared in float64.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from fewshot_km.training.devices import allow_tf32, choose_device, clock

LAYERS = {  # channels in, out, height, stride
    "strided 1": (1, 64, 28, 2),
    "strided 2": (64, 64, 14, 2),
    "strided 3": (64, 64, 7, 2),
    "strided 4": (64, 64, 4, 2),
    "mini-ImageNet 1": (3, 32, 84, 1),
    "mini-ImageNet 2": (32, 32, 42, 1),
    "mini-ImageNet 3": (32, 32, 21, 1),
    "mini-ImageNet 4": (32, 32, 10, 1),
}
Convolution = Callable[[Tensor, Tensor, int], Tensor]


def by_vmap(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """[T, M, O, H', W']."""
    result: Tensor = vmap(lambda x, kernel: F.conv2d(x, kernel, stride=stride, padding=1))(x, kernels)
    return result


def grouped(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """[T, M, O, H', W']."""
    tasks, filters = kernels.shape[:2]
    y = F.conv2d(x.transpose(0, 1).flatten(1, 2), kernels.flatten(0, 1), stride=stride, padding=1, groups=tasks)
    return y.view(len(y), tasks, filters, *y.shape[2:]).transpose(0, 1)


def by_products(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """[T, M, O, H', W']."""
    tasks, images, _, height, _ = x.shape
    side = (height - 1) // stride + 1
    patches = F.unfold(x.flatten(0, 1), 3, padding=1, stride=stride)
    patches = patches.view(tasks, images, -1, side * side).transpose(1, 2).flatten(2)  # [T, C*9, M*H'*W']
    y: Tensor = kernels.flatten(2) @ patches
    return y.view(tasks, -1, images, side, side).transpose(1, 2)


WAYS: dict[str, Convolution] = {"vmap": by_vmap, "grouped": grouped, "products": by_products}


def derivatives(way: Convolution, x: Tensor, kernels: Tensor, stride: int, order: int) -> list[Tensor]:
    """The value, and derivatives of it up to `order` along fixed directions."""
    y = way(x, kernels, stride)
    if order == 0:
        return [y]
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y).requires_grad_()
    first = torch.autograd.grad(y, [x, kernels], direction, create_graph=order == 2)
    if order == 1:
        return [y, *first]
    second = torch.autograd.grad(first, [x, kernels, direction], [torch.ones_like(f) for f in first])
    return [y, *first, *second]


def inputs(layer: str, tasks: int, images: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Noise."""
    channels, filters, height, _ = LAYERS[layer]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, images, channels, height, height, generator=generator).to(device, dtype)
    kernels = torch.randn(tasks, filters, channels, 3, 3, generator=generator).to(device, dtype)
    return x.requires_grad_(), kernels.requires_grad_()


def largest_difference(layer: str, device: torch.device) -> float:
    """Of any way from the plain loop over tasks in float64, values and all derivatives, relative to their norm."""
    x, kernels = inputs(layer, 2, 2, device, torch.float64)
    stride = LAYERS[layer][3]

    def loop(x: Tensor, kernels: Tensor, stride: int) -> Tensor:
        return torch.stack([F.conv2d(a, b, stride=stride, padding=1) for a, b in zip(x, kernels, strict=True)])

    expected = derivatives(loop, x, kernels, stride, 2)
    return max(
        float((got - want).detach().norm() / want.detach().norm())
        for way in WAYS.values()
        for got, want in zip(derivatives(way, x, kernels, stride, 2), expected, strict=True)
    )


def measure(layer: str, tasks: int, images: int, device: torch.device, rounds: int) -> list[str]:
    """Milliseconds of each way, for each order."""
    x, kernels = inputs(layer, tasks, images, device, torch.float32)

    def seconds(way: Convolution, order: int) -> float:
        began = clock(device)
        derivatives(way, x, kernels, LAYERS[layer][3], order)
        return clock(device) - began

    cells = []
    for order in range(3):
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for turn in range(rounds + 1):
            for name, way in WAYS.items():
                took = seconds(way, order)
                if turn:
                    times[name].append(took)
        cells += [f"{1e3 * statistics.median(values):.2f}" for values in times.values()]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--tasks", type=int, default=16, help="at once: MAML's largest meta-batch")
    parser.add_argument("--images", type=int, default=20, help="of each task")
    parser.add_argument("--rounds", type=int, default=9, help="medians are of as many")
    parser.add_argument("--tf32", action="store_true", help="round what is multiplied to 10 bits, on a GPU")
    given = parser.parse_args()
    device = choose_device(given.device)
    allow_tf32(given.tf32)
    worst = max(largest_difference(layer, device) for layer in LAYERS)
    rows = [[layer, *measure(layer, given.tasks, given.images, device, given.rounds)] for layer in LAYERS]
    what = ("value", "first", "second")
    print(f"{given.tasks} tasks of {given.images} images on {device}, ms; largest difference in float64 {worst:.1g}\n")
    print(tabulate(rows, ["layer", *(f"{w}, {name}" for w in what for name in WAYS)], tablefmt="github"))


if __name__ == "__main__":
    main()
