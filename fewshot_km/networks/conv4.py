"""The four-convolution network of Vinyals et al. 2016 in the two forms that MAML used (Finn et al. 2017)."""

from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.errors import ConfigError
from fewshot_km.networks.base import NETWORKS
from fewshot_km.networks.conv_norm import conv_norm_relu, is_written_out
from fewshot_km.networks.norms import NormMode, make_norm

Downsampling = Literal["stride", "pool"]


class ConvBlock(nn.Module):
    """conv3x3, norm, ReLU; halves height and width by the convolution's stride or by 2x2 max-pooling."""

    def __init__(self, channels_in: int, channels_out: int, downsampling: Downsampling, norm: NormMode) -> None:
        super().__init__()
        stride = 2 if downsampling == "stride" else 1
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
        self.norm = make_norm(norm, channels_out)
        self.pool = downsampling == "pool"

    def forward(self, x: Tensor) -> Tensor:
        """[M, channels_in, H, W] -> [M, channels_out, H', W']."""
        if isinstance(self.norm, nn.BatchNorm2d) and is_written_out(self.conv, self.norm):
            return conv_norm_relu(x, self.conv.weight, self.conv, self.norm, pool=self.pool)
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(x, 2) if self.pool else x


class Conv4(nn.Module):
    """Four blocks and, after strided convolutions, the mean over what is left of the map."""

    def __init__(self, channels: int, filters: int, downsampling: Downsampling, norm: NormMode) -> None:
        super().__init__()
        widths = [channels, filters, filters, filters, filters]
        self.blocks = nn.Sequential(*(ConvBlock(i, o, downsampling, norm) for i, o in pairwise(widths)))
        self.average = downsampling == "stride"

    def forward(self, x: Tensor) -> Tensor:
        """[M, C, H, W] -> [M, F]: F = filters (stride), or filters x H/16 x W/16 (pool)."""
        x = self.blocks(x)
        return x.mean((2, 3)) if self.average else x.flatten(1)


@NETWORKS.register("conv4")
def conv4(
    image_shape: tuple[int, int, int],
    filters: int = 64,  # MAML's Omniglot network; its mini-ImageNet network has 32
    downsampling: Downsampling = "stride",  # "pool" is MAML's mini-ImageNet network
    norm: NormMode = "batch",  # what MAML and its followers used
) -> nn.Module:
    """Four 3x3 convolutions (MAML): strided with a mean at the end, or max-pooled and flattened.

    Weights start as torch's layers start them, uniform within 1/sqrt(fan-in). Xavier's wider start, which has the same
    function under batch norm, meta-trains more slowly: Adam's steps are smaller beside larger kernels.

    28x28x1, 64 filters, stride -> 64 features; 84x84x3, 32 filters, pool -> 800 features.
    Raises ConfigError for an unknown value or images too small to be halved four times.
    """
    channels, height, width = image_shape
    if downsampling not in get_args(Downsampling):
        raise ConfigError(f"unknown downsampling '{downsampling}'; known: {', '.join(get_args(Downsampling))}")
    if isinstance(filters, bool) or not isinstance(filters, int) or filters < 1:
        raise ConfigError(f"conv4 needs a positive whole number of filters, not {filters!r}")
    if downsampling == "pool" and min(height, width) < 16:
        raise ConfigError(
            f"conv4 halves its input four times: {height}x{width} images are too small, 16x16 is the least"
        )
    return Conv4(channels, filters, downsampling, norm)
