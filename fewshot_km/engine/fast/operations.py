"""Fast operations in place of torch's and of ours, within a context, under any network."""

import torch
from torch.nn import functional as F

from fewshot_km.engine.operations import ReplacedOperations
from fewshot_km.modulation.kernel import modulated
from fewshot_km.networks.conv_norm import conv_norm_relu


class FastOperations(ReplacedOperations):
    """Within it, convolutions, batch norms and kernel modulators are fast ones. Not for `torch.func`."""

    def __init__(self) -> None:
        # here, because its compiler takes half a second to import, for which most commands need not wait
        from fewshot_km.engine.fast import convolution, kernel_modulation, normalisation
        from fewshot_km.engine.fast.conv_norm import ConvNormRelu

        super().__init__(
            {
                torch.conv2d: convolution.conv2d,
                F.conv2d: convolution.conv2d,
                F.batch_norm: normalisation.batch_norm,
                conv_norm_relu: ConvNormRelu(),
                modulated: kernel_modulation.modulated,
            }
        )
