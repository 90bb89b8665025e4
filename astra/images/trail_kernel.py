"""The compiled part of the fit of trails: a PSF moved along a line, drawn by Gauss-Legendre quadrature.

Parameters are flux, x, y, squared length and angle. The square of the length, unlike the length, changes the
model to first order at zero, where point sources are.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from astra.compiled import part
from astra.images.exposure import MASK_EDGE, MASK_NO_DATA
from astra.images.local_psf import draw_gradient, set_plane
from astra.images.stamp_fit import add_normal_equations, copy_to, invert, read_stamp, solve

N_PARAMETERS = 5
N_RESULTS = 5 + 4 + 25
LEAST_LENGTH_PIXEL = 0.1  # as good as a point
ANGLE_SCATTER = np.pi / np.sqrt(12.0)  # of directions that are not known at all [rad]

MAX_EVALUATIONS = 30
FIRST_DAMPING, LARGEST_DAMPING = 1e-3, 1e6
EASIER, HARDER = 0.1, 8.0
CHI2_TOLERANCE = 0.02  # a seventh of an error, before the step that gains so little
LONG_SIGMA = 6.0  # trails longer than this, in widths of the PSF, are no points
LARGEST_TURN, LARGEST_MOVE_PIXEL = 0.5, 3.0

_PLACES = np.arange(N_PARAMETERS)
_LEAST_SQUARE, _ANGLE_WEIGHT = LEAST_LENGTH_PIXEL**2, 1.0 / ANGLE_SCATTER**2
_EDGES = MASK_EDGE | MASK_NO_DATA


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


@part
def _propose(matrix, right, flux, trail, damping, step):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Fill the damped step of x, y, squared length and angle; False if there is none."""
    joint, gradient = np.empty((5, 5)), np.empty(5)
    is_point = trail[2] <= _LEAST_SQUARE
    found = False
    for hold in range(2):
        for a in range(5):
            gradient[a] = (right[a] - matrix[a, 0] * flux) * (flux if a > 0 else 1.0)
            for b in range(5):
                joint[a, b] = matrix[a, b] * (flux if a > 0 else 1.0) * (flux if b > 0 else 1.0)
        gradient[0] = 0.0
        for a in range(1, 5):
            joint[a, a] *= 1.0 + damping
        joint[4, 4] += _ANGLE_WEIGHT
        if hold == 1:  # shorter than nothing: the length stays, the rest moves
            joint[3, 3] *= 1e9
        found = solve(joint, gradient)
        if not (found and is_point and gradient[3] < 0.0):
            break
    copy_to(step, gradient[1:])
    return found


@part
def _move(trail, step, largest, trial):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the parameters after a step, within limits."""
    for a in range(2):
        trial[a] = trail[a] + min(max(step[a], -LARGEST_MOVE_PIXEL), LARGEST_MOVE_PIXEL)
    # No more than fourfold or a quarter at once, but from a point to some pixels.
    low, high = 0.25 * trail[2] - 1.0, 4.0 * trail[2] + 4.0
    trial[2] = min(max(trail[2] + step[2], low, _LEAST_SQUARE), high, largest * largest)
    trial[3] = trail[3] + min(max(step[3], -LARGEST_TURN), LARGEST_TURN)


@part
def _equations(psf, trail, rules, sigma, stamps, drawn, matrix, right):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Fill the normal equations at unit flux; returns how much the best flux lowers chi2."""
    columns, data, weight = stamps
    draw_trail(psf, trail, choose_nodes(np.sqrt(trail[2]), sigma, rules), drawn, columns)
    matrix[:], right[:] = 0.0, 0.0
    n = data.shape[0] * data.shape[1]
    add_normal_equations(columns.reshape((5, n)), _PLACES, data.reshape(n), weight.reshape(n), matrix, right)
    return right[0] * right[0] / matrix[0, 0] if matrix[0, 0] > 0.0 else np.nan


