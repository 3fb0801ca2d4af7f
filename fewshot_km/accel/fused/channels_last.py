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
    """The same images, laid out so.

    Strides are set by hand because torch leaves images of one channel as they are, and layers after them, too.
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
    """The same parameters, convolution kernels laid out so."""
    return {n: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for n, v in meta.items()}


def readable(tensor: Tensor) -> bool:
    """Whether the loops can read it: on a CPU, in a precision that they are written for."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def array_of(tensor: Tensor) -> Array:
    """The same numbers, in order in memory; without a graph."""
    return np.ascontiguousarray(tensor.detach().numpy())


def channels_last(images: Tensor) -> Tensor:
    """[N, C, H, W], copied where they are not laid out so; without a graph."""
    return images_of(rows_of(images), images.shape[1])


def rows_of(images: Tensor) -> Array:
    """[N, C, H, W] -> [N, H, W * C], a view where they are laid out so; without a graph.

    By numpy, whose views take less time to make than torch's.
    """
    pixels = np.ascontiguousarray(images.detach().numpy().transpose(0, 2, 3, 1))
    return pixels.reshape(*pixels.shape[:2], -1)


def images_of(rows: Array, channels: int) -> Tensor:
    """The way back."""
    return torch.from_numpy(rows.reshape(*rows.shape[:2], -1, channels).transpose(0, 3, 1, 2))
