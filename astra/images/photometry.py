"""Aperture correction, colour terms and photometric zero point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.errors import TooFewSourcesError
from astra.images.tan_sip import polynomial_design

FloatArray = NDArray[np.float64]

CLIP_ROUNDS = 6
CLIP_SIGMA = 3.0
MAG_PER_RELATIVE = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class ApertureCorrection:
    """Factor that turns PSF fluxes into those of a large aperture, linear or constant over the image.

    Parameters
    ----------
    coefficients : float64 ndarray, shape (1,) or (3,)
        Of 1, u and v, positions from the image centre in units of half the longer side.
    shape : tuple of int
        Rows and columns of the image [pixel].
    scatter : float
        Robust relative scatter about it.
    n_used : int
        Stars behind it.
    """

    coefficients: FloatArray
    shape: tuple[int, int]
    scatter: float
    n_used: int

    def at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the factor at positions [pixel]."""
        factor: FloatArray = _design(x, y, self.shape, len(self.coefficients) > 1) @ self.coefficients
        return factor


@dataclass(frozen=True)
class ZeroPoint:
    """Flux scale of an image.

    Parameters
    ----------
    njy_per_count, njy_per_count_err : float
        [nJy/adu].
    scatter_mag : float
        Standard deviation of bright stars about it, after clipping [mag].
    used : bool ndarray, shape (n,)
        Which of the given stars were used.
    """

    njy_per_count: float
    njy_per_count_err: float
    scatter_mag: float
    used: NDArray[np.bool_]


def fit_aperture_correction(
    stars: NDArray[np.void], aperture_column: str, shape: tuple[int, int], *, min_linear: int = 20
) -> ApertureCorrection:
    """Fit the ratio of aperture to PSF flux of bright stars.

    Parameters
    ----------
    stars : structured ndarray, shape (n,)
        With ``x``, ``y``, ``psfInstFlux`` and the aperture's columns.
    aperture_column : str
        For example ``apInstFlux_12``; its error ends in ``Err``.
    shape : tuple of int
        Rows and columns of the image [pixel].
    min_linear : int
        Fewer stars than this allow a constant only.

    Returns
    -------
    correction : ApertureCorrection
        1 everywhere if no star is usable.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = stars[aperture_column] / stars["psfInstFlux"]
        error = np.hypot(stars[f"{aperture_column}Err"] / np.abs(stars["psfInstFlux"]), 0.005)
    good = np.isfinite(ratio) & (ratio > 0) & np.isfinite(error)
    if not good.any():
        return ApertureCorrection(np.ones(1), shape, 0.0, 0)
    stars, ratio, error = stars[good], ratio[good], error[good]
    design = _design(stars["x"], stars["y"], shape, len(stars) >= min_linear)
    used = np.ones(len(ratio), dtype=np.bool_)
    solution: FloatArray = np.array([np.median(ratio), *np.zeros(design.shape[1] - 1)])
    pull = (ratio - design @ solution) / error
    for _ in range(CLIP_ROUNDS):
        pull = (ratio - design @ solution) / error
        used = np.abs(pull - np.median(pull)) < CLIP_SIGMA * max(1.4826 * float(np.median(np.abs(pull))), 0.1)
        weight = used / error
        solution = np.linalg.lstsq(design * weight[:, None], ratio * weight, rcond=None)[0].astype(np.float64)
    scatter = 1.4826 * float(np.median(np.abs(ratio - design @ solution)[used]))
    return ApertureCorrection(solution, shape, scatter, int(used.sum()))


def _design(x: FloatArray, y: FloatArray, shape: tuple[int, int], linear: bool) -> FloatArray:
    """Constant, or constant and slopes."""
    half = max(shape) / 2
    u, v = (x - (shape[1] - 1) / 2) / half, (y - (shape[0] - 1) / 2) / half
    return polynomial_design(u, v, 1 if linear else 0)


@dataclass(frozen=True)
class ColorTerm:
    """How the magnitudes of a reference catalogue become those of a camera.

    ``m = m_reference_band + c0 + c1 (m_blue - m_red) + c2 (m_blue - m_red)**2 ...``

    Parameters
    ----------
    reference_band : str
        The catalogue's band that is nearest.
    blue, red : str
        The catalogue's bands that make the colour.
    coefficients : tuple of float
        ``c0``, ``c1``, ... [mag].
    """

    reference_band: str
    blue: str
    red: str
    coefficients: tuple[float, ...]

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of the catalogue that are needed, each once."""
        return tuple(dict.fromkeys((self.reference_band, self.blue, self.red)))


