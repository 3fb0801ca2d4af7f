"""Batch norm, 2x2 max-pooling and ReLU of images [N, H, L], with first and second derivatives, in machine code.

The formulas are those of `normalisation_loops`. Alive is at most one pixel of each window, its maximum, to which the
window's g belongs.
"""

import numpy as np

from fewshot_km.accel.fused.channels_last import Array
from fewshot_km.accel.fused.machine_code import compiled
from fewshot_km.accel.fused.row_loops import (
    add_both,
    add_pixels,
    add_product,
    along_h,
    combine,
    empty_row,
    gradient_terms,
    repeated,
    scale,
    scale_alive,
    second_terms,
    statistics,
)

DEAD = 4  # in place of the number of a window's pixel, 0 to 3: ReLU let none through


@compiled
def pool(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array, Array, Array]:
    """(y, h of the maxima, which pixel of each 2x2 window is alive, mean, s); the first three [N, H', L']."""
    mean, s = statistics(x.reshape(-1, x.shape[2]), weight.size, eps)
    y = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // weight.size // 2 * weight.size), x.dtype)
    h, which, maxima = np.empty_like(y), np.empty(y.shape, np.uint8), empty_row(y)
    h_constant, along_x = repeated(y, -mean * s), repeated(y, s)
    y_constant, along_h = repeated(y, bias), repeated(y, weight)
    for m in range(x.shape[0]):
        for i in range(y.shape[1]):
            _maxima(x[m], i, weight.size, maxima, which[m, i])
            scale(h[m, i], h_constant, along_x, maxima)
            scale_alive(y[m, i], y_constant, along_h, h[m, i], 0.0)
            _mark_dead(which[m, i], y[m, i])
    return y, h, which, mean, s


