"""Copies between images and the windows that a convolution's kernel sees, for `window_products`.

Images are [N, H, L]: rows of L = W * C numbers, the channels of a pixel side by side, so that a row of a window is one
stretch of memory. Windows are [N, H', W', k_h, k_w * C], with zeros beyond the image.
"""

from fewshot_km.accel.fused.channels_last import Array
from fewshot_km.accel.fused.machine_code import compiled

SHORT = 16  # numbers, up to which copying one by one is faster than by slices


@compiled
def gather(x: Array, windows: Array, channels: int, stride: tuple[int, int], padding: tuple[int, int]) -> None:
    """Write the windows of x."""
    n, height, width, rows, stretch = windows.shape
    for m in range(n):
        for i in range(height):
            top = i * stride[0] - padding[0]
            for j in range(width):
                start, first, last = _inside(j, x.shape[2], stretch, channels, stride[1], padding[1])
                for k in range(rows):
                    window = windows[m, i, j, k]
                    if top + k < 0 or top + k >= x.shape[1]:
                        _zero(window)
                    elif stretch <= SHORT:
                        for q in range(stretch):
                            window[q] = x[m, top + k, start + q] if first <= q and q < last else 0
                    else:
                        if first > 0:
                            _zero(window[:first])
                        if last < stretch:
                            _zero(window[last:])
                        _copy(window[first:last], x[m, top + k, start + first : start + last])


@compiled
def scatter(windows: Array, x: Array, channels: int, stride: tuple[int, int], padding: tuple[int, int]) -> None:
    """Write the sum over all windows that see it to each number of x."""
    n, height, width, rows, stretch = windows.shape
    for m in range(n):
        for i in range(x.shape[1]):
            _zero(x[m, i])
        for i in range(height):
            top = i * stride[0] - padding[0]
            for j in range(width):
                start, first, last = _inside(j, x.shape[2], stretch, channels, stride[1], padding[1])
                for k in range(max(0, -top), min(rows, x.shape[1] - top)):
                    _add(x[m, top + k, start + first : start + last], windows[m, i, j, k, first:last])


@compiled
def _inside(j: int, row: int, stretch: int, channels: int, stride: int, padding: int) -> tuple[int, int, int]:
    """Where the j-th stretch starts in its row, perhaps before it, and which part of the stretch lies in the row."""
    start = (j * stride - padding) * channels
    first = min(stretch, max(0, -start))
    return start, first, max(first, min(stretch, row - start))


@compiled
def _zero(to: Array) -> None:
    for k in range(to.size):
        to[k] = 0


@compiled
def _copy(to: Array, a: Array) -> None:
    for k in range(to.size):
        to[k] = a[k]


@compiled
def _add(to: Array, a: Array) -> None:
    for k in range(to.size):
        to[k] += a[k]
