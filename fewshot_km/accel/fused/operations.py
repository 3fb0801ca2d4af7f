"""Fast operations in place of torch's and of ours, within a context, under any network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot_km.accel.agreement import agreeing
from fewshot_km.accel.replacing import ReplacedOperations
from fewshot_km.models.conv_norm import conv_norm_relu
from fewshot_km.models.modulation.modulator import modulated

Table = dict[Callable[..., Any], Callable[..., Tensor]]


class FastOperations(ReplacedOperations):
    """Within it, convolutions, batch norms and kernel modulators are fast ones. Not for `torch.func`.

    Fast versions of our own formulas are checked against them in the precision of what will be computed.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        # here, because its compiler takes half a second to import, for which most commands need not wait
        from fewshot_km.accel.fused import convolution, kernel_modulation, normalisation
        from fewshot_km.accel.fused.conv_block import ConvNormRelu, conv_norm_relu_once

        ours: Table = {conv_norm_relu: conv_norm_relu_once, modulated: kernel_modulation.modulated}
        table: Table = {
            torch.conv2d: convolution.conv2d,
            F.conv2d: convolution.conv2d,
            F.batch_norm: normalisation.batch_norm,
            **agreeing(ours, dtype),
        }
        if conv_norm_relu in table:
            table[conv_norm_relu] = ConvNormRelu()  # which keeps what it knows of the images within this context
        super().__init__(table)
