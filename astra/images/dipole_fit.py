"""The compiled part of the fit of dipoles.

Parameters are, in order: fluxes of both lobes; x and y of the positive, x and y of the negative lobe;
constant and slopes of the sky of the difference, constants of those of science image and template.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from astra.compiled import part
from astra.images.local_psf import draw_gradient, set_plane
from astra.images.stamp_fit import (
    add_normal_equations,
    copy_to,
    dot,
    factor,
    invert,
    read_stamp,
    solve,
    solve_factored,
)

N_POSITIONS = 4
N_PARAMETERS = 11
N_RESULTS = 6 + 2 + 3 + 36

MAX_EVALUATIONS = 60
FIRST_DAMPING, LARGEST_DAMPING = 1e-3, 1e7
EASIER, HARDER = 0.2, 6.0
CHI2_TOLERANCE = 1e-4  # a hundredth of an error
STEP_TOLERANCE_PIXEL = 1e-3
MIDDLE_FRACTION = 0.1  # of the distance of the peaks, of lobes that start in the middle

_LINEAR = np.array([0, 1, 6, 7, 8, 9, 10])
_IMAGE, _LOBE = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1])
_OF_DIFFERENCE = np.array([0, 2, 3, 1, 4, 5, 6, 7, 8])
_OF_SCIENCE = np.array([0, 2, 3, 9])
_OF_TEMPLATE = np.array([1, 4, 5, 10])


@part
def _read(images, column, row, settings, data, weight, variance):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Fill pixels and weights of the three images, and variances of the inputs.

    The inputs count within a circle, with less weight, and that the same everywhere: weights that follow the
    photons of a bright star would tell more of the errors of the PSF than of its flux. Returns how many
    pixels of the difference can be used.
    """
    half = data.shape[1] // 2
    n_data = read_stamp(images[0].planes, column, row, data[0], weight[0])
    read_stamp(images[1].planes, column, row, data[1], weight[1])
    read_stamp(images[2].planes, column, row, data[2], weight[2])
    core, n_core = np.zeros(2), 0
    for j in range(data.shape[1]):
        for i in range(data.shape[2]):
            away = (j - half) ** 2 + (i - half) ** 2
            # The noise of the difference is known only where that of both inputs is.
            known = weight[0, j, i] * weight[1, j, i] * weight[2, j, i] > 0.0
            counts = known and away <= settings[1] ** 2
            for k in range(2):
                variance[k, j, i] = 1.0 / weight[k + 1, j, i] if counts else 0.0
                core[k] += variance[k, j, i] if 9.0 * away <= settings[1] ** 2 else 0.0
            n_core += 1 if counts and 9.0 * away <= settings[1] ** 2 else 0
    for k in range(2):
        share = settings[0] * n_core / core[k] if n_core > 0 else 0.0
        for j in range(data.shape[1]):
            for i in range(data.shape[2]):
                weight[k + 1, j, i] = share if variance[k, j, i] > 0.0 else 0.0
    return n_data


@part
def _set_columns(psfs, place, columns):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Draw the lobes, and their derivatives at unit flux, in all images; sky terms stay.

    ``psfs`` are plane and step of each; ``columns`` those of difference (9), science image (4) and template
    (4), as squares. The positive lobe is in the first two images, the negative in the first and the third.
    """
    for lobe in range(4):
        plane, step = psfs[_IMAGE[lobe]]
        first = 3 if lobe == 1 else 0
        drawn = columns[_IMAGE[lobe]][first : first + 3]
        draw_gradient(plane, step, place[2 * _LOBE[lobe] : 2 * _LOBE[lobe] + 2], drawn)
    negative = columns[0][3:6].reshape(-1)
    for p in range(negative.shape[0]):
        negative[p] = -negative[p]


@part
def _equations(columns, data, weight, matrix, right):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the normal equations of all images for unit flux."""
    matrix[:], right[:] = 0.0, 0.0
    n = data.shape[1] * data.shape[2]
    d, w = data.reshape((3, n)), weight.reshape((3, n))
    add_normal_equations(columns[0].reshape((9, n)), _OF_DIFFERENCE, d[0], w[0], matrix, right)
    if matrix.shape[0] == N_PARAMETERS:
        add_normal_equations(columns[1].reshape((4, n)), _OF_SCIENCE, d[1], w[1], matrix, right)
        add_normal_equations(columns[2].reshape((4, n)), _OF_TEMPLATE, d[2], w[2], matrix, right)
    for a in range(matrix.shape[0]):
        if matrix[a, a] == 0.0:  # no pixel knows of it: it stays 0
            matrix[a, a] = 1.0


