"""The backbones by name, with their options and defaults. Building one imports its module.

Reading a grid needs names and options only, and so does not wait for the import of torch, which takes seconds.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

from fewshot_km.errors import ConfigError
from fewshot_km.registry import Registry

if TYPE_CHECKING:
    from torch import nn

BackboneFactory = Callable[..., "nn.Module"]
"""(image_shape, **options) -> module that maps images [M, C, H, W] to features [M, F]."""

NETWORKS: Registry[BackboneFactory] = Registry("network", "networks", given=1)

NormMode = Literal["batch", "group"]

AffineChoice = Literal["full", "bias", "none"]
"""Which norm parameters an inner loop adapts: scale and shift, shift only, or neither."""

Downsampling = Literal["stride", "pool"]


@NETWORKS.register("conv4")
def conv4(
    image_shape: tuple[int, int, int],
    filters: int = 64,  # MAML's Omniglot network; its mini-ImageNet network has 32
    downsampling: Downsampling = "stride",  # "pool" is MAML's mini-ImageNet network
    norm: NormMode = "batch",  # what MAML and its followers used
) -> "nn.Module":
    """Four 3x3 convolutions (MAML): strided with a mean at the end, or max-pooled and flattened.

    Weights start as torch's layers start them, uniform within 1/sqrt(fan-in). Xavier's wider start gives the same
    function under batch norm but meta-trains more slowly: Adam's steps are smaller beside larger kernels.

    28x28x1, 64 filters, stride -> 64 features; 84x84x3, 32 filters, pool -> 800 features.
    Raises ConfigError for an unknown value or images too small to be halved four times.
    """
    from fewshot_km.models.conv4 import Conv4

    _, height, width = image_shape
    if downsampling not in get_args(Downsampling):
        raise ConfigError(f"unknown downsampling '{downsampling}'; known: {', '.join(get_args(Downsampling))}")
    if isinstance(filters, bool) or not isinstance(filters, int) or filters < 1:
        raise ConfigError(f"conv4 needs a positive whole number of filters, not {filters!r}")
    if downsampling == "pool" and min(height, width) < 16:
        raise ConfigError(
            f"conv4 halves its input four times: {height}x{width} images are too small, 16x16 is the least"
        )
    return Conv4(image_shape, filters, downsampling, norm)
