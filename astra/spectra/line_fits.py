"""Gaussian profiles of lines: place, width and strength by least squares, beside direct integration.

Each line is fitted alone, on a straight continuum, to all good pixels from the blue side band to the red one.
The first guess is the best of a coarse grid of places and widths; from there damped Gauss-Newton steps
(Levenberg-Marquardt) go down, since the model is not linear in place and width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.spectra.flags import SpectrumFlag
from astra.spectra.lines import Line, good_pixels, window_coverage

N_PARAMETERS = 5  # continuum in the middle, its slope, flux, centre, sigma
_N_VALUES = 9  # of a line in `LineFits`, but for its flags
_N_CENTRES = 9
_SIGMAS = (0.06, 0.12, 0.24)  # first guesses, over the width of the window
_MAX_SIGMA = 0.5  # over the width of the window
_MIN_SIGMA_PIXEL = 0.5
_MAX_STEPS = 40
_SETTLED = 1e-3  # of the errors
_WEAK_SIGMA = 3.0
_POOR_CHI2_DOF = 3.0


@dataclass(frozen=True)
class LineFits:
    """Gaussian fits of lines in spectra, shape (n_rows, n_lines) each; NaN where nothing was fitted.

    Parameters
    ----------
    centre, centre_err : float64 ndarray
        Where the profile is [Angstrom, vacuum, at rest], and its error.
    sigma, sigma_err : float64 ndarray
        Its standard deviation, the spectrograph's part included [Angstrom].
    width, width_err : float64 ndarray
        Equivalent width, positive for absorption [Angstrom].
    flux, flux_err : float64 ndarray
        Of the profile, positive for emission [unit of the flux times Angstrom].
    chi2_dof : float64 ndarray
        Of all pixels of the fit; errors are not scaled by it.
    flags : int64 ndarray
        `SpectrumFlag`; ``WEAK_PEAK`` where the flux is below three of its errors.
    """

    centre: NDArray[np.float64]
    centre_err: NDArray[np.float64]
    sigma: NDArray[np.float64]
    sigma_err: NDArray[np.float64]
    width: NDArray[np.float64]
    width_err: NDArray[np.float64]
    flux: NDArray[np.float64]
    flux_err: NDArray[np.float64]
    chi2_dof: NDArray[np.float64]
    flags: NDArray[np.int64]


def fit_lines(
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    lines: Sequence[Line],
    *,
    min_coverage: float = 0.8,
) -> LineFits:
    """Fit a Gaussian profile to each line of spectra at rest.

    Parameters
    ----------
    wavelength : float64 ndarray, shape (n_pixels,)
        At rest, in vacuum, increasing [Angstrom].
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Flux and its inverse variance; 0 where there is no measurement.
    lines : sequence of Line
        In vacuum or air.
    min_coverage : float, optional
        Fraction of each window that good pixels must cover.

    Returns
    -------
    fits : LineFits

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    good = good_pixels(wavelength, flux, ivar)
    found = np.full((_N_VALUES, len(flux), len(lines)), np.nan)
    flags = np.zeros((len(flux), len(lines)), np.int64)
    for number, line in enumerate(one.in_vacuum() for one in lines):
        missing = window_coverage(wavelength, good, line) < min_coverage
        flags[missing, number] = int(SpectrumFlag.OUTSIDE_COVERAGE)
        part = slice(*np.searchsorted(wavelength, [line.blue[0], line.red[1]]))
        for row in np.flatnonzero(~missing):
            use = good[row, part]
            pixels = (wavelength[part][use], flux[row, part][use], ivar[row, part][use])
            found[:, row, number], flags[row, number] = _fit_line(line, *pixels)
    return LineFits(*(*found, flags))