@compiled
def pool_gradient(
    g: Array, x: Array, h: Array, which: Array, weight: Array, mean: Array, s: Array
) -> tuple[Array, Array, Array]:
    """(dL/dx, B, A)."""
    a, b = np.zeros(weight.size), np.zeros(weight.size)
    a_row, b_row, alive = empty_row(g), empty_row(g), empty_row(g)
    for m in range(x.shape[0]):
        a_row[:] = 0
        b_row[:] = 0
        for i in range(g.shape[1]):
            _keep_marked(alive, g[m, i], which[m, i])
            _add(a_row, alive)
            add_product(b_row, alive, h[m, i])
        add_pixels(a, a_row)
        add_pixels(b, b_row)

    c0, c1, c2 = gradient_terms(a, b, weight, mean, s, x.size // weight.size)
    constant, along_x, along_g = repeated(x, c0), repeated(x, c1), c2.astype(x.dtype)
    result = np.empty_like(x)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            scale(result[m, i], constant, along_x, x[m, i])
        _unpool(result[m], g[m], which[m], along_g)
    return result, b, a


@compiled
def pool_second(
    v: Array,
    v_weight: Array,
    v_bias: Array,
    g: Array,
    x: Array,
    h: Array,
    which: Array,
    weight: Array,
    mean: Array,
    s: Array,
    b: Array,
    a: Array,
) -> tuple[Array, Array, Array]:
    """(to g, to x, to weight)."""
    v_sum, u, gv = np.zeros(weight.size), np.zeros(weight.size), np.zeros(weight.size)
    v_row, u_row, gv_row, g_row, mean_row = empty_row(x), empty_row(x), empty_row(g), empty_row(g), repeated(x, mean)
    to_g, to_x = np.empty_like(g), np.empty_like(x)  # the first holds v of the maxima until its sums are known
    for m in range(x.shape[0]):
        v_row[:] = 0
        u_row[:] = 0
        gv_row[:] = 0
        for i in range(x.shape[1]):
            add_both(v_row, u_row, v[m, i], x[m, i], mean_row)
        for i in range(g.shape[1]):
            _chosen(v[m], i, which[m, i], weight.size, to_g[m, i])
            add_product(gv_row, to_g[m, i], g[m, i])
        add_pixels(v_sum, v_row)
        add_pixels(u, u_row)
        add_pixels(gv, gv_row)
    u = along_h(u, v_sum, mean, s, x)

    n = x.size // weight.size
    to_weight, (c0, c1, c2, c3), (d0, d1, d2) = second_terms(v_sum, u, gv, v_weight, v_bias, a, b, weight, mean, s, n)
    x_constant, x_along_x, x_along_v, x_along_g = repeated(x, c0), repeated(x, c1), repeated(x, c2), c3.astype(x.dtype)
    g_constant, g_along_h, g_along_v = repeated(g, d0), repeated(g, d1), repeated(g, d2)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            combine(to_x[m, i], x_constant, x_along_x, x_along_v, x[m, i], v[m, i])
        _unpool(to_x[m], g[m], which[m], x_along_g)
        for i in range(g.shape[1]):
            combine(g_row, g_constant, g_along_h, g_along_v, h[m, i], to_g[m, i])
            _keep_marked(to_g[m, i], g_row, which[m, i])
    return to_g, to_x, to_weight


@compiled
def _add(to: Array, a: Array) -> None:
    for k in range(to.size):
        to[k] += a[k]


@compiled
def _keep_marked(to: Array, g: Array, which: Array) -> None:
    none, dead = g.dtype.type(0), np.uint8(DEAD)
    for k in range(to.size):
        to[k] = none if which[k] == dead else g[k]


@compiled
def _mark_dead(which: Array, y: Array) -> None:
    none, dead = y.dtype.type(0), np.uint8(DEAD)
    for k in range(which.size):
        which[k] = dead if y[k] <= none else which[k]


@compiled
def _window(image: Array, i: int, start: int, channels: int) -> tuple[Array, Array, Array, Array]:
    """The pixels [C] of the window of an image [H, L] that is pooled to numbers `start` and on of row i."""
    upper, lower = image[2 * i], image[2 * i + 1]
    first, second, end = 2 * start, 2 * start + channels, 2 * start + 2 * channels
    return upper[first:second], upper[second:end], lower[first:second], lower[second:end]


@compiled
def _maxima(image: Array, i: int, channels: int, largest: Array, which: Array) -> None:
    """Row i of the pooled image, and which pixel of its window each number is: the first of several, as in torch."""
    for start in range(0, largest.size, channels):
        p, q, r, t = _window(image, i, start, channels)
        value, number = largest[start : start + channels], which[start : start + channels]
        for c in range(channels):
            upper = q[c] if q[c] > p[c] else p[c]
            lower = t[c] if t[c] > r[c] else r[c]
            in_upper, in_lower = np.uint8(q[c] > p[c]), np.uint8(2) + np.uint8(t[c] > r[c])
            value[c] = lower if lower > upper else upper
            number[c] = in_lower if lower > upper else in_upper


@compiled
def _chosen(image: Array, i: int, which: Array, channels: int, to: Array) -> None:
    """The pixel that is alive in each window of row i, or 0."""
    none = image.dtype.type(0)
    for start in range(0, to.size, channels):
        p, q, r, t = _window(image, i, start, channels)
        number, chosen = which[start : start + channels], to[start : start + channels]
        for c in range(channels):
            first, second, third, last = p[c], q[c], r[c], t[c]  # all are read, so that vector instructions can
            upper, lower = first if number[c] == 0 else second, third if number[c] == 2 else last
            value = upper if number[c] < 2 else lower
            chosen[c] = value if number[c] < DEAD else none


@compiled
def _unpool(image: Array, g: Array, which: Array, factor: Array) -> None:
    """Add factor * g of each window to the pixel of it that is alive."""
    none = image.dtype.type(0)
    channels = factor.size
    for i in range(g.shape[0]):
        for start in range(0, g.shape[1], channels):
            p, q, r, t = _window(image, i, start, channels)
            along, number = g[i, start : start + channels], which[i, start : start + channels]
            for c in range(channels):
                add = factor[c] * along[c]
                p[c] += add if number[c] == 0 else none
                q[c] += add if number[c] == 1 else none
            for c in range(channels):
                add = factor[c] * along[c]
                r[c] += add if number[c] == 2 else none
                t[c] += add if number[c] == 3 else none
