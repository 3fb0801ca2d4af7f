"""Loops over images for `normalisation`, compiled to machine code for a CPU: each passes over memory once or twice.

Images x are [N, H, L]: rows of L = W * C numbers, the channels of a pixel side by side. What all pixels of a channel
share is repeated to such a row. So every inner loop is one over rows; it touches so few of them that the compiler can
tell them apart, which it must to use vector instructions. Sums are taken over the rows of an image in the images'
precision, and over images in float64: closer than pairwise sums. One thread: the engine runs a process per core.

With n pixels per channel, h = (x - mean) s, s = (variance + eps)^-1/2, and a pixel alive where ReLU lets it through:

    y = weight h + bias  where alive
    A = sum g,  B = sum g h                 gradients of bias and weight, from g = dL/dy where alive
    dL/dx = s weight (g - A/n - h B/n)

The second derivative, along v, v_weight and v_bias for the gradients of x, weight and bias, with V = sum v, U = sum v h
and K = sum g v - A V/n - B U/n, is

    to weight   s K
    to g        s weight (v - V/n - h U/n) + v_weight h + v_bias  where alive
    to x        s (q - mean q - h (mean qh + s weight K/n)),  q = (v_weight - s weight U/n) g - s weight B/n v

Under max-pooling, alive is at most one pixel of each window, its maximum, to which the window's g belongs.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Loop = TypeVar("Loop", bound=Callable[..., Any])

DEAD = 4  # in place of the number of a window's pixel, 0 to 3: ReLU let none through


def compiled(loop: Loop) -> Loop:
    """Machine code from the first call on, for seconds once: it is kept beside this file or in the user's cache."""
    options: dict[str, Any] = {"error_model": "numpy"}  # division by zero is nan or inf, as in torch
    try:
        machine_code: Loop = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # neither can be written
        machine_code = numba.njit(**options)(loop)
    return machine_code


@compiled
def normalise(x: Array, weight: Array, bias: Array, eps: float, floor: float) -> tuple[Array, Array, Array]:
    """(y, mean, s). Alive is what exceeds `floor`, which is 0 for ReLU and -inf for none."""
    mean, s = _statistics(x, weight.size, eps)
    terms = _rows(x, s, -mean * s, weight, bias)
    y, h, z = np.empty_like(x), _empty(x), _empty(x)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            _normalised(x[m, i], terms, h, z)
            _keep_alive(y[m, i], z, z, floor)
    return y, mean, s


