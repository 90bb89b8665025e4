"""The search for the best dipoles: all candidates of an image move a step at a time, until each has ended.

Parameters are, in order: fluxes of both lobes; x and y of the positive, x and y of the negative lobe;
constant and slopes of the sky of the difference, constants of those of science image and template.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import Exposure
from astra.images.local_psf import LocalPsfs, draw_local_psfs, make_local_psfs, sum_terms
from astra.images.stamp_batch import (
    SourceModel,
    add_source_equations,
    invert_positive,
    normal_equations,
    read_stamps,
    solve_positive,
)

FloatArray = NDArray[np.float64]

N_POSITIONS = 4
N_PARAMETERS = 11

MAX_EVALUATIONS = 60
FIRST_DAMPING, LARGEST_DAMPING = 1e-3, 1e7
EASIER, HARDER = 0.2, 6.0
CHI2_TOLERANCE = 1e-4  # a hundredth of an error
STEP_TOLERANCE_PIXEL = 1e-3
MIDDLE_FRACTION = 0.1  # of the distance of the peaks, of lobes that start in the middle
CORE_RADIUS_FRACTION = 1.0 / 3.0  # of the inputs' radius, in which their noise is taken

_LINEAR = np.array([0, 1, 6, 7, 8, 9, 10])
_POSITIONS = slice(2, 6)
_OF_DIFFERENCE = np.array([0, 2, 3, 1, 4, 5, 6, 7, 8])
_OF_SCIENCE = np.array([0, 2, 3, 9])
_OF_TEMPLATE = np.array([1, 4, 5, 10])


class Limits(NamedTuple):
    """How far lobes may go from where they started, from each other, and in one step [pixel]."""

    shift: float
    separation: float
    step: float


class Stamps(NamedTuple):
    """Pixels of difference, science image and template round the candidates, and the PSFs of these images.

    Parameters
    ----------
    psfs : tuple of LocalPsfs
        At the middle pixels.
    half : int
        Half-width of the stamps [pixel].
    data, weight : float64 ndarray, shape (3, n, pixels)
        Values, and what each counts in the fit; 0 for pixels that cannot be used.
    variance : float64 ndarray, shape (2, n, pixels)
        Of science image and template.
    """

    psfs: tuple[LocalPsfs, ...]
    half: int
    data: FloatArray
    weight: FloatArray
    variance: FloatArray


class Found(NamedTuple):
    """Dipoles, one per row; numbers of those that were not found mean nothing.

    Parameters
    ----------
    values : float64 ndarray, shape (n, 11)
        Linear parameters in their places.
    place : float64 ndarray, shape (n, 4)
        Positions of the lobes from the middle pixel [pixel].
    covariance : float64 ndarray, shape (n, 6, 6)
        Of fluxes and positions.
    lobe_snr : float64 ndarray, shape (n, 2)
        Of each lobe beside the other, on the difference.
    chi2 : float64 ndarray, shape (n,)
        Of the difference.
    converged : bool ndarray, shape (n,)
        The search ended, and there is a covariance.
    """

    values: FloatArray
    place: FloatArray
    covariance: FloatArray
    lobe_snr: FloatArray
    chi2: FloatArray
    converged: NDArray[np.bool_]


def cut_dipole_stamps(
    exposures: tuple[Exposure, ...], centres: NDArray[np.int64], half: int, reach: int
) -> Stamps:
    """Cut the stamps of difference, science image and template round middle pixels (n, 2).

    ``half`` is the half-width of the stamps, ``reach`` that of the PSFs [pixel].
    """
    columns, rows = centres.T
    cut = [read_stamps(exposure, columns, rows, half) for exposure in exposures]
    data, weight = (np.stack([each[k] for each in cut]) for k in range(2))
    x, y = centres.T.astype(float)
    psfs = tuple(sum_terms(make_local_psfs(each.psf, x, y, reach)) for each in exposures if each.psf)
    return Stamps(psfs, half, data, weight, np.zeros((2, *data.shape[1:])))


def weigh_inputs(stamps: Stamps, factor: float, radius: float) -> Stamps:
    """Let the inputs count within a circle [pixel], with less weight, and that the same everywhere.

    Weights that follow the photons of a bright star would tell more of the errors of the PSF than of its
    flux.
    """
    offset = np.arange(-stamps.half, stamps.half + 1)
    away = np.hypot(offset[:, None], offset).ravel()
    # The noise of the difference is known only where that of both inputs is.
    counts = (stamps.weight.prod(axis=0) > 0.0) & (away <= radius)
    variance = np.zeros(stamps.variance.shape)
    np.divide(1.0, stamps.weight[1:], out=variance, where=counts)
    core = away <= CORE_RADIUS_FRACTION * radius
    n_core, total = np.count_nonzero(counts & core, axis=1), variance[:, :, core].sum(axis=2)
    share = np.divide(factor * n_core, total, out=np.zeros(total.shape), where=n_core > 0)
    weight = stamps.weight.copy()
    weight[1:] = np.where(variance > 0.0, share[:, :, None], 0.0)
    return stamps._replace(weight=weight, variance=variance)


def _sky_of_difference(half: int) -> FloatArray:
    """Constant and slopes of the sky (3, pixels)."""
    slope_y, slope_x = (axis.ravel() / half for axis in np.mgrid[-half : half + 1, -half : half + 1])
    return np.stack([np.ones(slope_x.size), slope_x, slope_y])


def draw_columns(stamps: Stamps, rows: NDArray[np.int64], place: FloatArray) -> tuple[FloatArray, ...]:
    """Draw the derivatives to all parameters at unit flux.

    They are those of the difference (n, 9, pixels), and of science image and template (n, 4, pixels). The
    positive lobe is in difference and science image, the negative in difference and template.
    """

    def lobe(image: int, which: int) -> FloatArray:
        offsets = np.ascontiguousarray(place[:, 2 * which : 2 * which + 2])
        drawn = draw_local_psfs(stamps.psfs[image], offsets, half, rows)
        return drawn.reshape(len(rows), 3, sky.shape[1])

    half = stamps.half
    sky = _sky_of_difference(half)
    difference = np.empty((len(rows), 9, sky.shape[1]))
    difference[:, :3] = lobe(0, 0)
    np.negative(lobe(0, 1), out=difference[:, 3:6])
    difference[:, 6:] = sky
    inputs = np.ones((2, len(rows), 4, sky.shape[1]))
    for k in range(2):
        inputs[k, :, :3] = lobe(1 + k, k)
    return difference, inputs[0], inputs[1]


def equations(stamps: Stamps, rows: NDArray[np.int64], place: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Make the normal equations of all three images for unit flux, with lobes at given places."""
    matrix, right = np.zeros((len(rows), N_PARAMETERS, N_PARAMETERS)), np.zeros((len(rows), N_PARAMETERS))
    sky, one, both = _sky_of_difference(stamps.half), np.ones(1), np.array([1.0, -1.0])
    models = (
        (SourceModel(both, sky, _OF_DIFFERENCE), place),
        (SourceModel(one, sky[:1], _OF_SCIENCE), np.ascontiguousarray(place[:, :2])),
        (SourceModel(one, sky[:1], _OF_TEMPLATE), np.ascontiguousarray(place[:, 2:])),
    )
    for psfs, data, weight, (model, at) in zip(stamps.psfs, stamps.data, stamps.weight, models, strict=True):
        add_source_equations(psfs, rows, at, (data, weight), model, matrix, right)
    _hold_unknown(matrix)
    return matrix, right


