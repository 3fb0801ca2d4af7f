"""Steps that the loops of `normalisation_loops` and `pooling_loops` share: statistics, and operations on rows.

Images are [N, H, L] or, as lines of all images, [R, L]: rows of L = W * C numbers, the channels of a pixel side by
side. What all pixels of a channel share is repeated to such a row, so that every inner loop runs along rows. It touches
so few of them that the compiler can tell them apart, which it must to use vector instructions, and it never writes to
what it reads under another name. Sums are taken over ROWS rows in the images' precision, over all in float64: closer
than pairwise sums. One thread: the engine runs a process per core.
"""

import numpy as np

from fewshot_km.accel.fused.channels_last import Array
from fewshot_km.accel.fused.machine_code import compiled

ROWS = 32  # whose sums are taken in the images' precision before they are added up in float64: close as pairwise sums


@compiled
def statistics(x: Array, channels: int, eps: float) -> tuple[Array, Array]:
    """(mean, s), float64, of rows [R, L]: from deviations from the mean of the first rows.

    It is at most sqrt(R / ROWS) standard deviations from all rows' mean, near enough for sums of squares.
    """
    near = means(x[:ROWS], np.zeros(channels))[0].astype(x.dtype).astype(np.float64)
    rest, squares = means(x, near)
    return near + rest, 1 / np.sqrt(squares - rest * rest + eps)


@compiled
def means(x: Array, near: Array) -> tuple[Array, Array]:
    """Means of (x - near) and of its square by channel, float64."""
    channels = near.size
    rest, squares = np.zeros(channels), np.zeros(channels)
    row, squares_row, near_row = empty_row(x), empty_row(x), repeated(x, near)
    for first in range(0, x.shape[0], ROWS):
        row[:] = 0
        squares_row[:] = 0
        for i in range(first, min(first + ROWS, x.shape[0])):
            add_deviations(row, squares_row, x[i], near_row)
        add_pixels(rest, row)
        add_pixels(squares, squares_row)
    return rest * channels / x.size, squares * channels / x.size


@compiled
def along_h(along_deviations: Array, total: Array, mean: Array, s: Array, like: Array) -> Array:
    """sum a h from sum a (x - mean) and sum a: the mean was rounded to the precision of `like` there."""
    result: Array = s * (along_deviations - total * (mean - mean.astype(like.dtype)))
    return result


@compiled
def gradient_terms(a: Array, b: Array, weight: Array, mean: Array, s: Array, n: int) -> tuple[Array, Array, Array]:
    """dL/dx = c0 + c1 x + c2 g."""
    scale = s * weight
    c1 = -scale * s * b / n
    return -scale * a / n - c1 * mean, c1, scale


@compiled
def second_terms(
    v: Array,
    u: Array,
    gv: Array,
    v_weight: Array,
    v_bias: Array,
    a: Array,
    b: Array,
    weight: Array,
    mean: Array,
    s: Array,
    n: int,
) -> tuple[Array, tuple[Array, Array, Array, Array], tuple[Array, Array, Array]]:
    """(to weight; to x = c0 + c1 x + c2 v + c3 g; to g = d0 + d1 h + d2 v) from sums over a channel's n pixels."""
    scale = s * weight
    k = gv - a * v / n - b * u / n
    of_g, of_v = v_weight - scale * u / n, scale * b / n  # q = of_g g - of_v v
    q_mean, qh_mean = (of_g * a - of_v * v) / n, (of_g * b - of_v * u) / n
    c1 = -s * s * (qh_mean + scale * k / n)
    return s * k, (-s * q_mean - c1 * mean, c1, -s * of_v, s * of_g), (v_bias - scale * v / n, of_g, scale)


@compiled
def combine(to: Array, c0: Array, c1: Array, c2: Array, a: Array, b: Array) -> None:
    """to = c0 + c1 a + c2 b."""
    for k in range(to.size):
        to[k] = c0[k] + c1[k] * a[k] + c2[k] * b[k]


@compiled
def add_product(to: Array, a: Array, b: Array) -> None:
    for k in range(to.size):
        to[k] += a[k] * b[k]


@compiled
def add_both(v_to: Array, u_to: Array, v: Array, x: Array, mean: Array) -> None:
    for k in range(v.size):
        v_to[k] += v[k]
        u_to[k] += v[k] * (x[k] - mean[k])


@compiled
def add_deviations(to: Array, squares_to: Array, x: Array, near: Array) -> None:
    for k in range(x.size):
        deviation = x[k] - near[k]
        to[k] += deviation
        squares_to[k] += deviation * deviation


@compiled
def scale(to: Array, c0: Array, c1: Array, a: Array) -> None:
    for k in range(to.size):
        to[k] = c0[k] + c1[k] * a[k]


@compiled
def scale_alive(to: Array, c0: Array, c1: Array, a: Array, floor: float) -> None:
    none, least = to.dtype.type(0), to.dtype.type(floor)
    for k in range(to.size):
        z = c0[k] + c1[k] * a[k]
        to[k] = none if z <= least else z


@compiled
def empty_row(like: Array) -> Array:
    return np.empty(like.shape[-1], like.dtype)


@compiled
def repeated(like: Array, of_channels: Array) -> Array:
    """[C] -> [L], repeated, in the precision of `like`."""
    row = empty_row(like)
    for start in range(0, row.size, of_channels.size):
        for c in range(of_channels.size):
            row[start + c] = of_channels[c]
    return row


@compiled
def add_pixels(to: Array, row: Array) -> None:
    """Add [L] to float64 [C]."""
    for start in range(0, row.size, to.size):
        for c in range(to.size):
            to[c] += row[start + c]
