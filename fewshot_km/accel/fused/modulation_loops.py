"""Loops over kernels for `kernel_modulation`, compiled to machine code for a CPU.

Kernels W, and what is as large, are [N, K, C]: for each of N filters K = k_h * k_w rows of C numbers, so that the inner
loops run along channels. With T = tanh(U1'W) by filter, D = 1 - T^2, and G = dL/dW~:

    W~ = U2'T          P = U2 G,  S = D P          to W  U1 S       to U1  sum W S'       to U2  sum T G'

The second derivative, along A, B1 and B2 for the gradients of W, U1 and U2, with M = U1'A + B1'W and
R = D (B2 G - 2 T P M), is

    to G  U2'(D M) + B2'T      to W  U1 R + B1 S      to U1  sum W R' + A S'      to U2  sum (D M) G'

Sums over filters are taken in the kernels' precision, over channels in float64.
"""

import numpy as np

from fewshot_km.accel.fused.channels_last import Array
from fewshot_km.accel.fused.machine_code import compiled


@compiled
def product(u: Array, x: Array) -> Array:
    """u X of each filter, [N, K, C], for u [K, K]."""
    y = np.zeros_like(x)
    for n in range(x.shape[0]):
        _add_product(y[n], u, x[n])
    return y


@compiled
def gradient(g: Array, w: Array, t: Array, inner: Array, outer: Array) -> tuple[Array, Array, Array]:
    """(to W, to U1, to U2)."""
    to_w, s, to_inner, to_outer = np.zeros_like(w), np.empty_like(w[0]), _sums(w), _sums(w)
    for n in range(w.shape[0]):
        s[:] = 0
        _add_product(s, outer, g[n])
        _times_slope(s, t[n])
        _add_product(to_w[n], inner, s)
        _add_outer(to_inner, w[n], s)
        _add_outer(to_outer, t[n], g[n])
    return to_w, _over_channels(to_inner), _over_channels(to_outer)


@compiled
def second(
    a: Array, b_inner: Array, b_outer: Array, g: Array, w: Array, t: Array, inner: Array, outer: Array
) -> tuple[Array, Array, Array, Array]:
    """(to G, to W, to U1, to U2); `a` may be of no filters at all for zero."""
    inner_t, outer_t, b_inner_t, b_outer_t = inner.T.copy(), outer.T.copy(), b_inner.T.copy(), b_outer.T.copy()
    to_g, to_w, to_inner, to_outer = np.zeros_like(w), np.zeros_like(w), _sums(w), _sums(w)
    p, m, r, s = np.empty_like(w[0]), np.empty_like(w[0]), np.empty_like(w[0]), np.empty_like(w[0])
    for n in range(w.shape[0]):
        p[:] = 0
        m[:] = 0
        r[:] = 0
        _add_product(p, outer, g[n])
        _slope_times(s, p, t[n])
        if n < a.shape[0]:
            _add_product(m, inner_t, a[n])
            _add_outer(to_inner, a[n], s)
        _add_product(m, b_inner_t, w[n])
        _add_product(r, b_outer, g[n])
        _subtract_bend(r, t[n], p, m)
        _times_slope(r, t[n])
        _times_slope(m, t[n])
        _add_product(to_g[n], outer_t, m)
        _add_product(to_g[n], b_outer_t, t[n])
        _add_product(to_w[n], inner, r)
        _add_product(to_w[n], b_inner, s)
        _add_outer(to_inner, w[n], r)
        _add_outer(to_outer, m, g[n])
    return to_g, to_w, _over_channels(to_inner), _over_channels(to_outer)


@compiled
def _add_product(to: Array, u: Array, x: Array) -> None:
    for i in range(u.shape[0]):
        for j in range(u.shape[1]):
            factor = u[i, j]
            for c in range(to.shape[1]):
                to[i, c] += factor * x[j, c]


@compiled
def _add_outer(to: Array, x: Array, y: Array) -> None:
    """Products of every row of x with every one of y, [K, K, C]."""
    for i in range(x.shape[0]):
        for j in range(y.shape[0]):
            for c in range(x.shape[1]):
                to[i, j, c] += x[i, c] * y[j, c]


@compiled
def _times_slope(to: Array, t: Array) -> None:
    for i in range(t.shape[0]):
        for c in range(t.shape[1]):
            to[i, c] *= 1 - t[i, c] * t[i, c]


@compiled
def _slope_times(to: Array, x: Array, t: Array) -> None:
    for i in range(t.shape[0]):
        for c in range(t.shape[1]):
            to[i, c] = x[i, c] * (1 - t[i, c] * t[i, c])


@compiled
def _subtract_bend(to: Array, t: Array, p: Array, m: Array) -> None:
    for i in range(t.shape[0]):
        for c in range(t.shape[1]):
            to[i, c] -= 2 * t[i, c] * p[i, c] * m[i, c]


@compiled
def _sums(w: Array) -> Array:
    return np.zeros((w.shape[1], w.shape[1], w.shape[2]), w.dtype)


@compiled
def _over_channels(sums: Array) -> Array:
    total = np.zeros(sums.shape[:2], sums.dtype)
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            one = 0.0
            for c in range(sums.shape[2]):
                one += sums[i, j, c]
            total[i, j] = one
    return total
