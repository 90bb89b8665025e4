"""Trails of moving sources on a difference: a point source drawn out along a line, fitted to many at once.

The model is that of Veres et al. (2012, PASP 124, 1197) with the PSF itself in place of a Gaussian. The fit
starts from second moments. A source that does not move has a length of zero within its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from astra.images.exposure import Exposure
from astra.images.local_psf import FittedPsf, make_local_psfs
from astra.images.psf import sigma_from_fwhm
from astra.images.trail_fit import ANGLE_SCATTER, LEAST_LENGTH_PIXEL, N_RESULTS, fit_all

FloatArray = NDArray[np.float64]

REACH_FWHM = 2.25  # of the PSF that is drawn, and of the stamp beyond the ends of the trail
MARGIN_RATIO = 1.2  # of the stamp's to the first guess of the length
MAX_LENGTH_PIXEL = 300.0  # what is longer is found as a streak, or flagged
POINT_CHI2 = 16.0  # the noise on a point source is hardly ever fitted better than this by a trail
ORDERS = (3, 4, 6, 8, 11, 16, 23, 32, 46, 64, 96, 128, 160)  # of the quadratures along the line


@dataclass(frozen=True)
class TrailFits:
    """Trails fitted to a difference, one per row.

    Parameters
    ----------
    flux, flux_err : float64 ndarray, shape (n,)
        [image unit].
    x, y : float64 ndarray, shape (n,)
        Centre [pixel].
    covariance : float64 ndarray, shape (n, 2, 2)
        Of x and y [pixel**2].
    length, length_err : float64 ndarray, shape (n,)
        [pixel]. The error is half the interval of lengths whose squares lie within an error of the best; for
        sources that are no better fitted by a trail than by a point it reaches zero.
    angle, angle_err : float64 ndarray, shape (n,)
        From the x towards the y axis [rad]; the error is at most that of an unknown direction, pi / sqrt(12).
    chi2 : float64 ndarray, shape (n,)
        Of the fit.
    n_data : int64 ndarray, shape (n,)
        Pixels in it.
    failed : bool ndarray, shape (n,)
        No trail was found, or a longer one than can be measured: all numbers are NaN.
    on_edge : bool ndarray, shape (n,)
        The trail reaches the edge of the data.
    """

    flux: FloatArray
    flux_err: FloatArray
    x: FloatArray
    y: FloatArray
    covariance: FloatArray
    length: FloatArray
    length_err: FloatArray
    angle: FloatArray
    angle_err: FloatArray
    chi2: FloatArray
    n_data: NDArray[np.int64]
    failed: NDArray[np.bool_]
    on_edge: NDArray[np.bool_]


def guess_trails(positions: FloatArray, moments: FloatArray, psf_moments: FloatArray) -> FloatArray:
    """First guesses from second moments.

    Parameters
    ----------
    positions : float64 ndarray, shape (n, 2)
        x and y of the centres [pixel].
    moments, psf_moments : float64 ndarray, shape (n, 3)
        ixx, ixy, iyy of sources and PSF [pixel**2]; NaN counts as a point source.

    Returns
    -------
    guesses : float64 ndarray, shape (n, 4)
        x, y, squared length [pixel**2] and angle [rad]: a line has a twelfth of its squared length as moment.
    """
    xx, xy, yy = np.nan_to_num(moments - psf_moments).T
    largest = (xx + yy) / 2.0 + np.hypot((xx - yy) / 2.0, xy)
    squared = np.maximum(12.0 * largest, 1.0)
    return np.column_stack([positions, squared, 0.5 * np.arctan2(2.0 * xy, xx - yy)])


def fit_trails(exposure: Exposure, guesses: FloatArray, max_length: FloatArray | None = None) -> TrailFits:
    """Fit flux, centre, length and angle of trails, all but the flux weighting pixels by their variance.

    Parameters
    ----------
    exposure : Exposure
        With PSF; noise of neighbouring pixels independent.
    guesses : float64 ndarray, shape (n, 4)
        See `guess_trails`.
    max_length : float64 ndarray, shape (n,), optional
        Longest trail that each may be [pixel], `MAX_LENGTH_PIXEL` by default: the noise round a faint source
        has long trails, too.

    Returns
    -------
    fits : TrailFits

    Raises
    ------
    ValueError
        If the exposure has no PSF.
    """
    if exposure.psf is None:
        message = "a trail cannot be fitted without a PSF"
        raise ValueError(message)
    longest = np.full(len(guesses), MAX_LENGTH_PIXEL)
    if max_length is not None:
        longest = np.minimum(max_length, longest)
    # The peaks of a long trail have the guess of their footprint: it is fitted once.
    trails, row = np.unique(np.column_stack([guesses, longest]), axis=0, return_inverse=True)
    table = _fit_rows(exposure, exposure.psf, trails[:, :4].copy(), trails[:, 4])
    return _as_fits(table[row.ravel()])


def _fit_rows(exposure: Exposure, psf: FittedPsf, guesses: FloatArray, longest: FloatArray) -> FloatArray:
    """Fit trails that differ, of given greatest lengths [pixel]; rows as `fit_all` fills them."""
    ny, nx = exposure.shape
    fwhm = psf.fwhm_pixel(nx / 2, ny / 2)
    reach = min(int(np.ceil(REACH_FWHM * fwhm)), psf.size // 2)
    table = np.full((len(guesses), N_RESULTS), np.nan)
    model = quadratures(), (sigma_from_fwhm(fwhm), reach)
    starts, pending = guesses.copy(), np.arange(len(guesses))
    starts[:, 2] = np.minimum(starts[:, 2], (longest / MARGIN_RATIO) ** 2)
    lengths = np.sqrt(starts[:, 2])
    while len(pending):
        room = np.minimum(MARGIN_RATIO * lengths[pending], longest[pending])
        local_psfs = make_local_psfs(psf, starts[pending, 0], starts[pending, 1], reach + 1)
        halves = np.ceil(room / 2.0).astype(np.int64) + reach
        rows = fit_all(exposure, local_psfs, starts[pending], (halves, room + reach), model)
        # Those that fill the room they had, or get lost in it, are fitted again with more.
        filled, lost = np.sqrt(rows[:, 3]) > 0.98 * (room + reach), rows[:, 7] % 2 > 0
        starts[pending[filled]] = rows[filled, 1:5]
        starts[pending[lost], 2] = (room[lost] / 2.0) ** 2
        rows[filled, 7] = 1.0
        table[pending] = rows
        lengths[pending] = 2.0 * (room + reach)
        pending = pending[(filled | lost) & (room < longest[pending])]
    return table


@cache
def quadratures() -> tuple[FloatArray, ...]:
    """Gauss-Legendre rules on a line of unit length: places from its middle, and weights."""
    rules = (np.polynomial.legendre.leggauss(order) for order in ORDERS)
    return tuple(np.stack([nodes / 2.0, weights / 2.0]) for nodes, weights in rules)


def _as_fits(table: FloatArray) -> TrailFits:
    """Take the results of the compiled fit apart."""
    flux, x, y, squared, angle, chi2, n_data, state, gain = table[:, :9].T
    failed = state % 2 > 0
    blank = np.where(failed, np.nan, 1.0)
    covariance = table[:, 9:].reshape(-1, 5, 5) * blank[:, None, None]
    flux_err, _, _, spread, angle_err = np.sqrt(np.einsum("nii->in", covariance))
    length = np.where(squared > LEAST_LENGTH_PIXEL**2, np.sqrt(squared), 0.0)
    length_err = (np.sqrt(squared + spread) - np.sqrt(np.maximum(squared - spread, 0.0))) / 2.0
    # The noise alone makes short trails: their length is no surer than that they are there.
    is_point = gain < POINT_CHI2
    with np.errstate(divide="ignore", invalid="ignore"):
        at_least = np.minimum(length / np.sqrt(np.maximum(gain, 0.0)), np.sqrt(squared + spread))
    length_err = np.where(is_point, np.fmax(length_err, at_least), length_err)
    angle_err = np.where(is_point, ANGLE_SCATTER, np.minimum(angle_err, ANGLE_SCATTER))
    flux, x, y, length, length_err, angle, angle_err, chi2 = (
        value * blank for value in (flux, x, y, length, length_err, angle, angle_err, chi2)
    )
    return TrailFits(
        flux, flux_err, x, y, covariance[:, 1:3, 1:3],
        length, length_err, angle, angle_err, chi2,
        n_data.astype(np.int64), failed, state >= 2.0,
    )  # fmt: skip
