"""Convolution, batch norm, ReLU and max-pooling on a CPU: in one go in a first layer, else in two."""

from typing import Any

import torch
from torch import Tensor, nn

from fewshot_km.accel.fused import convolution, first_layer, normalisation
from fewshot_km.accel.replacing import pair
from fewshot_km.models.conv_norm import by_parts

# Numbers to a window up to which a first layer is computed in one go: their covariance takes the square of them. Of the
# 27 of a colour image it took longer (45 ms for 75 images of 84x84 pixels) than the passes over the map that it saves.
FEW = 16


class ConvNormRelu:
    """`fewshot_km.models.conv_norm.conv_norm_relu`, for images that do not change between calls.

    What a first layer knows of a task's support and query images is kept for its next steps.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, tuple[list[int], ...], first_layer.Windows]] = []

    def __call__(
        self, x: Tensor, weight: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, pool: bool = False
    ) -> Tensor:
        """[M, C, H, W] -> [M, F, H', W']."""
        if not normalisation.treated(x) or isinstance(conv.padding, str):
            return by_parts(convolution.conv2d, x, weight, conv, norm, pool=pool)
        kernel, stride, padding = pair(conv.kernel_size), pair(conv.stride), pair(conv.padding)
        dilation = pair(conv.dilation)
        if _too_small(x, kernel, stride, padding, dilation, pool=pool):
            return by_parts(convolution.conv2d, x, weight, conv, norm, pool=pool)
        scale: Tensor = norm.weight
        shift: Tensor = norm.bias
        if conv.groups == 1 and dilation == [1, 1] and weight[0].numel() <= FEW and not x.requires_grad:
            windows = self._windows(x, kernel, stride, padding)
            return first_layer.conv_norm_relu(weight, scale, shift, windows, norm.eps, pool=pool)
        if pool and (scale < 0).any():  # as by_parts does
            sign = torch.where(scale < 0, -1, 1).to(x.dtype)
            weight, scale = weight * sign[:, None, None, None], scale * sign
        # the convolution's bias, a constant, does not survive batch norm
        y = convolution.conv2d(x, weight, None, stride, padding, dilation, conv.groups)
        return normalisation.batch_norm_relu(y, scale, shift, norm.eps, pool=pool)

    def _windows(self, x: Tensor, *geometry: list[int]) -> first_layer.Windows:
        for images, of, windows in self._kept:
            if images is x and of == geometry:
                return windows
        windows = first_layer.Windows.of(x, *geometry)
        self._kept = [*self._kept[-1:], (x, geometry, windows)]
        return windows


def conv_norm_relu_once(*inputs: Any, pool: bool = False) -> Tensor:
    """The same of one call, which keeps nothing."""
    return ConvNormRelu()(*inputs, pool=pool)


def _too_small(x: Tensor, *geometry: list[int], pool: bool) -> bool:
    """Whether torch would complain of a map without pixels, of one pixel in all, or of none after pooling."""
    sizes = zip(x.shape[2:], *geometry, strict=True)
    height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    return bool(min(height, width) < (2 if pool else 1) or len(x) * height * width < 2)
