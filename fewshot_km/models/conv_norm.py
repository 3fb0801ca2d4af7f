"""Convolution, batch norm, ReLU and max-pooling as one function, so that a backend can compute them in one go."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.models.exact import is_exactly
from fewshot_km.replaceable import replaceable


def is_written_out(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether `conv_norm_relu` computes what these modules do: torch's own classes, as torch wrote them.

    A subclass, a hook, another `forward`, padding other than with zeros, or statistics that are not the batch's must be
    left to the modules themselves. A parametrized weight is none of these: it is given to `conv_norm_relu`.
    """
    return (
        is_exactly(conv, nn.Conv2d)
        and is_exactly(norm, nn.BatchNorm2d)
        and conv.padding_mode == "zeros"
        and isinstance(norm.weight, Tensor)
        and isinstance(norm.bias, Tensor)
        and norm.running_mean is None
        and norm.running_var is None
    )


@replaceable
def conv_norm_relu(x: Tensor, weight: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, pool: bool = False) -> Tensor:
    """ReLU of convolved images [M, C, H, W], normalised by channel with their own statistics; max-pooled 2x2 if wanted.

    Of the modules only parameters and geometry are used (see `is_written_out`); the norm has scale and shift. The
    kernel `weight` is given beside its layer, so that what replaces this sees how it is made, too.
    """
    return by_parts(F.conv2d, x, weight, conv, norm, pool=pool)


def by_parts(
    conv2d: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    *,
    pool: bool = False,
) -> Tensor:
    """The same by the given convolution and torch's operations.

    Pooled before scale, shift and ReLU, which then touch a quarter of the map: pooling commutes with what does not
    decrease. Where a scale is negative, it is the kernel that changes sign: the statistics of a channel change their
    sign with it, and scale times statistic stays.
    """
    bias, scale, shift = conv.bias, norm.weight, norm.bias
    geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
    if not pool:
        x = conv2d(x, weight, bias, *geometry)
        return F.relu(F.batch_norm(x, None, None, scale, shift, training=True, eps=norm.eps))
    sign = torch.where(scale < 0, -1, 1).to(x.dtype)
    x = conv2d(x, weight * sign[:, None, None, None], None if bias is None else bias * sign, *geometry)
    h = F.max_pool2d(F.batch_norm(x, None, None, training=True, eps=norm.eps), 2)
    return F.relu(torch.addcmul(shift[:, None, None], h, (scale * sign)[:, None, None]))