def line_profile(
    line: Line, wavelength: NDArray[np.float64], parameters: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return continuum and Gaussian of `fit_profile` at wavelengths in vacuum at rest [Angstrom]."""
    middle, half = _frame(line.in_vacuum())
    model: NDArray[np.float64] = evaluate((wavelength - middle) / half, parameters)
    return model


def fit_profile(
    line: Line, wavelength: NDArray[np.float64], flux: NDArray[np.float64], ivar: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, bool]:
    """Fit one line to good pixels.

    Parameters
    ----------
    line : Line
        In vacuum or air.
    wavelength, flux, ivar : float64 ndarray, shape (n_pixels,)
        In vacuum at rest [Angstrom]; all of them count.

    Returns
    -------
    parameters : float64 ndarray, shape (5,)
        Continuum in the middle, its rise over half of the span, flux, centre and sigma; the last three in
        units of half of the span from the blue side band to the red one, and centre from its middle.
    covariance : float64 ndarray, shape (5, 5)
    chi2 : float
    is_settled : bool
        Whether the last step was small.
    """
    line = line.in_vacuum()
    middle, half = _frame(line)
    x = (wavelength - middle) / half
    length = (line.window[1] - line.window[0]) / half
    spacing = float(np.median(np.diff(x))) if x.size > 1 else length
    low = np.array([(line.window[0] - middle) / half, _MIN_SIGMA_PIXEL * spacing])
    high = np.array([(line.window[1] - middle) / half, max(_MAX_SIGMA * length, 2 * low[1])])
    # Values of order one, whatever the unit.
    unit = float(np.mean(np.abs(flux))) or 1.0
    parameters, covariance = np.zeros(N_PARAMETERS), np.zeros((N_PARAMETERS, N_PARAMETERS))
    first_guess(x, flux / unit, ivar * unit**2, low, high, length * np.array(_SIGMAS), parameters)
    chi2, is_settled = descend(x, flux / unit, ivar * unit**2, low, high, parameters, covariance)
    scale = np.array([unit, unit, unit, 1.0, 1.0])
    return parameters * scale, covariance * scale[:, None] * scale, float(chi2), bool(is_settled)


def _frame(line: Line) -> tuple[float, float]:
    """Return the middle of the span of a line, and half of its length [Angstrom]."""
    return 0.5 * (line.blue[0] + line.red[1]), 0.5 * (line.red[1] - line.blue[0])


def _fit_line(
    line: Line, wavelength: NDArray[np.float64], flux: NDArray[np.float64], ivar: NDArray[np.float64]
) -> tuple[NDArray[np.float64], int]:
    """Return the fields of `LineFits` for one line of one spectrum."""
    if wavelength.size <= N_PARAMETERS:
        return np.full(_N_VALUES, np.nan), int(SpectrumFlag.NO_DATA)
    (level, slope, total, centre, sigma), covariance, chi2, is_settled = fit_profile(
        line, wavelength, flux, ivar
    )
    middle, half = _frame(line)
    continuum = level + slope * centre
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if continuum <= 0 or not np.isfinite(error).all() or not error[2] > 0:
        return np.full(_N_VALUES, np.nan), int(SpectrumFlag.FIT_FAILED)
    by_width = np.array([total, total * centre, -continuum, total * slope, 0.0]) / continuum**2
    width_err = math.sqrt(max(by_width @ covariance @ by_width, 0.0))
    chi2_dof = chi2 / (wavelength.size - N_PARAMETERS)
    flags = 0 if is_settled else int(SpectrumFlag.NOT_CONVERGED)
    window = line.window[1] - line.window[0]
    at_edge = min(abs(middle + half * centre - end) for end in line.window) < 1e-6 * window
    at_edge |= sigma * half > 0.999 * _MAX_SIGMA * window
    flags |= int(SpectrumFlag.EDGE_OF_RANGE) if at_edge else 0
    flags |= int(SpectrumFlag.WEAK_PEAK) if abs(total) < _WEAK_SIGMA * error[2] else 0
    flags |= int(SpectrumFlag.POOR_FIT) if chi2_dof > _POOR_CHI2_DOF else 0
    strength = (-total / continuum, width_err, total, error[2])
    values = (centre, error[3], sigma, error[4], *strength)
    return np.array([half * value for value in values] + [chi2_dof]) + np.array([middle] + 8 * [0.0]), flags


@compiled
def evaluate(x: NDArray[np.float64], parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return continuum and Gaussian."""
    level, slope, flux, centre, sigma = (
        parameters[0],
        parameters[1],
        parameters[2],
        parameters[3],
        parameters[4],
    )
    profile = np.exp(-0.5 * ((x - centre) / sigma) ** 2) / (sigma * math.sqrt(2.0 * math.pi))
    return level + slope * x + flux * profile  # type: ignore[no-any-return]


@compiled(error_model="numpy")
def accumulate(  # noqa: PLR0917
    x: NDArray[np.float64],
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
    parameters: NDArray[np.float64],
    normal: NDArray[np.float64],
    gradient: NDArray[np.float64],
) -> float:
    """Fill normal matrix and downward gradient, and return chi-squared."""
    flux, centre, sigma = parameters[2], parameters[3], parameters[4]
    for j in range(5):
        gradient[j] = 0.0
        for k in range(5):
            normal[j, k] = 0.0
    chi2 = 0.0
    slope = np.empty(5)
    for i in range(x.size):
        u = (x[i] - centre) / sigma
        shape = math.exp(-0.5 * u * u) / (sigma * math.sqrt(2.0 * math.pi))
        slope[0], slope[1], slope[2] = 1.0, x[i], shape
        slope[3], slope[4] = flux * shape * u / sigma, flux * shape * (u * u - 1.0) / sigma
        residual = data[i] - parameters[0] - parameters[1] * x[i] - flux * shape
        chi2 += weight[i] * residual * residual
        for j in range(5):
            part = weight[i] * slope[j]
            gradient[j] += part * residual
            for k in range(j + 1):
                normal[j, k] += part * slope[k]
    for j in range(5):
        for k in range(j):
            normal[k, j] = normal[j, k]
    return chi2


@compiled(error_model="numpy")
def solve_symmetric(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve small positive equations by elimination; what is void gives 0.

    The right sides are columns; of the matrix so many rows and columns count as those have rows.
    """
    n, n_sides = right.shape
    rows, solved = np.empty((n, n + n_sides)), np.empty((n, n_sides))
    for j in range(n):
        for i in range(n + n_sides):
            rows[j, i] = matrix[j, i] if i < n else right[j, i - n]
    _eliminate(rows, matrix)
    for j in range(n - 1, -1, -1):
        for i in range(n_sides):
            value = rows[j, n + i]
            for k in range(j + 1, n):
                value -= rows[j, k] * solved[k, i]
            solved[j, i] = value / rows[j, j]
    return solved


@part
def _eliminate(rows: NDArray[np.float64], matrix: NDArray[np.float64]) -> None:
    """Bring equations, with their right sides at the end of each row, to the form of a triangle."""
    n, length = rows.shape
    for j in range(n):
        if rows[j, j] <= 1e-14 * matrix[j, j] or matrix[j, j] <= 0.0:
            for i in range(length):
                rows[j, i] = 1.0 if i == j else 0.0
            continue
        for k in range(j + 1, n):
            factor = rows[k, j] / rows[j, j]
            for i in range(j, length):
                rows[k, i] -= factor * rows[j, i]


@compiled(error_model="numpy")
def first_guess(  # noqa: PLR0917
    x: NDArray[np.float64],
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    sigmas: NDArray[np.float64],
    parameters: NDArray[np.float64],
) -> None:
    """Fill the parameters of the best of a grid of centres and sigmas, by linear least squares."""
    normal, gradient, trial = np.zeros((5, 5)), np.zeros(5), np.zeros(5)
    right = np.zeros((3, 1))
    best = -1.0
    for k in range(_N_CENTRES):
        for s in range(sigmas.size):
            trial[3] = low[0] + (high[0] - low[0]) * (k + 0.5) / _N_CENTRES
            trial[4] = min(max(sigmas[s], low[1]), high[1])
            accumulate(x, data, weight, trial, normal, gradient)
            for j in range(3):
                right[j, 0] = gradient[j]
            linear = solve_symmetric(normal, right)
            gain = 0.0
            for j in range(3):
                gain += linear[j, 0] * gradient[j]
            if gain > best:
                best = gain
                for j in range(5):
                    parameters[j] = linear[j, 0] if j < 3 else trial[j]


@compiled(error_model="numpy")
def descend(  # noqa: PLR0917
    x: NDArray[np.float64],
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    parameters: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> tuple[float, bool]:
    """Go down from a first guess within the limits of centre and sigma; fill the covariance."""
    normal, gradient = np.zeros((5, 5)), np.zeros(5)
    new_normal, new_gradient = np.zeros((5, 5)), np.zeros(5)
    damped, right = np.zeros((5, 5)), np.zeros((5, 1))
    trial, identity = np.zeros(5), np.zeros((5, 5))
    chi2 = accumulate(x, data, weight, parameters, normal, gradient)
    damping, is_settled = 1e-3, False
    for _ in range(_MAX_STEPS):
        _damp(normal, gradient, damping, damped, right)
        _step_within(parameters, solve_symmetric(damped, right), low, high, trial)
        size = _square(normal, parameters, trial)
        new = accumulate(x, data, weight, trial, new_normal, new_gradient)
        if new <= chi2 * (1.0 + 1e-12):
            chi2, damping = new, 0.1 * damping
            for j in range(5):
                parameters[j] = trial[j]
            normal, new_normal = new_normal, normal
            gradient, new_gradient = new_gradient, gradient
        else:
            damping *= 10.0
        if size < _SETTLED**2 or damping > 1e10:
            is_settled = True
            break
    for j in range(5):
        identity[j, j] = 1.0
    inverse = solve_symmetric(normal, identity)
    for j in range(5):
        for k in range(5):
            covariance[j, k] = inverse[j, k]
    return chi2, is_settled


@part
def _damp(
    normal: NDArray[np.float64],
    gradient: NDArray[np.float64],
    damping: float,
    damped: NDArray[np.float64],
    right: NDArray[np.float64],
) -> None:
    """Fill the equations of a damped step."""
    for j in range(5):
        right[j, 0] = gradient[j]
        for k in range(5):
            damped[j, k] = normal[j, k] * (1.0 + damping) if k == j else normal[j, k]


@part
def _step_within(
    parameters: NDArray[np.float64],
    step: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    trial: NDArray[np.float64],
) -> None:
    """Fill the parameters after a step, centre and sigma within their limits."""
    for j in range(5):
        trial[j] = parameters[j] + step[j, 0]
    for k in range(2):
        trial[3 + k] = min(max(trial[3 + k], low[k]), high[k])


@part
def _square(normal: NDArray[np.float64], begin: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """Squared length of a step in units of the errors."""
    total = 0.0
    for j in range(5):
        product = 0.0
        for k in range(5):
            product += normal[j, k] * (end[k] - begin[k])
        total += (end[j] - begin[j]) * product
    return total