def _hold_unknown(matrix: FloatArray) -> None:
    """Let parameters of which no pixel knows stay 0."""
    diagonal = np.einsum("naa->na", matrix)
    diagonal[diagonal == 0.0] = 1.0


def solve_linear(matrix: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Find the best linear parameters (n, 11), and by how much they lower chi2; NaN if there are none."""
    values, gain = np.zeros(right.shape), right[:, _LINEAR]
    solution, found = solve_positive(matrix[:, _LINEAR[:, None], _LINEAR], gain)
    values[:, _LINEAR] = solution
    return values, np.where(found, np.einsum("na,na->n", solution, gain), np.nan)


def _scales(values: FloatArray) -> FloatArray:
    """Factors of the columns (n, 11): those of the positions are the fluxes."""
    scales = np.ones(values.shape)
    scales[:, 2:4], scales[:, 4:6] = values[:, :1], values[:, 1:2]
    return scales


def damped_step(
    matrix: FloatArray, right: FloatArray, values: FloatArray, damping: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Damped Gauss-Newton step of the positions (n, 4), and whether there is one."""
    scales = _scales(values)
    joint = scales[:, :, None] * matrix * scales[:, None]
    explained = np.einsum("nab,nb->na", matrix[:, :, _LINEAR], values[:, _LINEAR])
    diagonal = np.einsum("naa->na", joint)[:, _POSITIONS]
    largest = diagonal.max(axis=1)
    diagonal += damping[:, None] * diagonal + (1e-9 * largest + 1e-30)[:, None]
    step, found = solve_positive(joint, (right - explained) * scales)
    return step[:, _POSITIONS], found


def limit(place: FloatArray, start: FloatArray, limits: Limits) -> FloatArray:
    """Keep lobes near where they started, and near each other."""
    place = np.clip(place, start - limits.shift, start + limits.shift)
    one, two = place[:, :2], place[:, 2:]
    separation = np.hypot(*(one - two).T)
    ratio = np.where(separation > limits.separation, limits.separation / np.maximum(separation, 1e-9), 1.0)
    middle, half = (one + two) / 2.0, (one - two) / 2.0 * ratio[:, None]
    return np.where((ratio < 1.0)[:, None], np.hstack([middle + half, middle - half]), place)


def _move(place: FloatArray, step: FloatArray, start: FloatArray, limits: Limits) -> FloatArray:
    """Places after a step, within limits."""
    largest = np.maximum(np.abs(step).max(axis=1), 1e-9)
    return limit(place + step * np.minimum(limits.step / largest, 1.0)[:, None], start, limits)


def _choose_start(stamps: Stamps, place: FloatArray) -> FloatArray:
    """Start in the middle if that is better: the peaks of a star that hardly moved are a width of it off."""
    other = np.roll(place, 2, axis=1)
    middle, rows = place + (1.0 - MIDDLE_FRACTION) * (other - place) / 2.0, np.arange(len(place))
    lowered = [solve_linear(*equations(stamps, rows, trial))[1] for trial in (middle, place)]
    return np.where((lowered[0] > lowered[1])[:, None], middle, place)


class _State(NamedTuple):
    """Where the searches that go on have come to, one per row."""

    rows: NDArray[np.int64]
    start: FloatArray
    place: FloatArray
    matrix: FloatArray
    right: FloatArray
    values: FloatArray
    lowered: FloatArray
    damping: FloatArray

    def where(self, kept: NDArray[np.bool_]) -> _State:
        """Return some of the searches."""
        columns: list[Any] = [column[kept] for column in self]
        return _State(*columns)


def _advance(
    stamps: Stamps, state: _State, step: FloatArray, limits: Limits
) -> tuple[_State, NDArray[np.bool_]]:
    """Try a step of each search, and take it where it lowers chi2; tell which searches have ended."""
    trial = _move(state.place, step, state.start, limits)
    moved = np.abs(trial - state.place).max(axis=1)
    matrix, right = equations(stamps, state.rows, trial)
    values, lowered = solve_linear(matrix, right)
    gain = lowered - state.lowered
    better = gain >= 0.0
    damping = state.damping * np.where(better, EASIER, HARDER)
    found = state.rows, state.start, trial, matrix, right, values, lowered, damping
    taken: list[Any] = [
        np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        for new, old in zip(found, state, strict=True)
    ]
    ended = better & (gain < CHI2_TOLERANCE) & (moved < 10.0 * STEP_TOLERANCE_PIXEL)
    ended |= (moved < STEP_TOLERANCE_PIXEL) | (damping > LARGEST_DAMPING)
    return _State(*taken)._replace(damping=damping), ended


def find_places(
    stamps: Stamps, place: FloatArray, limits: Limits, can_fit: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Move lobes to the least chi2, of those that can be fitted; places, values, and whether it was found."""
    found_place, found_values = place.copy(), np.zeros((len(place), N_PARAMETERS))
    found, rows = np.zeros(len(place), dtype=np.bool_), np.arange(len(place))
    first = limit(_choose_start(stamps, place), place, limits)
    matrix, right = equations(stamps, rows, first)
    values, lowered = solve_linear(matrix, right)
    damping = np.full(len(place), FIRST_DAMPING)
    state = _State(rows, place, first, matrix, right, values, lowered, damping).where(can_fit)
    for _ in range(MAX_EVALUATIONS):
        step, exists = damped_step(state.matrix, state.right, state.values, state.damping)
        exists &= np.isfinite(state.lowered)
        state, step = state.where(exists), step[exists]
        if len(state.rows) == 0:
            break
        state, ended = _advance(stamps, state, step, limits)
        done = state.where(ended)
        found_place[done.rows], found_values[done.rows], found[done.rows] = done.place, done.values, True
        state = state.where(~ended)
    return found_place, found_values, found


def _judge_lobes(stamps: Stamps, columns: FloatArray) -> FloatArray:
    """Signal to noise of each lobe beside the other, on the difference alone, at the places found (n, 2)."""
    linear = np.ascontiguousarray(columns[:, [0, 3, 6, 7, 8]])
    matrix, right = normal_equations(linear, stamps.data[0], stamps.weight[0])
    _hold_unknown(matrix)
    values, _ = solve_positive(matrix, right)
    snr: FloatArray = (values / np.sqrt(np.einsum("naa->na", invert_positive(matrix))))[:, :2]
    return snr


def _chi2_of_difference(stamps: Stamps, columns: FloatArray, values: FloatArray) -> FloatArray:
    """Chi2 of the difference for given linear parameters."""
    model = np.einsum("na,nap->np", values[:, _OF_DIFFERENCE[[0, 3, 6, 7, 8]]], columns[:, [0, 3, 6, 7, 8]])
    chi2: FloatArray = np.einsum("np,np->n", (stamps.data[0] - model) ** 2, stamps.weight[0])
    return chi2


def _noise(stamps: Stamps, columns: tuple[FloatArray, ...]) -> FloatArray:
    """Covariance of the gradient of chi2 at unit flux (n, 11, 11).

    Images are weighted by w, have the columns J and variances V. That of the difference is the science image
    less the template: the sum over pixels is that of w^2 V J J^T of all three, and of w_d w V (J_d J^T +
    J J_d^T) for the science image less those for the template.
    """
    difference, weight = columns[0], stamps.weight
    noise = np.zeros((len(difference), N_PARAMETERS, N_PARAMETERS))
    first = _OF_DIFFERENCE[:, None]
    noise[:, first, _OF_DIFFERENCE] += (difference * weight[0][:, None]) @ difference.swapaxes(1, 2)
    for k, (own, sign) in enumerate(((_OF_SCIENCE, 1.0), (_OF_TEMPLATE, -1.0))):
        column, w, v = columns[1 + k], weight[1 + k], stamps.variance[k]
        noise[:, own[:, None], own] += (column * (w * w * v)[:, None]) @ column.swapaxes(1, 2)
        shared = sign * (difference * (weight[0] * w * v)[:, None]) @ column.swapaxes(1, 2)
        noise[:, first, own] += shared
        noise[:, own[:, None], _OF_DIFFERENCE] += shared.swapaxes(1, 2)
    return noise


def _covariance(matrix: FloatArray, noise: FloatArray, values: FloatArray) -> FloatArray:
    """Covariance of fluxes and positions (n, 6, 6); NaN where there is none."""
    scales = _scales(values)
    both = scales[:, :, None] * scales[:, None]
    inverse = invert_positive(matrix * both)
    return (inverse @ (noise * both) @ inverse)[:, :6, :6]


def search(stamps: Stamps, lobes: FloatArray, limits: Limits) -> Found:
    """Fit dipoles.

    Parameters
    ----------
    stamps : Stamps
    lobes : float64 ndarray, shape (n, 4)
        x and y of the positive, x and y of the negative peak, from the middle pixel [pixel].
    limits : Limits

    Returns
    -------
    found : Found
    """
    can_fit = np.count_nonzero(stamps.weight[0], axis=1) >= N_PARAMETERS
    place, values, converged = find_places(stamps, lobes, limits, can_fit)
    rows = np.arange(len(lobes))
    columns = draw_columns(stamps, rows, place)
    matrix, _ = equations(stamps, rows, place)
    covariance = _covariance(matrix, _noise(stamps, columns), values)
    lobe_snr, chi2 = _judge_lobes(stamps, columns[0]), _chi2_of_difference(stamps, columns[0], values)
    converged &= np.isfinite(covariance).all(axis=(1, 2))
    return Found(values, place, covariance, lobe_snr, chi2, converged)
