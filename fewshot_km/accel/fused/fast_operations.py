"""The context in which fast operations replace torch's, and fast forward passes those of our own modules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot_km.accel.agreement import agreeing
from fewshot_km.accel.replacing import ReplacedOperations, replaced_forwards
from fewshot_km.models.conv4 import ConvBlock


@contextmanager
def fast_operations(holder: object, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Within it, convolutions, batch norms and the ConvBlocks that `holder` keeps are fast. Not for `torch.func`.

    `dtype` is the precision of what will be computed: the fast block is checked against the block in it.
    """
    # here, because its compiler takes half a second to import, for which most commands need not wait
    from fewshot_km.accel.fused import conv_block, convolution, group_normalisation, normalisation

    operations: dict[Callable[..., Any], Callable[..., Tensor]] = {
        torch.conv2d: convolution.conv2d,
        F.conv2d: convolution.conv2d,
        F.batch_norm: normalisation.batch_norm,
        F.group_norm: group_normalisation.group_norm,
    }
    with (
        ReplacedOperations(operations),
        replaced_forwards(holder, agreeing({ConvBlock: conv_block.forward}, dtype)),
    ):
        yield