def apply_color_term(
    fluxes: Mapping[str, tuple[FloatArray, FloatArray]], term: ColorTerm
) -> tuple[FloatArray, FloatArray]:
    """Predict the fluxes in a camera's band.

    Parameters
    ----------
    fluxes : mapping of str to (float64 ndarray, float64 ndarray), shape (n,)
        Flux and 1-sigma error of each band of the catalogue [nJy].
    term : ColorTerm
        The camera's colour term.

    Returns
    -------
    flux, flux_err : float64 ndarray, shape (n,)
        [nJy]; NaN where a flux that the term needs is not positive or not known.
    """
    flux, _ = fluxes[term.reference_band]
    with np.errstate(invalid="ignore", divide="ignore"):
        color = 2.5 * np.log10(fluxes[term.red][0] / fluxes[term.blue][0])
        polynomial = np.polynomial.Polynomial(term.coefficients or (0.0,))
        slope = polynomial.deriv()(color)
        derivative = dict.fromkeys(term.bands, np.zeros_like(color))
        for band, change in ((term.reference_band, 1.0), (term.blue, slope), (term.red, -slope)):
            derivative[band] = derivative[band] + change
        relative = [derivative[band] * fluxes[band][1] / fluxes[band][0] for band in term.bands]
        corrected = np.where(flux > 0, flux, np.nan) * 10.0 ** (-0.4 * polynomial(color))
    known = np.isfinite(corrected)
    error = corrected * np.sqrt(np.sum(np.square(relative), axis=0))
    return np.where(known, corrected, np.nan), np.where(known, error, np.nan)


def fit_zero_point(
    inst_flux: FloatArray,
    inst_flux_err: FloatArray,
    reference_flux: FloatArray,
    reference_flux_err: FloatArray,
    *,
    max_err_mag: float = 0.05,
    min_stars: int = 3,
) -> ZeroPoint:
    """Median ratio of reference to instrumental flux, clipped.

    Parameters
    ----------
    inst_flux, inst_flux_err : float64 ndarray, shape (n,)
        Of the matched stars [adu].
    reference_flux, reference_flux_err : float64 ndarray, shape (n,)
        [nJy].
    max_err_mag : float
        Stars with a larger combined error are not used [mag].
    min_stars : int
        Fewer are an error.

    Returns
    -------
    zero_point : ZeroPoint

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_stars`` stars are bright enough in both catalogues.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        delta_mag = 2.5 * np.log10(reference_flux / inst_flux)
        error = MAG_PER_RELATIVE * np.hypot(inst_flux_err / inst_flux, reference_flux_err / reference_flux)
    bright = np.isfinite(delta_mag) & (inst_flux > 0) & (error < max_err_mag)
    if bright.sum() < min_stars:
        message = (
            f"{int(bright.sum())} of {len(inst_flux)} matched stars have a combined error below "
            f"{max_err_mag:g} mag, but {min_stars} are required for the zero point"
        )
        raise TooFewSourcesError(message, n_sources=int(bright.sum()), n_required=min_stars)
    used, centre = bright, float(np.median(delta_mag[bright]))
    for _ in range(CLIP_ROUNDS):
        centre = float(np.median(delta_mag[used]))
        spread = max(1.4826 * float(np.median(np.abs(delta_mag[used] - centre))), 1e-6)
        used = bright & (np.abs(delta_mag - centre) < CLIP_SIGMA * spread)
    scatter = float(np.std(delta_mag[used]))
    scale = 10.0 ** (0.4 * centre)
    # The median of a Gaussian sample scatters sqrt(pi / 2) more than the mean.
    scale_err = float(scale * scatter / MAG_PER_RELATIVE * np.sqrt(np.pi / 2 / used.sum()))
    return ZeroPoint(scale, scale_err, scatter, used)
