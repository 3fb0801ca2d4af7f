"""A ConvBlock on a CPU: its convolution, then batch norm, ReLU and max-pooling in one go."""

import torch
from torch import Tensor, nn

from fewshot_km.accel.fused import convolution, normalisation
from fewshot_km.accel.replacing import pair
from fewshot_km.models.conv4 import ConvBlock
from fewshot_km.models.exact import is_exactly


def forward(block: ConvBlock, x: Tensor) -> Tensor:
    """[M, C, H, W] -> [M, F, H', W'], as `ConvBlock.forward`, which computes what is not treated here.

    Max-pooling comes before scale, shift and ReLU, which then touch a quarter of the map: it commutes with what does
    not decrease. Where a scale is negative, the kernel changes its sign: the channel's statistics change their sign
    with it, and scale times statistic stays.
    """
    with torch._C.DisableTorchFunction():  # a function mode costs microseconds a call
        conv, norm = block.conv, block.norm
        if isinstance(norm, nn.BatchNorm2d) and _is_treated(conv, norm, x, pool=block.pool):
            return _in_one_go(x, conv, norm, pool=block.pool)
    return ConvBlock.forward(block, x)


def _in_one_go(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, pool: bool) -> Tensor:
    weight: Tensor = conv.weight
    scale: Tensor = norm.weight
    if pool and (scale < 0).any():
        sign = torch.where(scale < 0, -1, 1).to(x.dtype)
        weight, scale = weight * sign[:, None, None, None], scale * sign
    # the convolution's bias, a constant, does not survive batch norm
    x = convolution.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    return normalisation.batch_norm_relu(x, scale, norm.bias, norm.eps, pool=pool)


def _is_treated(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, *, pool: bool) -> bool:
    """True for torch's own classes as torch wrote them, statistics of the batch, and images that torch accepts."""
    return (
        is_exactly(conv, nn.Conv2d)
        and is_exactly(norm, nn.BatchNorm2d)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and isinstance(norm.weight, Tensor)
        and isinstance(norm.bias, Tensor)
        and norm.running_mean is None
        and norm.running_var is None
        and normalisation.treated(x)
        and _is_large_enough(conv, x, least=2 if pool else 1)
    )


def _is_large_enough(conv: nn.Conv2d, x: Tensor, least: int) -> bool:
    """True where the map has `least` rows and columns, and more than one pixel in all images: else torch complains."""
    geometry = (pair(conv.kernel_size), pair(conv.stride), pair(conv.padding), pair(conv.dilation))  # type: ignore[arg-type]
    sizes = zip(x.shape[2:], *geometry, strict=True)
    height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    return bool(min(height, width) >= least and len(x) * height * width > 1)
