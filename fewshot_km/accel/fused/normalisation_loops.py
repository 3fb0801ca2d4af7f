"""Batch norm and ReLU of rows [R, L] of all images, with first and second derivatives, compiled to machine code.

With n pixels per channel, h = (x - mean) s, s = (variance + eps)^-1/2, and a pixel alive where ReLU lets it through:

    y = weight h + bias  where alive
    A = sum g,  B = sum g h                 gradients of bias and weight, from g = dL/dy where alive
    dL/dx = s weight (g - A/n - h B/n)

The second derivative, along v, v_weight and v_bias for the gradients of x, weight and bias, with V = sum v, U = sum v h
and K = sum g v - A V/n - B U/n, is

    to weight   s K
    to g        s weight (v - V/n - h U/n) + v_weight h + v_bias  where alive
    to x        s (q - mean q - h (mean qh + s weight K/n)),  q = (v_weight - s weight U/n) g - s weight B/n v
"""

import numpy as np

from fewshot_km.accel.fused.channels_last import Array
from fewshot_km.accel.fused.machine_code import compiled
from fewshot_km.accel.fused.row_loops import (
    ROWS,
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


@compiled
def normalise(x: Array, weight: Array, bias: Array, eps: float, floor: float) -> tuple[Array, Array, Array]:
    """(y, mean, s) of rows [R, L]. Alive is what exceeds `floor`, which is 0 for ReLU and -inf for none."""
    mean, s = statistics(x, weight.size, eps)
    constant, along_x, y = repeated(x, bias - mean * s * weight), repeated(x, s * weight), np.empty_like(x)
    for i in range(x.shape[0]):
        scale_alive(y[i], constant, along_x, x[i], floor)
    return y, mean, s


@compiled
def normalise_gradient(
    g: Array, x: Array, y: Array, weight: Array, mean: Array, s: Array, floor: float
) -> tuple[Array, Array, Array]:
    """(dL/dx, B, A)."""
    a, b = np.zeros(weight.size), np.zeros(weight.size)
    a_row, b_row, alive, mean_row = empty_row(x), empty_row(x), empty_row(x), repeated(x, mean)
    for first in range(0, x.shape[0], ROWS):
        a_row[:] = 0
        b_row[:] = 0
        for i in range(first, min(first + ROWS, x.shape[0])):
            _keep_alive(alive, g[i], y[i], floor)
            add_both(a_row, b_row, alive, x[i], mean_row)
        add_pixels(a, a_row)
        add_pixels(b, b_row)
    b = along_h(b, a, mean, s, x)

    c0, c1, c2 = gradient_terms(a, b, weight, mean, s, x.size // weight.size)
    constant, along_x, along_g, result = repeated(x, c0), repeated(x, c1), repeated(x, c2), np.empty_like(x)
    for i in range(x.shape[0]):
        _keep_alive(alive, g[i], y[i], floor)
        combine(result[i], constant, along_x, along_g, x[i], alive)
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
    v_row, u_row, gv_row, alive, mean_row = empty_row(x), empty_row(x), empty_row(x), empty_row(x), repeated(x, mean)
    for first in range(0, x.shape[0], ROWS):
        v_row[:] = 0
        u_row[:] = 0
        gv_row[:] = 0
        for i in range(first, min(first + ROWS, x.shape[0])):
            _keep_alive(alive, g[i], y[i], floor)
            add_both(v_row, u_row, v[i], x[i], mean_row)
            add_product(gv_row, v[i], alive)
        add_pixels(v_sum, v_row)
        add_pixels(u, u_row)
        add_pixels(gv, gv_row)
    u = along_h(u, v_sum, mean, s, x)

    n = x.size // weight.size
    to_weight, (c0, c1, c2, c3), (d0, d1, d2) = second_terms(v_sum, u, gv, v_weight, v_bias, a, b, weight, mean, s, n)
    x_constant, x_along_x, x_along_v, x_along_g = repeated(x, c0), repeated(x, c1), repeated(x, c2), repeated(x, c3)
    g_constant, g_along_h, g_along_v = repeated(x, d0), repeated(x, d1), repeated(x, d2)
    h, constant, along_x = empty_row(x), repeated(x, -mean * s), repeated(x, s)
    to_g, to_x = np.empty_like(x), np.empty_like(x)
    for i in range(x.shape[0]):
        combine(to_x[i], x_constant, x_along_x, x_along_v, x[i], v[i])
        _keep_alive(alive, g[i], y[i], floor)
        add_product(to_x[i], x_along_g, alive)
        scale(h, constant, along_x, x[i])
        combine(alive, g_constant, g_along_h, g_along_v, h, v[i])
        _keep_alive(to_g[i], alive, y[i], floor)
    return to_g, to_x, to_weight


@compiled
def _keep_alive(to: Array, g: Array, y: Array, floor: float) -> None:
    """g, or zero where y is not above the floor; what is not a number passes, as through torch's ReLU."""
    none, least = g.dtype.type(0), y.dtype.type(floor)
    for k in range(to.size):
        to[k] = none if y[k] <= least else g[k]
