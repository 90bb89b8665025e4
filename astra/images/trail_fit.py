"""Trails fitted to the pixels round many sources at once, a step of all at a time.

Pixels are added up by one compiled function; what is then solved for is left to numpy. The stamps of trails
differ in size, and lie one after the other in flat arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import MASK_EDGE, MASK_NO_DATA, Exposure
from astra.images.local_psf import LocalPsfs, sum_terms
from astra.images.stamp_batch import invert_positive, read_stamps, solve_positive
from astra.images.trail_kernel import add_trail_equations

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_Model = tuple[FloatArray, int, tuple[FloatArray, ...], tuple[float, int]]

N_RESULTS = 5 + 4 + 25
LEAST_LENGTH_PIXEL = 0.1  # as good as a point
ANGLE_SCATTER = np.pi / np.sqrt(12.0)  # of directions that are not known at all [rad]

MAX_EVALUATIONS = 30
FIRST_DAMPING, LARGEST_DAMPING = 1e-3, 1e6
EASIER, HARDER = 0.1, 8.0
CHI2_TOLERANCE = 0.02  # a seventh of an error, before the step that gains so little
LONG_SIGMA = 6.0  # trails longer than this, in widths of the PSF, are no points
LARGEST_TURN, LARGEST_MOVE_PIXEL = 0.5, 3.0
CHUNK_PIXELS = 200_000  # of the stamps that are in memory at once

_LEAST_SQUARE, _ANGLE_WEIGHT = LEAST_LENGTH_PIXEL**2, 1.0 / ANGLE_SCATTER**2
_LIMITS = np.array([LARGEST_MOVE_PIXEL, LARGEST_MOVE_PIXEL, np.inf, LARGEST_TURN])
_EDGES = MASK_EDGE | MASK_NO_DATA
_PLACES = np.arange(5)


class _Stamps(NamedTuple):
    """Stamps of trails, one after the other.

    Parameters
    ----------
    layout : tuple of int64 ndarray
        Sides and first pixels, shape (n,), and the places of the columns in the equations.
    pixels : tuple of float64 ndarray, shape (n_pixels,)
        Data, inverse variance, and the trails as they were last drawn at unit flux.
    """

    layout: tuple[IntArray, IntArray, IntArray]
    pixels: tuple[FloatArray, FloatArray, FloatArray]

    def sums(self, values: FloatArray) -> FloatArray:
        """Add up numbers of pixels stamp by stamp."""
        total: FloatArray = np.add.reduceat(values, self.layout[1])
        return total


class _Fit:
    """Trails on their way to the least chi2: parameters, normal equations and what they gain.

    Parameters
    ----------
    model : tuple
        First arguments of `add_trail_equations`: what is the same for all trails.
    stamps : _Stamps
    trails : float64 ndarray, shape (n, 4)
        First guesses: x, y from the middle pixel, squared length and angle.
    """

    def __init__(self, model: _Model, stamps: _Stamps, trails: FloatArray) -> None:
        self.model, self.stamps, self.trails = model, stamps, trails
        self.matrix, self.right = np.zeros((len(trails), 5, 5)), np.zeros((len(trails), 5))
        self.lowered = np.full(len(trails), np.nan)

    def equations(self, rows: IntArray, trails: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Make the normal equations at unit flux, and find how much the best flux lowers chi2."""
        matrix, right = np.zeros((len(rows), 5, 5)), np.zeros((len(rows), 5))
        layout, pixels = self.stamps
        add_trail_equations(*self.model, layout, pixels, rows, trails, (matrix, right))
        lowered = np.full(len(rows), np.nan)
        power = matrix[:, 0, 0]
        np.divide(right[:, 0] * right[:, 0], power, out=lowered, where=power > 0.0)
        return matrix, right, lowered

    def accept(self, rows: IntArray, trails: FloatArray, found: tuple[FloatArray, ...]) -> None:
        """Move trails."""
        self.trails[rows] = trails
        self.matrix[rows], self.right[rows], self.lowered[rows] = found

    def scaled(self, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Give best fluxes, and the equations (n, 5, 5) and (n, 5) of all parameters at those."""
        matrix, right = self.matrix[rows], self.right[rows]
        flux = right[:, 0] / matrix[:, 0, 0]
        scale = np.column_stack([np.ones(len(rows)), *(4 * [flux])])
        gradient = (right - matrix[:, :, 0] * flux[:, None]) * scale
        return flux, matrix * scale[:, :, None] * scale[:, None, :], gradient


def fit_all(
    exposure: Exposure,
    local_psfs: LocalPsfs,
    starts: FloatArray,
    room: tuple[IntArray, FloatArray],
    model: tuple[tuple[FloatArray, ...], tuple[float, int]],
) -> FloatArray:
    """Fit every trail.

    Parameters
    ----------
    exposure : Exposure
    local_psfs : LocalPsfs
        At the starts.
    starts : float64 ndarray, shape (n, 4)
        x, y [pixel], squared length [pixel**2] and angle [rad].
    room : (int64 ndarray, float64 ndarray), shape (n,)
        Half-widths of the stamps and greatest lengths [pixel].
    model : tuple
        Places and weights of quadratures along a line of unit length, shape (2, order) each; width of the PSF
        and half-width of its drawings [pixel].

    Returns
    -------
    table : float64 ndarray, shape (n, N_RESULTS)
        Flux, x, y, squared length, angle, chi2, pixels, state, how much less chi2 is than that of a point in
        the same place, and the covariance. The state is 0 if found, 1 if not, plus 2 at an edge.
    """
    table = np.full((len(starts), N_RESULTS), np.nan)
    coefficients, design, step = local_psfs
    order = np.argsort(room[0], kind="stable")  # stamps of one size are read together
    n_before = np.cumsum((2 * room[0][order] + 1) ** 2) // CHUNK_PIXELS
    for rows in np.split(order, np.flatnonzero(np.diff(n_before)) + 1):
        terms = coefficients[rows] if len(coefficients) > 1 else coefficients
        planes = sum_terms(LocalPsfs(terms, design[rows], step)).coefficients[:, 0]
        columns, lines = np.rint(starts[rows, :2]).astype(np.int64).T
        stamps = _read(exposure, columns, lines, room[0][rows])
        trails = starts[rows] - np.column_stack([columns, lines, np.zeros((len(rows), 2))])
        fit = _Fit((planes, step, *model), stamps, trails)
        results = _fit_chunk(fit, room[1][rows])
        fit.trails[:, :2] += np.column_stack([columns, lines])
        results[:, 1:5] = np.where(np.isnan(results[:, 1:5]), np.nan, fit.trails)
        results[:, 7] += 2.0 * _touch_edge(exposure.mask, fit.trails)
        table[rows] = results
    return table


def _read(exposure: Exposure, columns: IntArray, rows: IntArray, halves: IntArray) -> _Stamps:
    """Read stamps in the order of their half-widths."""
    sides = 2 * halves + 1
    starts = np.concatenate([[0], np.cumsum(sides * sides)[:-1]])
    parts = []
    for half in np.unique(halves):
        same = halves == half
        parts.append(read_stamps(exposure, columns[same], rows[same], int(half)))
    data, weight = (np.concatenate([part.ravel() for part in planes]) for planes in zip(*parts, strict=True))
    return _Stamps((sides, starts, _PLACES), (data, weight, np.zeros(len(data))))


def _fit_chunk(fit: _Fit, largest: FloatArray) -> FloatArray:
    """Fit trails; rows as those of `fit_all`, without the state of edges."""
    results = np.full((len(fit.trails), N_RESULTS), np.nan)
    results[:, 6], results[:, 7] = fit.stamps.sums((fit.stamps.pixels[1] > 0.0).astype(float)), 1.0
    rows = np.flatnonzero(results[:, 6] > 5)
    rows = rows[_find(fit, rows, largest)]
    _conclude(fit, rows, results)
    results[rows, 8] = _gain_over_point(fit, rows)
    return results


def _find(fit: _Fit, rows: IntArray, largest: FloatArray) -> NDArray[np.bool_]:
    """Move trails to the least chi2, and draw them there; whether the search ended."""
    start, ended = fit.trails.copy(), np.zeros(len(fit.trails), dtype=np.bool_)
    damping = np.full(len(fit.trails), FIRST_DAMPING)
    fit.accept(rows, fit.trails[rows], fit.equations(rows, fit.trails[rows]))
    active = rows
    for _ in range(MAX_EVALUATIONS):
        active = active[np.isfinite(fit.lowered[active])]
        step, found = _propose(fit, active, damping[active])
        active, step = active[found], step[found]
        if len(active) == 0:
            break
        trials = _move(fit.trails[active], step, largest[active])
        new = fit.equations(active, trials)
        gain = new[2] - fit.lowered[active]
        better = gain >= 0.0
        fit.accept(active[better], trials[better], tuple(values[better] for values in new))
        damping[active] *= np.where(better, EASIER, HARDER)
        done = (np.abs(gain) < CHI2_TOLERANCE) | (damping[active] > LARGEST_DAMPING)
        again = active[done & (gain < 0.0)]  # what was drawn last is not where they are
        fit.accept(again, fit.trails[again], fit.equations(again, fit.trails[again]))
        ended[active[done]] = True
        active = active[~done]
    moved = np.abs(fit.trails[rows, :2] - start[rows, :2]).sum(axis=1)
    near: NDArray[np.bool_] = ended[rows] & (moved < fit.stamps.layout[0][rows] / 2)
    return near


def _propose(fit: _Fit, rows: IntArray, damping: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Damped steps of x, y, squared length and angle; False if there is none."""
    _, joint, gradient = fit.scaled(rows)
    gradient[:, 0] = 0.0
    joint[:, _PLACES[1:], _PLACES[1:]] *= (1.0 + damping)[:, None]
    joint[:, 4, 4] += _ANGLE_WEIGHT
    step, found = solve_positive(joint, gradient)
    # Shorter than nothing: the length stays, the rest moves.
    held = np.flatnonzero(found & (fit.trails[rows, 2] <= _LEAST_SQUARE) & (step[:, 3] < 0.0))
    if len(held) > 0:
        joint[held, 3, 3] *= 1e9
        step[held], found[held] = solve_positive(joint[held], gradient[held])
    return step[:, 1:], found


def _move(trails: FloatArray, step: FloatArray, largest: FloatArray) -> FloatArray:
    """Parameters after a step, within limits."""
    trials = trails + np.clip(step, -_LIMITS, _LIMITS)
    # No more than fourfold or a quarter at once, but from a point to some pixels.
    low, high = np.maximum(0.25 * trails[:, 2] - 1.0, _LEAST_SQUARE), 4.0 * trails[:, 2] + 4.0
    trials[:, 2] = np.minimum(np.maximum(trials[:, 2], low), np.minimum(high, largest * largest))
    return trials


def _conclude(fit: _Fit, rows: IntArray, results: FloatArray) -> None:
    """Fill parameters, chi2 and covariance of trails that were found; only those with a covariance.

    The flux is not weighted by the variance, as that of a point source is not, and its own part of the
    covariance is that of equal weights; chi2 is the least one.
    """
    flux, joint, _ = fit.scaled(rows)
    joint[:, 4, 4] += _ANGLE_WEIGHT
    inverse = invert_positive(joint)
    least, even, variance = _measure(fit.stamps, flux, rows)
    inverse[:, 0, 0] += variance - 1.0 / fit.matrix[rows, 0, 0]
    numbers = np.column_stack([even, fit.trails[rows], least])
    known = np.isfinite(inverse).all(axis=(1, 2))
    results[rows[known], :6] = numbers[known]
    results[rows[known], 7] = 0.0
    results[rows[known], 9:] = inverse[known].reshape(-1, 25)


def _measure(stamps: _Stamps, flux: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Chi2 of trails as drawn at some flux; their flux, all pixels with equal weight, and its variance."""
    data, weight, model = stamps.pixels
    fluxes = np.zeros(len(stamps.layout[0]))
    fluxes[rows] = flux
    missed = data - np.repeat(fluxes, stamps.layout[0] ** 2) * model
    usable = weight > 0.0
    seen = np.where(usable, model, 0.0)
    square = seen * seen
    noise = np.divide(square, weight, out=np.zeros(len(weight)), where=usable)
    chi2, norm, signal, noise = (
        stamps.sums(values)[rows] for values in (missed * missed * weight, square, seen * data, noise)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return chi2, signal / norm, noise / (norm * norm)


def _gain_over_point(fit: _Fit, rows: IntArray) -> FloatArray:
    """How much less chi2 is than with a point in the middle of the trail; infinite for a long one."""
    gain = np.full(len(rows), np.inf)
    longest = LONG_SIGMA * fit.model[3][0]
    short = ~(fit.trails[rows, 2] > longest * longest)
    points = fit.trails[rows[short]]
    points[:, 2] = _LEAST_SQUARE
    gain[short] = fit.lowered[rows[short]] - fit.equations(rows[short], points)[2]
    return gain


def _touch_edge(mask: NDArray[np.uint32], trails: FloatArray) -> NDArray[np.bool_]:
    """Whether the middle lines of trails leave the image or meet EDGE or missing pixels."""
    ny, nx = mask.shape
    x, y, squared, angle = trails.T[:, :, None]
    length = np.sqrt(squared)
    n = np.ceil(length) + 1.0
    away = (np.minimum(np.arange(int(n.max(initial=1.0)) + 1) / n, 1.0) - 0.5) * length
    column, row = np.rint(x + away * np.cos(angle)), np.rint(y + away * np.sin(angle))
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    bits = mask[np.where(inside, row, 0).astype(np.int64), np.where(inside, column, 0).astype(np.int64)]
    touched: NDArray[np.bool_] = (~inside | ((bits & _EDGES) > 0)).any(axis=1)
    return touched
