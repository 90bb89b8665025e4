"""Colour terms and photometric zero point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.errors import TooFewSourcesError
from astra.images.robust import SIGMA_PER_MAD

FloatArray = NDArray[np.float64]

ZERO_POINT_ROUNDS = 20
CLIP_SIGMA = 3.0
MAG_PER_RELATIVE = 2.5 / np.log(10.0)


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
    max_sigma_mag: float = 0.25,
    min_stars: int = 3,
) -> ZeroPoint:
    """Median ratio of reference to instrumental flux, clipped until the same stars remain.

    Parameters
    ----------
    inst_flux, inst_flux_err : float64 ndarray, shape (n,)
        Of the matched stars [adu].
    reference_flux, reference_flux_err : float64 ndarray, shape (n,)
        [nJy].
    max_err_mag : float
        Stars with a larger combined error are not used [mag].
    max_sigma_mag : float
        Scatter that is clipped at if the stars scatter more [mag].
    min_stars : int
        Fewer are an error.

    Returns
    -------
    zero_point : ZeroPoint

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_stars`` stars can be used, or agree; it says why the others cannot.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        delta_mag = 2.5 * np.log10(reference_flux / inst_flux)
        error = MAG_PER_RELATIVE * np.hypot(inst_flux_err / inst_flux, reference_flux_err / reference_flux)
    no_flux, no_reference = ~(inst_flux > 0), ~(reference_flux > 0)
    bright = ~no_flux & ~no_reference & np.isfinite(delta_mag) & (error < max_err_mag)
    reasons = {
        "no instrumental flux": no_flux,
        "no reference flux": no_reference & ~no_flux,
        f"a combined error above {max_err_mag:g} mag": ~(no_flux | no_reference | bright),
    }
    used = bright
    for _ in range(ZERO_POINT_ROUNDS):
        if used.sum() < min_stars:
            break
        centre = float(np.median(delta_mag[used]))
        spread = max(SIGMA_PER_MAD * float(np.median(np.abs(delta_mag[used] - centre))), 1e-6)
        before, used = used, bright & (np.abs(delta_mag - centre) < CLIP_SIGMA * min(spread, max_sigma_mag))
        if (used == before).all():
            break
    if used.sum() < min_stars:
        raise _no_zero_point(used, {**reasons, "outlying ratios": bright & ~used}, min_stars)
    return _zero_point(delta_mag, used)


def _no_zero_point(
    used: NDArray[np.bool_], reasons: Mapping[str, NDArray[np.bool_]], min_stars: int
) -> TooFewSourcesError:
    """Say how many stars there are, and why the others cannot be used."""
    n_used = int(used.sum())
    others = ", ".join(f"{int(which.sum())} have {why}" for why, which in reasons.items() if which.any())
    message = (
        f"{n_used} of {len(used)} matched stars can be used for the zero point, but {min_stars} are required"
        + (f"; of the others {others}" if others else "")
    )
    return TooFewSourcesError(message, n_sources=n_used, n_required=min_stars)


def _zero_point(delta_mag: FloatArray, used: NDArray[np.bool_]) -> ZeroPoint:
    """Scale, error and scatter of the stars that are used."""
    scatter = float(np.std(delta_mag[used]))
    scale = 10.0 ** (0.4 * float(np.median(delta_mag[used])))
    # The median of a Gaussian sample scatters sqrt(pi / 2) more than the mean.
    scale_err = float(scale * scatter / MAG_PER_RELATIVE * np.sqrt(np.pi / 2 / used.sum()))
    return ZeroPoint(scale, scale_err, scatter, used)
