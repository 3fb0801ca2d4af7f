"""Gradients of convolutions on a CPU as matrix products over the windows that the kernel sees.

The windows of some images at a time are written out, so that they are still in the processor's cache when the product
reads them.
"""

import math

import numpy as np
import torch
from torch import Tensor

from fewshot_km.accel.fused import window_loops as loops
from fewshot_km.accel.fused.channels_last import images_of, rows_of

BLOCK_BYTES = 1_000_000  # of windows at a time: the second-level cache of a core holds 1 to 2 MB

Pair = tuple[int, int]
"""(height, width)."""


def gradients(
    g: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, *, of_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients of the sum of g (x * weight) with respect to x and, if wanted, to weight; channels-last."""
    filters, channels, k_h, k_w = weight.shape
    (images, _, height, width), window = g.shape, channels * k_h * k_w
    at_once = _at_once(images, height * width * window * x.element_size())
    room = x.new_empty(at_once * height * width, window)
    windows = room.numpy().reshape(at_once, height, width, k_h, k_w * channels)
    rows, matrix = rows_of(x), torch.from_numpy(rows_of(weight).reshape(filters, window))
    to_x, to_matrix = np.empty_like(rows), torch.empty_like(matrix)
    parts = torch.from_numpy(rows_of(g).reshape(-1, filters)).split(len(room))  # type: ignore[no-untyped-call]
    for first, part in zip(range(0, images, at_once), parts, strict=True):
        chosen = slice(first, first + at_once)
        seen, room = windows[: images - first], room[: len(part)]
        if of_weight:
            loops.gather(rows[chosen], seen, channels, stride, padding)
            torch.addmm(to_matrix, part.t(), room, beta=1 if first else 0, out=to_matrix)
        torch.mm(part, matrix, out=room)
        loops.scatter(seen, to_x[chosen], channels, stride, padding)
    to_kernels = images_of(to_matrix.numpy().reshape(filters, k_h, -1), channels) if of_weight else None
    return images_of(to_x, channels), to_kernels


def _at_once(images: int, bytes_each: int) -> int:
    """Images at a time, so that all parts are of about the same size."""
    return math.ceil(images / math.ceil(images / max(1, BLOCK_BYTES // bytes_each)))
