"""Dipoles on a difference: two point sources of opposite sign, fitted to many candidates at once.

Positions and fluxes of both lobes are free, on a local plane of sky. A separation much below the width of the
PSF and the flux of the lobes cannot be told apart on the difference alone, so that the science image
(positive lobe) and the matched template (negative lobe) join the fit with less weight. Fluxes are linear and
solved for at every step, positions move by damped Gauss-Newton steps (variable projection: Golub & Pereyra
2003). Since the noise of the difference is that of the other two, the covariance is propagated, not read off
the curvature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.images.dia_measurement_config import DipoleConfig
from astra.images.dipole_fit import Found, Limits, cut_dipole_stamps, search, weigh_inputs
from astra.images.exposure import Exposure
from astra.images.psf import sigma_from_fwhm

FloatArray = NDArray[np.float64]

HALF_WIDTH_FWHM = 2.5  # of the fitted square
MAX_STEP_SIGMA = 0.5  # along either axis at once: from further off the flux of a lobe is underrated
INPUT_RADIUS_FWHM = 1.5  # within which science image and template count: further out there are neighbours
CHUNK = 64  # candidates whose stamps are in memory at once


@dataclass(frozen=True)
class DipoleFits:
    """Dipoles fitted to a difference, one per row; the first lobe is the positive one.

    Parameters
    ----------
    flux : float64 ndarray, shape (n, 2)
        Fluxes of the lobes, both positive for a dipole [image unit].
    position : float64 ndarray, shape (n, 4)
        x and y of the positive, x and y of the negative lobe [pixel].
    covariance : float64 ndarray, shape (n, 6, 6)
        Of flux and position.
    lobe_snr : float64 ndarray, shape (n, 2)
        Signal to noise of each lobe beside the other, on the difference alone.
    chi2 : float64 ndarray, shape (n,)
        Of the difference.
    n_data : int64 ndarray, shape (n,)
        Pixels of the difference.
    converged : bool ndarray, shape (n,)
        False: all numbers are NaN.
    is_dipole : bool ndarray, shape (n,)
        Both lobes are there, and about as bright.
    """

    flux: FloatArray
    position: FloatArray
    covariance: FloatArray
    lobe_snr: FloatArray
    chi2: FloatArray
    n_data: NDArray[np.int64]
    converged: NDArray[np.bool_]
    is_dipole: NDArray[np.bool_]

    @property
    def separation(self) -> FloatArray:
        """From the negative to the positive lobe, along x and y [pixel], shape (n, 2)."""
        return self.position[:, :2] - self.position[:, 2:]

    def combined_flux_err(self, sign: float) -> FloatArray:
        """Error of the sum (``sign`` 1) or the difference (-1) of the fluxes of the lobes."""
        c = self.covariance
        error: FloatArray = np.sqrt(c[:, 0, 0] + c[:, 1, 1] + 2.0 * sign * c[:, 0, 1])
        return error


def fit_dipoles(
    difference: Exposure,
    science: Exposure,
    matched_template: Exposure,
    lobes: FloatArray,
    config: DipoleConfig | None = None,
) -> DipoleFits:
    """Fit two point sources of opposite sign.

    Parameters
    ----------
    difference, science, matched_template : Exposure, shape (ny, nx)
        With PSF; sky subtracted.
    lobes : float64 ndarray, shape (n, 4)
        x and y of the positive, x and y of the negative peak [pixel].
    config : DipoleConfig, optional

    Returns
    -------
    fits : DipoleFits

    Raises
    ------
    ValueError
        If an image has no PSF.
    """
    config = config or DipoleConfig()
    if difference.psf is None or science.psf is None or matched_template.psf is None:
        message = "dipoles cannot be fitted without the PSFs of difference, science image and template"
        raise ValueError(message)
    ny, nx = difference.shape
    fwhm = difference.psf.fwhm_pixel(nx / 2, ny / 2)
    sigma, half = sigma_from_fwhm(fwhm), int(np.ceil(HALF_WIDTH_FWHM * fwhm))
    centres = np.rint((lobes[:, :2] + lobes[:, 2:]) / 2.0)
    reach = half + int(np.ceil((config.max_shift_sigma + config.max_separation_sigma / 2.0) * sigma)) + 1
    limits = Limits(
        config.max_shift_sigma * sigma, config.max_separation_sigma * sigma, MAX_STEP_SIGMA * sigma
    )
    parts = []
    for first in range(0, max(len(lobes), 1), CHUNK):
        peaks, centre = lobes[first : first + CHUNK], centres[first : first + CHUNK]
        cut = cut_dipole_stamps((difference, science, matched_template), centre.astype(np.int64), half, reach)
        stamps = weigh_inputs(cut, config.input_weight**2, INPUT_RADIUS_FWHM * fwhm)
        found = search(stamps, peaks - np.tile(centre, 2), limits)
        parts.append(_as_fits(found, centre, np.count_nonzero(stamps.weight[0], axis=1), config))
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return DipoleFits(*(np.concatenate(column) for column in columns))


def _as_fits(found: Found, centre: FloatArray, n_data: NDArray[np.int64], config: DipoleConfig) -> DipoleFits:
    """Judge what was found; NaN for what was not."""
    lost = np.where(found.converged, 0.0, np.nan)
    flux, position = found.values[:, :2] + lost[:, None], found.place + np.tile(centre, 2) + lost[:, None]
    covariance, lobe_snr = found.covariance + lost[:, None, None], found.lobe_snr + lost[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = flux.max(axis=1) / flux.sum(axis=1)
        is_dipole = (flux > 0).all(axis=1) & (lobe_snr >= config.min_lobe_snr).all(axis=1)
        is_dipole &= share < config.max_flux_fraction
    return DipoleFits(
        flux, position, covariance, lobe_snr, found.chi2 + lost, n_data, found.converged, is_dipole
    )