@part
def _find_trail(psf, rules, limits, stamps, drawn, trail, matrix, right):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Move a trail (in place) to the least chi2, and draw it there; whether the search ended."""
    start, trial, step = trail.copy(), np.empty(4), np.empty(4)
    new_matrix, new_right = matrix.copy(), right.copy()
    sigma, largest = limits
    lowered, damping = _equations(psf, trail, rules, sigma, stamps, drawn, matrix, right), FIRST_DAMPING
    for _ in range(MAX_EVALUATIONS):
        if not np.isfinite(lowered):
            return False
        if not _propose(matrix, right, right[0] / matrix[0, 0], trail, damping, step):
            return False
        _move(trail, step, largest, trial)
        gain = _equations(psf, trial, rules, sigma, stamps, drawn, new_matrix, new_right) - lowered
        if gain >= 0.0:
            copy_to(trail, trial)
            copy_to(matrix, new_matrix)
            copy_to(right, new_right)
            lowered, damping = lowered + gain, damping * EASIER
        else:
            damping *= HARDER
        if abs(gain) < CHI2_TOLERANCE or damping > LARGEST_DAMPING:
            if gain < 0.0:
                _equations(psf, trail, rules, sigma, stamps, drawn, matrix, right)
            return abs(trail[0] - start[0]) + abs(trail[1] - start[1]) < stamps[1].shape[0] / 2
    return False


@part
def _gain_over_point(psf, rules, sigma, stamps, drawn, trail, matrix, right):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """How much less chi2 is than with a point in the middle of the trail; infinite for a long one."""
    if trail[2] > LONG_SIGMA * sigma * LONG_SIGMA * sigma:
        return np.inf
    point, lowered = trail.copy(), right[0] * right[0] / matrix[0, 0]
    point[2] = _LEAST_SQUARE
    return lowered - _equations(psf, point, rules, sigma, stamps, drawn, matrix.copy(), right.copy())


@part
def _touches_edge(mask, trail):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether the middle line of a trail leaves the image or meets EDGE or missing pixels."""
    ny, nx = mask.shape
    length = np.sqrt(trail[2])
    n = int(np.ceil(length)) + 1
    for k in range(n + 1):
        away = (k / n - 0.5) * length
        column = int(np.rint(trail[0] + away * np.cos(trail[3])))
        row = int(np.rint(trail[1] + away * np.sin(trail[3])))
        if not (0 <= column < nx and 0 <= row < ny) or mask[row, column] & _EDGES:
            return True
    return False


@part
def _chi2(columns, data, weight, flux):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Chi2 of the trail as drawn."""
    total = 0.0
    for j in range(data.shape[0]):
        for i in range(data.shape[1]):
            missed = data[j, i] - flux * columns[0, j, i]
            total += missed * missed * weight[j, i]
    return total


@part
def _even_flux(columns, data, weight):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Flux of the trail as drawn, all pixels with equal weight, and its variance."""
    norm, signal, noise = 0.0, 0.0, 0.0
    for j in range(data.shape[0]):
        for i in range(data.shape[1]):
            if weight[j, i] > 0.0:
                square = columns[0, j, i] * columns[0, j, i]
                norm += square
                signal += columns[0, j, i] * data[j, i]
                noise += square / weight[j, i]
    return signal / norm, noise / (norm * norm)


@part
def _conclude(stamps, trail, matrix, right, result):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill parameters, chi2 and covariance of a trail that was found; False if it has no covariance.

    The flux is not weighted by the variance, as that of a point source is not, and its own part of the
    covariance is that of equal weights; chi2 is the least one.
    """
    flux, inverse, joint = right[0] / matrix[0, 0], np.empty((5, 5)), matrix.copy()
    for a in range(5):
        for b in range(5):
            joint[a, b] *= (flux if a > 0 else 1.0) * (flux if b > 0 else 1.0)
    joint[4, 4] += _ANGLE_WEIGHT
    if not invert(joint, inverse):
        return False
    result[0], variance = _even_flux(stamps[0], stamps[1], stamps[2])
    copy_to(result[1:5], trail)
    result[5] = _chi2(stamps[0], stamps[1], stamps[2], flux)
    copy_to(result[9:], inverse)
    result[9] += variance - 1.0 / matrix[0, 0]
    return True


@njit(cache=True)
def fit_all(planes, local_psfs, starts, room, scales, rules, table):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Fit every trail.

    Columns are flux, x, y, squared length, angle, chi2, pixels, state, how much less chi2 is than that of a
    point in the same place, and the covariance. ``starts`` are x, y, squared length and angle, ``room``
    half-widths of the stamps and greatest lengths; ``scales`` the width of the PSF and the half-width of its
    drawings. The state is 0 if found, 1 if not, plus 2 at an edge.
    """
    sigma, reach = scales
    drawn = np.empty((3, 2 * reach + 1, 2 * reach + 1))
    matrix, right = np.empty((5, 5)), np.empty(5)
    plane = np.empty(local_psfs.coefficients.shape[2:])
    for k in range(len(starts)):
        side, limits = 2 * room[0][k] + 1, (sigma, room[1][k])
        stamps = np.empty((5, side, side)), np.empty((side, side)), np.empty((side, side))
        trail = starts[k].copy()
        column, row = int(np.rint(trail[0])), int(np.rint(trail[1]))
        n_data = read_stamp(planes, column, row, stamps[1], stamps[2])
        table[k, 6], table[k, 7] = n_data, 1.0
        trail[0] -= column
        trail[1] -= row
        set_plane(local_psfs, k, plane)
        psf = plane, local_psfs.step
        if n_data > 5 and _find_trail(psf, rules, limits, stamps, drawn, trail, matrix, right):
            table[k, 7] = 0.0 if _conclude(stamps, trail, matrix, right, table[k]) else 1.0
            table[k, 8] = _gain_over_point(psf, rules, sigma, stamps, drawn, trail, matrix, right)
            table[k, 1] += column
            table[k, 2] += row
        trail[0] += column
        trail[1] += row
        if _touches_edge(planes[2], trail):
            table[k, 7] += 2.0
