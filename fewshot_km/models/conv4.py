"""The four-convolution network of Vinyals et al. 2016 in the two forms that MAML used (Finn et al. 2017)."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from fewshot_km.models.backbone_registry import Downsampling, NormMode
from fewshot_km.models.norms import make_norm


class ConvBlock(nn.Module):
    """conv3x3, norm, ReLU; the convolution's stride or a 2x2 max-pooling halves height and width."""

    def __init__(self, channels_in: int, channels_out: int, downsampling: Downsampling, norm: NormMode) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2 if downsampling == "stride" else 1, padding=1)
        self.norm = make_norm(norm, channels_out)
        self.pool = downsampling == "pool"

    def forward(self, x: Tensor) -> Tensor:
        """[M, channels_in, H, W] -> [M, channels_out, H', W']."""
        x = self.conv(x)
        x = self.norm(x)
        x = F.relu(x)
        return F.max_pool2d(x, 2) if self.pool else x


class Conv4(nn.Module):
    """Four blocks and, after strided convolutions, the mean over what is left of the map."""

    def __init__(
        self, image_shape: tuple[int, int, int], filters: int, downsampling: Downsampling, norm: NormMode
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        widths = [channels, filters, filters, filters, filters]
        self.features = filters if downsampling == "stride" else filters * (height // 16) * (width // 16)
        self.blocks = nn.Sequential(*(ConvBlock(i, o, downsampling, norm) for i, o in pairwise(widths)))
        self.average = downsampling == "stride"

    def forward(self, x: Tensor) -> Tensor:
        """[M, C, H, W] -> [M, F]: F = filters (stride), or filters x H/16 x W/16 (pool)."""
        x = self.blocks(x)
        return x.mean((2, 3)) if self.average else x.flatten(1)
