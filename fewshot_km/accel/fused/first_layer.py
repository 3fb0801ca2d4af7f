"""A network's first convolution with its batch norm and ReLU as one convolution, where windows have few numbers.

The statistics of a linear map follow from those of what it maps. Let p be the windows of M pixels of all images, with
mean m and covariance C, and q one channel's kernel, [K] as they are. The channel's variance is q'Cq, so with

    s = (q'Cq + eps)^-1/2:      y = relu(scale s q'(p - m) + shift)

C is all that normalising takes: no pass over the maps, which in a first layer are the largest of a network. From
g = dL/dy where y is alive, D = sum g (p - m), A = sum g, E = q'D and c = C q, the gradients are

    of shift  A       of scale  s E       of q  scale (s D - s^3 E c)

The second derivative, along v, v_scale and v_shift for the gradients of q, scale and shift, is

    to g      r'(p - m) + v_shift  where alive,  r = scale s v + (v_scale s - scale s^3 v'c) q
    to scale  s v'D - s^3 E v'c
    to q      scale (3 s^5 E v'c c - s^3 (v'D c + v'c D + E C v)) + v_scale (s D - s^3 E c)

Under max-pooling, alive is at most one pixel of each window of 2x2. Images get no gradient: they are data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from fewshot_km.accel.fused import normalisation_loops as loops
from fewshot_km.accel.fused.channels_last import Array, channels_last, images_of, rows_of
from fewshot_km.accel.fused.derivatives import SecondDerivative

aten = torch.ops.aten
quietly = np.errstate(all="ignore")  # where a training diverges, its numbers tell, as they do with torch's operations


@dataclass(frozen=True)
class Windows:
    """What a first layer knows of its images.

    images      padded, less the mean of each channel [N, C, H, W]
    stride      of the convolution
    mean        m [K], float64: of the windows' numbers, in the order of a kernel's
    covariance  C [K, K], float64
    """

    images: Tensor
    stride: list[int]
    mean: Array
    covariance: Array

    @staticmethod
    def of(x: Tensor, kernel: Sequence[int], stride: list[int], padding: list[int]) -> "Windows":
        """Of images [N, C, H, W] under kernels of this height and width."""
        x = x.detach()
        padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])) - x.mean((0, 2, 3), keepdim=True)
        seen = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
        numbers = seen.permute(1, 4, 5, 0, 2, 3).flatten(3).flatten(0, 2).double()
        mean = numbers.mean(1)
        covariance = numbers @ numbers.t() / numbers.shape[1] - mean[:, None] * mean
        return Windows(channels_last(padded), stride, mean.numpy(), covariance.numpy())

    def convolve(self, kernels: Array, bias: Array, like: Tensor) -> Tensor:
        """kernels (p - m) + bias [N, F, H', W'], from [F, K] and [F]."""
        weight = channels_last(_tensor(kernels, like))
        result: Tensor = aten.convolution(
            self.images, weight, _tensor(bias - kernels @ self.mean, like[:, 0, 0, 0]), self.stride, *_PADDED
        )
        return result

    def correlate(self, g: Tensor, like: Tensor) -> tuple[Array, Array]:
        """D = sum g (p - m) [F, K] and A = sum g [F], of g [N, F, H', W']."""
        # torch would sum up g, too, but takes as long for that as for the rest
        _, found, _ = aten.convolution_backward(g, self.images, like, None, self.stride, *_PADDED, [False, True, False])
        total = _rows(g.sum((0, 2, 3)))
        return _rows(found) - total[:, None] * self.mean, total


_PADDED = ([0, 0], [1, 1], False, [0, 0], 1)  # padding, dilation, transposed, output padding, groups


@dataclass(frozen=True)
class _Known:
    """What derivatives need: c [F, K], s [F], under pooling which pixel of each window is alive, and the map's shape.

    The gradient adds D [F, K] and E [F].
    """

    windows: Windows
    c: Array
    s: Array
    which: Array | None
    map_shape: tuple[int, ...]
    d: Array | None = None
    e: Array | None = None

    def spread(self, g: Tensor, y: Tensor) -> Tensor:
        """What of g reaches the map."""
        if self.which is None:
            alive: Tensor = aten.threshold_backward(g, y, 0)
            return alive
        _, channels, height, width = self.map_shape
        return images_of(loops.unpool(rows_of(g), self.which, height, width, channels), channels)

    def pick(self, v: Tensor, y: Tensor) -> Tensor:
        """What of a map reaches y, along which it is alive: the transpose."""
        if self.which is None:
            alive: Tensor = aten.threshold_backward(v, y, 0)
            return alive
        return images_of(loops.pick(rows_of(v), self.which, y.shape[1]), y.shape[1])


class _FirstLayer(Function):
    """y from kernels, scale and shift."""

    @staticmethod
    @quietly
    def forward(
        ctx: Any, weight: Tensor, scale: Tensor, shift: Tensor, windows: Windows, eps: float, pool: bool
    ) -> Tensor:
        q = _rows(weight)
        c = q @ windows.covariance
        s = 1 / np.sqrt((q * c).sum(1) + eps)
        z = windows.convolve((_rows(scale) * s)[:, None] * q, _rows(shift), weight)
        which = None
        if pool:
            largest, which = loops.max_pool(rows_of(z), len(q))
            y = images_of(largest, len(q))
        else:
            y = z.relu_()
        ctx.save_for_backward(weight, scale, y)
        ctx.known = _Known(windows, c, s, which, z.shape)
        return y

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (outputs[0], *ctx.saved_tensors, ctx.known)
        return *_FirstLayerGradient.apply(*inputs), None, None, None  # type: ignore[no-untyped-call]


class _FirstLayerGradient(Function):
    """Gradients with respect to kernels, scale and shift. y tells what is alive."""

    @staticmethod
    @quietly
    def forward(
        ctx: Any, g: Tensor, weight: Tensor, scale: Tensor, y: Tensor, known: _Known
    ) -> tuple[Tensor, Tensor, Tensor]:
        d, a = known.windows.correlate(known.spread(g, y), weight)
        q, c, s = _rows(weight), known.c, known.s
        e = (q * d).sum(1)
        to_q = (_rows(scale) * s)[:, None] * (d - (s**2 * e)[:, None] * c)
        ctx.save_for_backward(weight, scale, y)
        ctx.known = replace(known, d=d, e=e)
        return _tensor(to_q, weight), _tensor(s * e, scale), _tensor(a, scale)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        inputs = (*outputs, *ctx.saved_tensors, ctx.known)
        return *_FirstLayerSecond.apply(*inputs), None, None  # type: ignore[no-untyped-call]


class _FirstLayerSecond(SecondDerivative):
    """Gradients of that with respect to g, kernels and scale, along v, v_scale and v_shift."""

    @staticmethod
    @quietly
    def forward(_: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        v_weight, v_scale, v_shift, weight, scale, y, known = inputs
        c, s, d, e = known.c, known.s, known.d, known.e
        q, v, along_scale, gamma = _rows(weight), _rows(v_weight), _rows(v_scale), _rows(scale)
        vc, vd = (v * c).sum(1), (v * d).sum(1)
        r = (gamma * s)[:, None] * v + (along_scale * s - gamma * s**3 * vc)[:, None] * q
        to_g = known.pick(known.windows.convolve(r, _rows(v_shift), weight), y)
        bend = (3 * s**2 * e * vc - vd)[:, None] * c - vc[:, None] * d - e[:, None] * (v @ known.windows.covariance)
        slope = d - (s**2 * e)[:, None] * c
        to_q = (gamma * s**3)[:, None] * bend + (along_scale * s)[:, None] * slope
        return to_g, _tensor(to_q, weight), _tensor(s * vd - s**3 * e * vc, scale)


def conv_norm_relu(weight: Tensor, scale: Tensor, shift: Tensor, windows: Windows, eps: float, *, pool: bool) -> Tensor:
    """y [N, F, H', W'], or [N, F, H'/2, W'/2] with `pool`, from kernels [F, C, k_h, k_w], scale and shift [F]."""
    y: Tensor = _FirstLayer.apply(weight, scale, shift, windows, eps, pool)  # type: ignore[no-untyped-call]
    return y


def _rows(of_filters: Tensor) -> Array:
    """[F, ...] -> float64 [F, K], or [F] as it is."""
    values = of_filters.detach().numpy().astype(np.float64)
    return values.reshape(len(values), -1) if values.ndim > 1 else values


def _tensor(values: Array, like: Tensor) -> Tensor:
    """The way back."""
    return torch.from_numpy(values.reshape(like.shape)).to(like.dtype)
