"""Images and kernels with the channels of a pixel side by side in memory, as the fastest kernels of a CPU want them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot_km.data.episodes import Episode
from fewshot_km.learners.base import Params

Array = NDArray[Any]


def episode_channels_last(episode: Episode) -> Episode:
    """The episode with channels-last images.

    Strides are set by hand: torch would leave images of one channel as they are, and so the layers after them.
    """

    def lay_out(x: Tensor) -> Tensor:
        _, images, channels, height, width = x.shape
        return (
            x.permute(0, 1, 3, 4, 2)
            .contiguous()
            .view(-1)
            .as_strided(
                x.shape,
                (images * channels * height * width, channels * height * width, 1, width * channels, channels),
            )
        )

    return Episode(lay_out(episode.support_x), episode.support_y, lay_out(episode.query_x), episode.query_y)


def kernels_channels_last(meta: Params) -> Params:
    """The parameters with channels-last convolution kernels."""
    return {n: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for n, v in meta.items()}


def readable(tensor: Tensor) -> bool:
    """True for tensors that the loops can read: on a CPU, in a precision that they are written for."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def array_of(tensor: Tensor) -> Array:
    """The tensor's numbers as a contiguous array, without a graph."""
    return np.ascontiguousarray(tensor.detach().numpy())


def rows_of(images: Tensor) -> Array:
    """[N, C, H, W] -> [N, H, W * C] without a graph: a view of channels-last images, a copy of others.

    numpy makes views in less time than torch.
    """
    pixels = np.ascontiguousarray(images.detach().numpy().transpose(0, 2, 3, 1))
    return pixels.reshape(*pixels.shape[:2], -1)


def images_of(rows: Array, channels: int) -> Tensor:
    """[N, H, W * C] -> [N, C, H, W], a channels-last view."""
    return torch.from_numpy(rows.reshape(*rows.shape[:2], -1, channels).transpose(0, 3, 1, 2))
