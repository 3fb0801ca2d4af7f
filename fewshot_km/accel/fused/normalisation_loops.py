"""Loops over images for `normalisation`, compiled to machine code for a CPU: each passes over memory once or twice.

Images x are [N, H, L]: rows of L = W * C numbers, the channels of a pixel side by side; without pooling [R, L], rows of
all images. What all pixels of a channel share is repeated to such a row. So every inner loop is one over rows; it
touches so few of them that the compiler can tell them apart, which it must to use vector instructions, and it never
writes to what it reads under another name. Sums are taken over some rows in the images' precision, over all in float64:
closer than pairwise sums. One thread: the engine runs a process per core.

With n pixels per channel, h = (x - mean) s, s = (variance + eps)^-1/2, and a pixel alive where ReLU lets it through:

    y = weight h + bias  where alive
    A = sum g,  B = sum g h                 gradients of bias and weight, from g = dL/dy where alive
    dL/dx = s weight (g - A/n - h B/n)

The second derivative, along v, v_weight and v_bias for the gradients of x, weight and bias, with V = sum v, U = sum v h
and K = sum g v - A V/n - B U/n, is

    to weight   s K
    to g        s weight (v - V/n - h U/n) + v_weight h + v_bias  where alive
    to x        s (q - mean q - h (mean qh + s weight K/n)),  q = (v_weight - s weight U/n) g - s weight B/n v

Under max-pooling, alive is at most one pixel of each window, its maximum, to which the window's g belongs. Where a
first layer has normalised already, it is pooled alone.
"""

import numpy as np

from fewshot_km.accel.fused.channels_last import Array
from fewshot_km.accel.fused.machine_code import compiled

ROWS = 32  # whose sums are taken in the images' precision before they are added up in float64: close as pairwise sums
DEAD = 4  # in place of the number of a window's pixel, 0 to 3: ReLU let none through


@compiled
def normalise(x: Array, weight: Array, bias: Array, eps: float, floor: float) -> tuple[Array, Array, Array]:
    """(y, mean, s) of rows [R, L]. Alive is what exceeds `floor`, which is 0 for ReLU and -inf for none."""
    mean, s = _statistics(x, weight.size, eps)
    constant, along_x, y = _row(x, bias - mean * s * weight), _row(x, s * weight), np.empty_like(x)
    for i in range(x.shape[0]):
        _scale_alive(y[i], constant, along_x, x[i], floor)
    return y, mean, s