@part
def _solve_linear(matrix, right, linear, values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set the linear parameters to their best values; returns by how much they lower chi2, NaN if none do."""
    m = len(linear)
    small, gain = np.empty((m, m)), np.empty(m)
    for a in range(m):
        gain[a] = right[linear[a]]
        for b in range(m):
            small[a, b] = matrix[linear[a], linear[b]]
    if not solve(small, gain):
        return np.nan
    lowered = 0.0
    for a in range(m):
        values[linear[a]] = gain[a]
        lowered += gain[a] * right[linear[a]]
    return lowered


@part
def _scales(values, scales):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the factors of the columns: those of the positions are the fluxes."""
    scales[:] = 1.0
    scales[2:4], scales[4:6] = values[0], values[1]


@part
def _step(matrix, right, values, damping, step):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the damped Gauss-Newton step of the positions (4); False if there is none."""
    n = matrix.shape[0]
    scales, joint, gradient = np.empty(n), np.empty((n, n)), np.empty(n)
    _scales(values, scales)
    for a in range(n):
        gradient[a] = right[a]
        for b in range(n):
            joint[a, b] = scales[a] * matrix[a, b] * scales[b]
            if not 2 <= b < 6:
                gradient[a] -= matrix[a, b] * values[b]
        gradient[a] *= scales[a]
    largest = max(joint[2, 2], joint[3, 3], joint[4, 4], joint[5, 5])
    for a in range(2, 6):
        joint[a, a] += damping * joint[a, a] + 1e-9 * largest + 1e-30
    found = solve(joint, gradient)
    copy_to(step, gradient[2:6])
    return found


@part
def _limit(place, start, max_shift, max_separation):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Keep lobes near where they started, and near each other."""
    for a in range(N_POSITIONS):
        place[a] = min(max(place[a], start[a] - max_shift), start[a] + max_shift)
    separation = np.hypot(place[0] - place[2], place[1] - place[3])
    if separation > max_separation:
        for a in range(2):
            middle, half = (place[a] + place[a + 2]) / 2.0, (place[a] - place[a + 2]) / 2.0
            place[a] = middle + half * max_separation / separation
            place[a + 2] = middle - half * max_separation / separation


@part
def _move(place, step, start, limits, trial):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the places after a step, within limits; returns how far the lobes move along an axis."""
    largest, moved = 1e-9, 0.0
    for a in range(N_POSITIONS):
        largest = max(largest, abs(step[a]))
    for a in range(N_POSITIONS):
        trial[a] = place[a] + step[a] * min(1.0, limits[2] / largest)
    _limit(trial, start, limits[0], limits[1])
    for a in range(N_POSITIONS):
        moved = max(moved, abs(trial[a] - place[a]))
    return moved


@part
def _choose_start(psfs, stamps, place):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Start in the middle if that is better: the peaks of a star that hardly moved are a width of it off."""
    columns, data, weight, _ = stamps
    matrix, right = np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty(N_PARAMETERS)
    values, lowered = np.empty(N_PARAMETERS), np.empty(2)
    middle = place.copy()
    for a in range(N_POSITIONS):
        middle[a] += (1.0 - MIDDLE_FRACTION) * (place[(a + 2) % N_POSITIONS] - place[a]) / 2.0
    for trial in range(2):
        _set_columns(psfs, middle if trial == 0 else place, columns)
        _equations(columns, data, weight, matrix, right)
        lowered[trial] = _solve_linear(matrix, right, _LINEAR, values)
    if lowered[0] > lowered[1]:
        copy_to(place, middle)


@part
def _find_places(psfs, stamps, limits, place, values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Move the lobes (in place) to the least chi2, and draw them there; whether the search ended."""
    columns, data, weight, _ = stamps
    start, trial, step = place.copy(), np.empty(N_POSITIONS), np.zeros(N_POSITIONS)
    _choose_start(psfs, stamps, place)
    _limit(place, start, limits[0], limits[1])
    matrix, right = np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty(N_PARAMETERS)
    new_matrix, new_right, new_values = matrix.copy(), right.copy(), values.copy()
    _set_columns(psfs, place, columns)
    _equations(columns, data, weight, matrix, right)
    lowered, damping, ended = _solve_linear(matrix, right, _LINEAR, values), FIRST_DAMPING, False
    for _ in range(MAX_EVALUATIONS):
        if not np.isfinite(lowered) or not _step(matrix, right, values, damping, step):
            return False
        moved = _move(place, step, start, limits, trial)
        _set_columns(psfs, trial, columns)
        _equations(columns, data, weight, new_matrix, new_right)
        gain = _solve_linear(new_matrix, new_right, _LINEAR, new_values) - lowered
        if gain >= 0.0:
            copy_to(place, trial)
            copy_to(values, new_values)
            copy_to(matrix, new_matrix)
            copy_to(right, new_right)
            lowered, damping = lowered + gain, damping * EASIER
            if gain < CHI2_TOLERANCE and moved < 10.0 * STEP_TOLERANCE_PIXEL:
                ended = True
        else:
            damping *= HARDER
        if ended or moved < STEP_TOLERANCE_PIXEL or damping > LARGEST_DAMPING:
            ended = True
            break
    _set_columns(psfs, place, columns)
    return ended


@part
def _judge_lobes(stamps, result):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Signal to noise of each lobe beside the other, on the difference alone, at the places found."""
    columns, data, weight, _ = stamps
    matrix, right, inverse = np.empty((9, 9)), np.empty(9), np.empty((5, 5))
    _equations(columns, data, weight, matrix, right)
    values, linear = np.zeros(9), _LINEAR[:5]
    _solve_linear(matrix, right, linear, values)
    small = np.empty((5, 5))
    for a in range(5):
        for b in range(5):
            small[a, b] = matrix[linear[a], linear[b]]
    if invert(small, inverse):
        for a in range(2):
            result[a] = values[a] / np.sqrt(inverse[a, a])


@part
def _chi2_of_difference(stamps, values):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Chi2 of the difference for given linear parameters."""
    columns, data, weight, _ = stamps
    n = data.shape[1] * data.shape[2]
    flat, chi2 = columns[0].reshape((9, n)), 0.0
    d, w = data[0].reshape(n), weight[0].reshape(n)
    for p in range(n):
        model = values[0] * flat[0, p] + values[1] * flat[3, p]
        model += values[6] * flat[6, p] + values[7] * flat[7, p] + values[8] * flat[8, p]
        chi2 += (d[p] - model) ** 2 * w[p]
    return chi2


@part
def _noise(stamps, scales, noise):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the covariance of the gradient of chi2.

    Images are weighted by w, have the columns J and variances V. That of the difference is the science image
    less the template: the sum over pixels is that of w^2 V J J^T of all three, and of w_d w V (J_d J^T +
    J J_d^T) for the science image less those for the template.
    """
    columns, data, weight, variance = stamps
    n = data.shape[1] * data.shape[2]
    noise[:] = 0.0
    flat, w, v = columns[0].reshape((9, n)), weight.reshape((3, n)), variance.reshape((2, n))
    right, square, weighted = np.zeros(N_PARAMETERS), np.empty(n), np.empty(n)
    nothing = np.zeros(n)
    add_normal_equations(flat, _OF_DIFFERENCE, nothing, w[0], noise, right)
    for k in range(2):
        own, sign = columns[k + 1].reshape((4, n)), 1.0 - 2.0 * k
        places = _OF_SCIENCE if k == 0 else _OF_TEMPLATE
        for p in range(n):
            square[p] = w[k + 1, p] * w[k + 1, p] * v[k, p]
        add_normal_equations(own, places, nothing, square, noise, right)
        for a in range(9):
            for p in range(n):
                weighted[p] = flat[a, p] * w[0, p] * w[k + 1, p] * v[k, p]
            for b in range(4):
                shared = sign * dot(weighted, own[b])
                noise[_OF_DIFFERENCE[a], places[b]] += shared
                noise[places[b], _OF_DIFFERENCE[a]] += shared
    for a in range(N_PARAMETERS):
        for b in range(N_PARAMETERS):
            noise[a, b] *= scales[a] * scales[b]


@part
def _covariance(stamps, values, result):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the covariance (6, 6) of fluxes and positions; whether it exists."""
    columns, data, weight, _ = stamps
    matrix, right = np.empty((N_PARAMETERS, N_PARAMETERS)), np.empty(N_PARAMETERS)
    noise, scales = matrix.copy(), right.copy()
    _equations(columns, data, weight, matrix, right)
    _scales(values, scales)
    _noise(stamps, scales, noise)
    for a in range(N_PARAMETERS):
        for b in range(N_PARAMETERS):
            matrix[a, b] *= scales[a] * scales[b]
    if not factor(matrix):
        return False
    for a in range(N_PARAMETERS):  # from both sides: H^-1 B H^-1
        solve_factored(matrix, noise[a])
    for a in range(6):
        column = noise[:, a].copy()
        solve_factored(matrix, column)
        copy_to(result[a], column[:6])
    return True


@part
def _make_planes(image):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Make room for the PSF of an image, and its step."""
    return np.empty(image.local_psfs.coefficients.shape[2:]), image.local_psfs.step


@njit(cache=True)
def fit_all(images, lobes, centres, half, settings, table):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Fit every dipole; the columns are those that `astra.images.dipoles` takes apart.

    ``settings`` are the factor on the weight of the inputs, the radius within which they count, and the
    largest shift, separation and step [pixel].
    """
    side = 2 * half + 1
    data, weight = np.empty((3, side, side)), np.empty((3, side, side))
    variance = np.empty((2, side, side))
    columns = np.empty((9, side, side)), np.ones((4, side, side)), np.ones((4, side, side))
    for j in range(side):
        for i in range(side):
            columns[0][6, j, i] = 1.0
            columns[0][7, j, i], columns[0][8, j, i] = (i - half) / half, (j - half) / half
    stamps, place, values = (columns, data, weight, variance), np.empty(N_POSITIONS), np.empty(N_PARAMETERS)
    psfs = _make_planes(images[0]), _make_planes(images[1]), _make_planes(images[2])
    for k in range(len(lobes)):
        set_plane(images[0].local_psfs, k, psfs[0][0])
        set_plane(images[1].local_psfs, k, psfs[1][0])
        set_plane(images[2].local_psfs, k, psfs[2][0])
        n_data = _read(images, centres[k, 0], centres[k, 1], settings, data, weight, variance)
        for a in range(N_POSITIONS):
            place[a] = lobes[k, a] - centres[k, a % 2]
        values[:] = 0.0
        table[k, 9], table[k, 10] = n_data, 0.0
        if n_data < N_PARAMETERS or not _find_places(psfs, stamps, settings[2:], place, values):
            continue
        covariance = np.empty((6, 6))
        if not _covariance(stamps, values, covariance):
            continue
        table[k, 0], table[k, 1], table[k, 10] = values[0], values[1], 1.0
        for a in range(N_POSITIONS):
            table[k, 2 + a] = place[a] + centres[k, a % 2]
        _judge_lobes(stamps, table[k, 6:8])
        table[k, 8] = _chi2_of_difference(stamps, values)
        copy_to(table[k, 11:], covariance)
