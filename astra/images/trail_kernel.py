"""The compiled part of the fit of trails: a PSF moved along a line, drawn by Gauss-Legendre quadrature.

Parameters are flux, x, y, squared length and angle. The square of the length, unlike the length, changes the
model to first order at zero, where point sources are.
"""

from __future__ import annotations

import numpy as np

from astra.compiled import compiled, part
from astra.images.local_psf import draw_gradient
from astra.images.stamp_fit import add_normal_equations


@part
def _add_node(drawn, at, parts, sums):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add the PSF of one node, and its derivatives also by the distance from the middle of the trail.

    ``at`` is the pixel of the node in the stamp, ``parts`` its weight and distance in units of the length.
    """
    reach, side = drawn.shape[1] // 2, sums.shape[1]
    weight, away = parts
    first, last = max(0, at[0] - reach), min(side, at[0] + reach + 1)
    if last <= first:
        return
    for j in range(max(0, at[1] - reach), min(side, at[1] + reach + 1)):
        row, begin, end = j - at[1] + reach, first - at[0] + reach, last - at[0] + reach
        value, to_x, to_y = drawn[0, row, begin:end], drawn[1, row, begin:end], drawn[2, row, begin:end]
        sum_value, sum_x, sum_y = sums[0, j, first:last], sums[1, j, first:last], sums[2, j, first:last]
        along_x, along_y = sums[3, j, first:last], sums[4, j, first:last]
        for i in range(last - first):
            sum_value[i] += weight * value[i]
            sum_x[i] += weight * to_x[i]
            sum_y[i] += weight * to_y[i]
            along_x[i] += weight * away * to_x[i]
            along_y[i] += weight * away * to_y[i]


@part
def draw_trail(psf, trail, nodes, drawn, columns):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the trail of unit flux and its derivatives to x, y, squared length and angle (5, side, side).

    ``psf`` is a plane and its step, ``trail`` x, y from the middle pixel, squared length and angle,
    ``nodes`` the places and weights of the quadrature, ``drawn`` scratch for a PSF.
    """
    half = columns.shape[1] // 2
    length, c, s = np.sqrt(trail[2]), np.cos(trail[3]), np.sin(trail[3])
    columns[:] = 0.0
    offset = np.empty(2)
    for k in range(nodes.shape[1]):
        x, y = trail[0] + nodes[0, k] * length * c, trail[1] + nodes[0, k] * length * s
        column, row = int(np.rint(x)), int(np.rint(y))
        offset[0], offset[1] = x - column, y - row
        draw_gradient(psf[0], psf[1], offset, drawn)
        _add_node(drawn, (half + column, half + row), (nodes[1, k], nodes[0, k]), columns)
    for j in range(columns.shape[1]):
        for i in range(columns.shape[2]):
            along_x, along_y = columns[3, j, i], columns[4, j, i]
            columns[3, j, i] = (c * along_x + s * along_y) / (2.0 * length)
            columns[4, j, i] = length * (c * along_y - s * along_x)


@part
def choose_nodes(length, sigma, rules):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take the smallest quadrature that is exact to 1e-4 for a Gaussian of that width."""
    for k in range(len(rules) - 1):
        if rules[k].shape[1] >= 2.5 + length / sigma:
            return rules[k]
    return rules[len(rules) - 1]


@compiled
def add_trail_equations(planes, step, rules, scales, layout, pixels, rows, trails, equations):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add the normal equations of trails at unit flux to (n, 5, 5) and (n, 5), and draw them.

    ``planes`` are splines through the PSFs (m, nodes, nodes) and ``step`` the nodes a pixel; ``rules`` the
    quadratures, ``scales`` the width of the PSF and the half-width of its drawings. ``layout`` are the sides
    and first pixels of the stamps, which lie one after the other in ``pixels``: data, weight and the trails
    as drawn; ``rows`` are those of the stamps, ``trails`` x, y from the middle pixel, squared length, angle.
    """
    sides, starts, places = layout
    data, weight, model = pixels
    drawn = np.empty((3, 2 * scales[1] + 1, 2 * scales[1] + 1))
    for k in range(len(rows)):
        side, first = sides[rows[k]], starts[rows[k]]
        n = side * side
        flat = np.empty((5, n))
        nodes = choose_nodes(np.sqrt(trails[k, 2]), scales[0], rules)
        draw_trail((planes[rows[k]], step), trails[k], nodes, drawn, flat.reshape((5, side, side)))
        own, weights = data[first : first + n], weight[first : first + n]
        add_normal_equations(flat, places, own, weights, equations[0][k], equations[1][k])
        for p in range(n):
            model[first + p] = flat[0, p]