@compiled
def normalise_gradient(
    g: Array, x: Array, y: Array, weight: Array, mean: Array, s: Array, floor: float
) -> tuple[Array, Array, Array]:
    """(dL/dx, B, A)."""
    a, b = np.zeros(weight.size), np.zeros(weight.size)
    a_row, b_row, alive, mean_row = _empty(x), _empty(x), _empty(x), _row(x, mean)
    for first in range(0, x.shape[0], ROWS):
        a_row[:] = 0
        b_row[:] = 0
        for i in range(first, min(first + ROWS, x.shape[0])):
            _keep_alive(alive, g[i], y[i], floor)
            _add_both(a_row, b_row, alive, x[i], mean_row)
        _add_pixels(a, a_row)
        _add_pixels(b, b_row)
    b = _along_h(b, a, mean, s, x)

    c0, c1, c2 = _gradient_terms(a, b, weight, mean, s, x.size // weight.size)
    constant, along_x, along_g, result = _row(x, c0), _row(x, c1), _row(x, c2), np.empty_like(x)
    for i in range(x.shape[0]):
        _keep_alive(alive, g[i], y[i], floor)
        _combine(result[i], constant, along_x, along_g, x[i], alive)
    return result, b, a


@compiled
def normalise_second(
    v: Array,
    v_weight: Array,
    v_bias: Array,
    g: Array,
    x: Array,
    y: Array,
    weight: Array,
    mean: Array,
    s: Array,
    b: Array,
    a: Array,
    floor: float,
) -> tuple[Array, Array, Array]:
    """(to g, to x, to weight)."""
    v_sum, u, gv = np.zeros(weight.size), np.zeros(weight.size), np.zeros(weight.size)
    v_row, u_row, gv_row, alive, mean_row = _empty(x), _empty(x), _empty(x), _empty(x), _row(x, mean)
    for first in range(0, x.shape[0], ROWS):
        v_row[:] = 0
        u_row[:] = 0
        gv_row[:] = 0
        for i in range(first, min(first + ROWS, x.shape[0])):
            _keep_alive(alive, g[i], y[i], floor)
            _add_both(v_row, u_row, v[i], x[i], mean_row)
            _add_product(gv_row, v[i], alive)
        _add_pixels(v_sum, v_row)
        _add_pixels(u, u_row)
        _add_pixels(gv, gv_row)
    u = _along_h(u, v_sum, mean, s, x)

    n = x.size // weight.size
    to_weight, (c0, c1, c2, c3), (d0, d1, d2) = _second_terms(v_sum, u, gv, v_weight, v_bias, a, b, weight, mean, s, n)
    x_constant, x_along_x, x_along_v, x_along_g = _row(x, c0), _row(x, c1), _row(x, c2), _row(x, c3)
    g_constant, g_along_h, g_along_v = _row(x, d0), _row(x, d1), _row(x, d2)
    h, constant, along_x, to_g, to_x = _empty(x), _row(x, -mean * s), _row(x, s), np.empty_like(x), np.empty_like(x)
    for i in range(x.shape[0]):
        _combine(to_x[i], x_constant, x_along_x, x_along_v, x[i], v[i])
        _keep_alive(alive, g[i], y[i], floor)
        _add_product(to_x[i], x_along_g, alive)
        _scale(h, constant, along_x, x[i])
        _combine(alive, g_constant, g_along_h, g_along_v, h, v[i])
        _keep_alive(to_g[i], alive, y[i], floor)
    return to_g, to_x, to_weight


@compiled
def pool(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array, Array, Array]:
    """(y, h of the maxima, which pixel of each 2x2 window is alive, mean, s); the first three [N, H', L']."""
    mean, s = _statistics(x.reshape(-1, x.shape[2]), weight.size, eps)
    y = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // weight.size // 2 * weight.size), x.dtype)
    h, which, maxima = np.empty_like(y), np.empty(y.shape, np.uint8), _empty(y)
    h_constant, along_x, y_constant, along_h = _row(y, -mean * s), _row(y, s), _row(y, bias), _row(y, weight)
    for m in range(x.shape[0]):
        for i in range(y.shape[1]):
            _maxima(x[m], i, weight.size, maxima, which[m, i])
            _scale(h[m, i], h_constant, along_x, maxima)
            _scale_alive(y[m, i], y_constant, along_h, h[m, i], 0.0)
            _mark_dead(which[m, i], y[m, i])
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
    u = _along_h(u, v_sum, mean, s, x)

    n = x.size // weight.size
    to_weight, (c0, c1, c2, c3), (d0, d1, d2) = _second_terms(v_sum, u, gv, v_weight, v_bias, a, b, weight, mean, s, n)
    x_constant, x_along_x, x_along_v, x_along_g = _row(x, c0), _row(x, c1), _row(x, c2), c3.astype(x.dtype)
    g_constant, g_along_h, g_along_v = _row(g, d0), _row(g, d1), _row(g, d2)
    for m in range(x.shape[0]):
        for i in range(x.shape[1]):
            _combine(to_x[m, i], x_constant, x_along_x, x_along_v, x[m, i], v[m, i])
        _unpool(to_x[m], g[m], which[m], x_along_g)
        for i in range(g.shape[1]):
            _combine(g_row, g_constant, g_along_h, g_along_v, h[m, i], to_g[m, i])
            _keep_marked(to_g[m, i], g_row, which[m, i])
    return to_g, to_x, to_weight


@compiled
def max_pool(x: Array, channels: int) -> tuple[Array, Array]:
    """(ReLU of the maxima of 2x2 windows, which pixel of each is alive), [N, H', L'], of images [N, H, L]."""
    y = np.empty((x.shape[0], x.shape[1] // 2, x.shape[2] // channels // 2 * channels), x.dtype)
    which, maxima = np.empty(y.shape, np.uint8), _empty(y)
    for m in range(x.shape[0]):
        for i in range(y.shape[1]):
            _maxima(x[m], i, channels, maxima, which[m, i])
            _mark_dead(which[m, i], maxima)
            _keep_marked(y[m, i], maxima, which[m, i])
    return y, which


@compiled
def unpool(g: Array, which: Array, height: int, width: int, channels: int) -> Array:
    """Images [N, height, width * C] of zeros, but g of each window [N, H', L'] at its pixel that is alive."""
    result, ones = np.zeros((g.shape[0], height, width * channels), g.dtype), np.ones(channels, g.dtype)
    for m in range(g.shape[0]):
        _unpool(result[m], g[m], which[m], ones)
    return result


@compiled
def pick(x: Array, which: Array, channels: int) -> Array:
    """Of each window of images [N, H, L] the pixel that is alive, or 0: [N, H', L']."""
    result = np.empty(which.shape, x.dtype)
    for m in range(x.shape[0]):
        for i in range(which.shape[1]):
            _chosen(x[m], i, which[m, i], channels, result[m, i])
    return result


@compiled
def _statistics(x: Array, channels: int, eps: float) -> tuple[Array, Array]:
    """(mean, s), float64, of rows [R, L]: from deviations from the mean of the first rows.

    It is at most sqrt(R / ROWS) standard deviations from all rows' mean, near enough for sums of squares.
    """
    near = _means(x[:ROWS], np.zeros(channels))[0].astype(x.dtype).astype(np.float64)
    rest, squares = _means(x, near)
    return near + rest, 1 / np.sqrt(squares - rest * rest + eps)


@compiled
def _means(x: Array, near: Array) -> tuple[Array, Array]:
    """Means of (x - near) and of its square by channel, float64."""
    channels = near.size
    rest, squares = np.zeros(channels), np.zeros(channels)
    row, squares_row, near_row = _empty(x), _empty(x), _row(x, near)
    for first in range(0, x.shape[0], ROWS):
        row[:] = 0
        squares_row[:] = 0
        for i in range(first, min(first + ROWS, x.shape[0])):
            _add_deviations(row, squares_row, x[i], near_row)
        _add_pixels(rest, row)
        _add_pixels(squares, squares_row)
    return rest * channels / x.size, squares * channels / x.size


@compiled
def _along_h(along_deviations: Array, total: Array, mean: Array, s: Array, like: Array) -> Array:
    """sum a h from sum a (x - mean) and sum a: the mean was rounded to the precision of `like` there."""
    result: Array = s * (along_deviations - total * (mean - mean.astype(like.dtype)))
    return result


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
def _combine(to: Array, c0: Array, c1: Array, c2: Array, a: Array, b: Array) -> None:
    """to = c0 + c1 a + c2 b."""
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
def _scale_alive(to: Array, c0: Array, c1: Array, a: Array, floor: float) -> None:
    none, least = to.dtype.type(0), to.dtype.type(floor)
    for k in range(to.size):
        z = c0[k] + c1[k] * a[k]
        to[k] = none if z <= least else z


@compiled
def _keep_alive(to: Array, g: Array, y: Array, floor: float) -> None:
    """g, or zero where y is not above the floor; what is not a number passes, as through torch's ReLU."""
    none, least = g.dtype.type(0), y.dtype.type(floor)
    for k in range(to.size):
        to[k] = none if y[k] <= least else g[k]


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
    return np.empty(like.shape[-1], like.dtype)


@compiled
def _row(like: Array, of_channels: Array) -> Array:
    """[C] -> [L], repeated, in the precision of `like`."""
    row = _empty(like)
    for start in range(0, row.size, of_channels.size):
        for c in range(of_channels.size):
            row[start + c] = of_channels[c]
    return row


@compiled
def _add_pixels(to: Array, row: Array) -> None:
    """Add [L] to float64 [C]."""
    for start in range(0, row.size, to.size):
        for c in range(to.size):
            to[c] += row[start + c]