@compiled
def normalise_gradient(
    g: Array, x: Array, weight: Array, bias: Array, mean: Array, s: Array, floor: float
) -> tuple[Array, Array, Array]:
    """(dL/dx, B, A)."""
    a, b = np.zeros(weight.size), np.zeros(weight.size)
    a_row, b_row, h, z, alive = _empty(x), _empty(x), _empty(x), _empty(x), _empty(x)
    terms = _rows(x, s, -mean * s, weight, bias)
    for m in range(x.shape[0]):
        a_row[:] = 0
        b_row[:] = 0
        for i in range(x.shape[1]):
            _normalised(x[m, i], terms, h, z)
            _keep_alive(alive, g[m, i], z, floor)
            _add(a_row, alive)
            _add_product(b_row, alive, h)
        _add_pixels(a, a_row)
        _add_pixels(b, b_row)

    c0, c1, c2 = _gradient_terms(a, b, weight, mean, s, x.size // weight.size)
    to_x = _rows(x, c0, c1, c2, c2)
    result = np.empty_like(x)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            _normalised(x[m, i], terms, h, z)
            _keep_alive(alive, g[m, i], z, floor)
            _combine(result[m, i], to_x, x[m, i], alive)
    return result, b, a


@compiled
def normalise_second(
    v: Array,
    v_weight: Array,
    v_bias: Array,
    g: Array,
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    s: Array,
    b: Array,
    a: Array,
    floor: float,
) -> tuple[Array, Array, Array]:
    """(to g, to x, to weight)."""
    v_sum, u, gv = np.zeros(weight.size), np.zeros(weight.size), np.zeros(weight.size)
    v_row, u_row, gv_row, h, z, alive = _empty(x), _empty(x), _empty(x), _empty(x), _empty(x), _empty(x)
    terms = _rows(x, s, -mean * s, weight, bias)
    for m in range(x.shape[0]):
        v_row[:] = 0
        u_row[:] = 0
        gv_row[:] = 0
        for i in range(x.shape[1]):
            _normalised(x[m, i], terms, h, z)
            _keep_alive(alive, g[m, i], z, floor)
            _add(v_row, v[m, i])
            _add_product(u_row, v[m, i], h)
            _add_product(gv_row, v[m, i], alive)
        _add_pixels(v_sum, v_row)
        _add_pixels(u, u_row)
        _add_pixels(gv, gv_row)

    n = x.size // weight.size
    to_weight, (c0, c1, c2, c3), (d0, d1, d2) = _second_terms(v_sum, u, gv, v_weight, v_bias, a, b, weight, mean, s, n)
    to_x_terms, along_v, to_g_terms = _rows(x, c0, c1, c3, c3), _row(x, c2), _rows(x, d0, d1, d2, d2)
    to_g, to_x = np.empty_like(x), np.empty_like(x)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            _normalised(x[m, i], terms, h, z)
            _keep_alive(alive, g[m, i], z, floor)
            _combine(to_x[m, i], to_x_terms, x[m, i], alive)
            _add_product(to_x[m, i], along_v, v[m, i])
            _combine(alive, to_g_terms, h, v[m, i])
            _keep_alive(to_g[m, i], alive, z, floor)
    return to_g, to_x, to_weight


@compiled
def pool(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array, Array, Array]:
    """(y, h of the maxima, which pixel of each 2x2 window is alive, mean, s); the first three [N, H', L']."""
    mean, s = _statistics(x, weight.size, eps)
    y = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // weight.size // 2 * weight.size), x.dtype)
    h, which, maxima, z = np.empty_like(y), np.empty(y.shape, np.uint8), _empty(y), _empty(y)
    terms = _rows(y, s, -mean * s, weight, bias)
    for m in range(x.shape[0]):
        for i in range(y.shape[1]):
            _maxima(x[m], i, weight.size, maxima, which[m, i])
            _normalised(maxima, terms, h[m, i], z)
            _mark_dead(which[m, i], z)
            _keep_alive(y[m, i], z, z, 0.0)
    return y, h, which, mean, s


@compiled
def pool_gradient(
    g: Array, x: Array, h: Array, which: Array, weight: Array, mean: Array, s: Array
) -> tuple[Array, Array, Array]:
    """(dL/dx, B, A)."""
    a, b = np.zeros(weight.size), np.zeros(weight.size)
    a_row, b_row, alive = _empty(g), _empty(g), _empty(g)
    for m in range(x.shape[0]):
        a_row[:] = 0
        b_row[:] = 0
        for i in range(g.shape[1]):
            _keep_marked(alive, g[m, i], which[m, i])
            _add(a_row, alive)
            _add_product(b_row, alive, h[m, i])
        _add_pixels(a, a_row)
        _add_pixels(b, b_row)

    c0, c1, c2 = _gradient_terms(a, b, weight, mean, s, x.size // weight.size)
    constant, along_x, along_g = _row(x, c0), _row(x, c1), c2.astype(x.dtype)
    result = np.empty_like(x)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            _scale(result[m, i], constant, along_x, x[m, i])
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
    v_row, u_row, gv_row, g_row, mean_row = _empty(x), _empty(x), _empty(g), _empty(g), _row(x, mean)
    to_g, to_x = np.empty_like(g), np.empty_like(x)  # the first holds v of the maxima until its sums are known
    for m in range(x.shape[0]):
        v_row[:] = 0
        u_row[:] = 0
        gv_row[:] = 0
        for i in range(x.shape[1]):
            _add_both(v_row, u_row, v[m, i], x[m, i], mean_row)
        for i in range(g.shape[1]):
            _chosen(v[m], i, which[m, i], weight.size, to_g[m, i])
            _add_product(gv_row, to_g[m, i], g[m, i])
        _add_pixels(v_sum, v_row)
        _add_pixels(u, u_row)
        _add_pixels(gv, gv_row)
    u = s * (u - v_sum * (mean - mean.astype(x.dtype)))

    n = x.size // weight.size
    to_weight, (c0, c1, c2, c3), (d0, d1, d2) = _second_terms(v_sum, u, gv, v_weight, v_bias, a, b, weight, mean, s, n)
    to_x_terms, along_g, to_g_terms = _rows(x, c0, c1, c2, c2), c3.astype(x.dtype), _rows(g, d0, d1, d2, d2)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            _combine(to_x[m, i], to_x_terms, x[m, i], v[m, i])
        _unpool(to_x[m], g[m], which[m], along_g)
        for i in range(g.shape[1]):
            _combine(g_row, to_g_terms, h[m, i], to_g[m, i])
            _keep_marked(to_g[m, i], g_row, which[m, i])
    return to_g, to_x, to_weight


@compiled
def _statistics(x: Array, channels: int, eps: float) -> tuple[Array, Array]:
    """(mean, s), float64: of each image while it is in the cache, joined as in Chan, Golub & LeVeque 1979."""
    pixels = x.size // channels // x.shape[0]
    mean, squares = np.zeros(channels), np.zeros(channels)
    row, squares_row = _empty(x), _empty(x)
    for m in range(x.shape[0]):
        row[:] = 0
        for i in range(x.shape[1]):
            _add(row, x[m, i])
        near = np.zeros(channels)
        _add_pixels(near, row)
        near = (near / pixels).astype(x.dtype).astype(np.float64)  # the image's mean but for rounding
        near_row = _row(x, near)
        row[:] = 0
        squares_row[:] = 0
        for i in range(x.shape[1]):
            _add_deviations(row, squares_row, x[m, i], near_row)
        rest, own_squares = np.zeros(channels), np.zeros(channels)
        _add_pixels(rest, row)
        _add_pixels(own_squares, squares_row)
        rest /= pixels
        apart = near + rest - mean
        squares += own_squares - pixels * rest * rest + apart * apart * (pixels * m / (m + 1))
        mean += apart / (m + 1)
    return mean, 1 / np.sqrt(squares / (pixels * x.shape[0]) + eps)


@compiled
def _gradient_terms(a: Array, b: Array, weight: Array, mean: Array, s: Array, n: int) -> tuple[Array, Array, Array]:
    """dL/dx = c0 + c1 x + c2 g."""
    scale = s * weight
    c1 = -scale * s * b / n
    return -scale * a / n - c1 * mean, c1, scale


@compiled
def _second_terms(
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
def _normalised(x: Array, terms: tuple[Array, Array, Array, Array], h: Array, z: Array) -> None:
    """h = s x - s mean, z = weight h + bias, for a row. Always the same numbers, so that all agree on what is alive."""
    s, shift, weight, bias = terms
    for k in range(x.size):
        h[k] = s[k] * x[k] + shift[k]
    for k in range(x.size):
        z[k] = weight[k] * h[k] + bias[k]


@compiled
def _combine(to: Array, terms: tuple[Array, Array, Array, Array], a: Array, b: Array) -> None:
    """to = c0 + c1 a + c2 b."""
    c0, c1, c2, _ = terms
    for k in range(to.size):
        to[k] = c0[k] + c1[k] * a[k] + c2[k] * b[k]


@compiled
def _add(to: Array, a: Array) -> None:
    for k in range(to.size):
        to[k] += a[k]


@compiled
def _add_product(to: Array, a: Array, b: Array) -> None:
    for k in range(to.size):
        to[k] += a[k] * b[k]


@compiled
def _add_both(v_to: Array, u_to: Array, v: Array, x: Array, mean: Array) -> None:
    for k in range(v.size):
        v_to[k] += v[k]
        u_to[k] += v[k] * (x[k] - mean[k])


@compiled
def _add_deviations(to: Array, squares_to: Array, x: Array, near: Array) -> None:
    for k in range(x.size):
        deviation = x[k] - near[k]
        to[k] += deviation
        squares_to[k] += deviation * deviation


@compiled
def _scale(to: Array, c0: Array, c1: Array, a: Array) -> None:
    for k in range(to.size):
        to[k] = c0[k] + c1[k] * a[k]


@compiled
def _keep_alive(to: Array, g: Array, z: Array, floor: float) -> None:
    """g, or zero where z is not above the floor; what is not a number passes, as through torch's ReLU."""
    none, least = g.dtype.type(0), z.dtype.type(floor)
    for k in range(to.size):
        to[k] = none if z[k] <= least else g[k]


@compiled
def _keep_marked(to: Array, g: Array, which: Array) -> None:
    none, dead = g.dtype.type(0), np.uint8(DEAD)
    for k in range(to.size):
        to[k] = none if which[k] == dead else g[k]


@compiled
def _mark_dead(which: Array, z: Array) -> None:
    none, dead = z.dtype.type(0), np.uint8(DEAD)
    for k in range(which.size):
        which[k] = dead if z[k] <= none else which[k]


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
    """Of each window of row i the pixel that is alive, or 0."""
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
    """Add factor * g of each window to its pixel that is alive."""
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


@compiled
def _empty(like: Array) -> Array:
    return np.empty(like.shape[2], like.dtype)


@compiled
def _row(like: Array, of_channels: Array) -> Array:
    """[C] -> [L], repeated, in the precision of `like`."""
    row = _empty(like)
    for start in range(0, row.size, of_channels.size):
        for c in range(of_channels.size):
            row[start + c] = of_channels[c]
    return row


@compiled
def _rows(like: Array, a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array, Array, Array]:
    return _row(like, a), _row(like, b), _row(like, c), _row(like, d)


@compiled
def _add_pixels(to: Array, row: Array) -> None:
    """Add [L] to float64 [C]."""
    for start in range(0, row.size, to.size):
        for c in range(to.size):
            to[c] += row[start + c]
