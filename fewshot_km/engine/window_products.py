"""Gradients of convolutions on a CPU as matrix products over the windows that the kernel sees.

Windows are written out some images at a time, so that they are still in the processor's cache when they are multiplied.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fewshot_km.engine import window_loops as loops
from fewshot_km.engine.layout import images_of, rows_of

BLOCK_BYTES = 1_000_000  # of windows at a time: the second-level cache of a core holds 1 to 2 MB

Pair = tuple[int, int]
"""(height, width)."""


def gradients(
    g: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, *, of_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """Of the sum of g (x * weight) with respect to x and, if wanted, to weight; laid out as channels-last."""
    rows, along, kernels = rows_of(x), rows_of(g), rows_of(weight)
    to_x, to_kernels = torch.empty_like(rows), torch.zeros_like(kernels)
    matrix, to_matrix = kernels.flatten(1), to_kernels.flatten(1)
    for part, windows in _blocks(len(x), (g.shape[2], g.shape[3]), weight):
        g_part = along[part].view(-1, len(weight))
        seen = windows.view(len(g_part), -1)
        if of_weight:
            loops.gather(rows[part].numpy(), windows.numpy(), x.shape[1], stride, padding)
            torch.addmm(to_matrix, g_part.t(), seen, out=to_matrix)
        torch.mm(g_part, matrix, out=seen)
        loops.scatter(windows.numpy(), to_x[part].numpy(), x.shape[1], stride, padding)
    return images_of(to_x, x.shape[1]), images_of(to_kernels, x.shape[1]) if of_weight else None


def _blocks(images: int, map_size: Pair, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some images at a time, and room for their windows [n, H', W', k_h, k_w * C]."""
    _, channels, rows, columns = weight.shape
    shape = (*map_size, rows, columns * channels)
    fitting = max(1, BLOCK_BYTES // (math.prod(shape) * weight.element_size()))
    at_once = math.ceil(images / math.ceil(images / fitting))
    room = weight.new_empty(at_once, *shape)
    for first in range(0, images, at_once):
        part = slice(first, min(first + at_once, images))
        yield part, room[: part.stop - part.start]
