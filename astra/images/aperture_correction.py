"""Factor from PSF fluxes to those of a large aperture, over an image.

A large aperture holds light of neighbours too faint to be seen. It is the same for bright and faint stars, on
average, so that it is told from the factor by its share of the flux, and so is its scatter, which is several
times the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.images.psf import polynomial_powers
from astra.images.robust import SIGMA_PER_MAD
from astra.images.tan_sip import polynomial_design

FloatArray = NDArray[np.float64]

CLIP_ROUNDS = 6
CLIP_SIGMA = 3.0
STARS_PER_TERM = 7  # fewer lower the order
LEAST_ERROR = 0.001  # of the flux, of a star's ratio: keeps few very bright stars from taking all the weight
BISECTIONS = 30


@dataclass(frozen=True)
class ApertureCorrection:
    """Factor that turns PSF fluxes into those of a large aperture, a polynomial over the image.

    Parameters
    ----------
    coefficients : float64 ndarray, shape (n_terms,)
        Of the terms of `astra.images.psf.polynomial_powers`, in positions from the image centre in units of
        half the longer side.
    shape : tuple of int
        Rows and columns of the image [pixel].
    scatter : float
        Robust relative scatter about it.
    n_used : int
        Stars behind it.
    covariance : float64 ndarray, shape (n_terms, n_terms), optional
        Of the coefficients; none if they are taken to be exact.
    """

    coefficients: FloatArray
    shape: tuple[int, int]
    scatter: float
    n_used: int
    covariance: FloatArray | None = None

    @property
    def order(self) -> int:
        """Total degree of the polynomial."""
        return int(np.sqrt(2 * len(self.coefficients))) - 1

    def at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the factor at positions [pixel]."""
        factor: FloatArray = _design(x, y, self.shape, self.order) @ self.coefficients
        return factor

    def error_at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the error of the factor at positions [pixel]."""
        if self.covariance is None:
            return np.zeros(len(x))
        design = _design(x, y, self.shape, self.order)
        variance: FloatArray = np.einsum("ni,ij,nj->n", design, self.covariance, design)
        return np.sqrt(np.maximum(variance, 0.0))


@dataclass(frozen=True)
class _Fluxes:
    """Aperture and PSF fluxes of stars, the variance of the former, and the terms of the polynomial."""

    aperture: FloatArray
    psf: FloatArray
    variance: FloatArray
    terms: FloatArray

    def design(self, n_terms: int) -> FloatArray:
        """Fluxes in the aperture of a unit coefficient, and of unit light of unseen neighbours."""
        own = self.terms[:, :n_terms] * self.psf[:, None]
        # Stars that are too few for a slope are too few to tell light of their own from other light.
        return np.column_stack([own, np.ones(len(own))]) if self.terms.shape[1] > 1 else own


def fit_aperture_correction(
    stars: NDArray[np.void], aperture_column: str, shape: tuple[int, int], *, max_order: int = 2
) -> ApertureCorrection:
    """Fit the aperture fluxes of bright stars by their PSF fluxes and the light of unseen neighbours.

    Parameters
    ----------
    stars : structured ndarray, shape (n,)
        With ``x``, ``y``, ``psfInstFlux`` and the aperture's columns.
    aperture_column : str
        For example ``apInstFlux_12``; its error ends in ``Err``.
    shape : tuple of int
        Rows and columns of the image [pixel].
    max_order : int, optional
        Highest total degree; there must be some stars for each term, and they must be predicted better by
        those that remain when each is left out in turn.

    Returns
    -------
    correction : ApertureCorrection
        1 everywhere if no star is usable.
    """
    aperture, psf = stars[aperture_column], stars["psfInstFlux"]
    variance = stars[f"{aperture_column}Err"] ** 2 + (LEAST_ERROR * psf) ** 2
    good = np.isfinite(variance) & (aperture > 0) & (psf > 0)
    if not good.any():
        return ApertureCorrection(np.ones(1), shape, 0.0, 0)
    powers = {order: len(polynomial_powers(order)) for order in range(max_order + 1)}
    orders = [k for k, n in powers.items() if k == 0 or STARS_PER_TERM * n <= good.sum()]
    terms = _design(stars["x"][good], stars["y"][good], shape, orders[-1])
    fluxes = _Fluxes(aperture[good], psf[good], variance[good], terms)
    used, excess = _clip(fluxes)
    weight = used / np.sqrt(fluxes.variance + excess)
    order = min(orders, key=lambda k: _prediction_error(fluxes.design(powers[k]), fluxes.aperture, weight))
    design = fluxes.design(powers[order])
    solution, covariance = _solve(design, fluxes.aperture, weight)
    missed = (fluxes.aperture - design @ solution)[used] / fluxes.psf[used]
    own = slice(powers[order])
    scatter = SIGMA_PER_MAD * float(np.median(np.abs(missed)))
    return ApertureCorrection(solution[own], shape, scatter, int(used.sum()), covariance[own, own])


def _clip(fluxes: _Fluxes) -> tuple[NDArray[np.bool_], float]:
    """Tell which stars agree with the fit of highest order, and the variance that their errors leave out."""
    design, used, excess = fluxes.design(fluxes.terms.shape[1]), np.ones(len(fluxes.psf), dtype=np.bool_), 0.0
    # Until a first fit of ratios, which a bright star cannot lead astray, all that differs is an outlier.
    ratio = float(np.median(fluxes.aperture / fluxes.psf))
    missed = fluxes.aperture - ratio * fluxes.psf
    for _ in range(CLIP_ROUNDS):
        excess = _excess_variance(missed[used], fluxes.variance[used])
        error = np.sqrt(fluxes.variance + excess)
        used = np.abs(missed) < CLIP_SIGMA * error
        solution, _ = _solve(design, fluxes.aperture, used / error)
        missed = fluxes.aperture - design @ solution
    return used, excess


def _excess_variance(missed: FloatArray, variance: FloatArray) -> float:
    """Variance that must be added for residuals to scatter as their errors say, by their median."""
    low, high = 0.0, float(SIGMA_PER_MAD**2 * np.median(missed**2))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if SIGMA_PER_MAD**2 * np.median(missed**2 / (variance + middle)) > 1.0:
            low = middle
        else:
            high = middle
    return high


def _solve(design: FloatArray, values: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares: solution and its covariance."""
    inverse = np.linalg.pinv(design * weight[:, None])
    solution: FloatArray = inverse @ (values * weight)
    return solution, inverse @ inverse.T


def _prediction_error(design: FloatArray, values: FloatArray, weight: FloatArray) -> float:
    """Sum of the squared errors with which each star is predicted by the others, in units of its own."""
    weighted = design * weight[:, None]
    inverse = np.linalg.pinv(weighted)
    leverage = np.einsum("ni,in->n", weighted, inverse)
    missed = values * weight - weighted @ (inverse @ (values * weight))
    return float(np.sum((missed / np.maximum(1.0 - leverage, 1e-6)) ** 2))


def _design(x: FloatArray, y: FloatArray, shape: tuple[int, int], order: int) -> FloatArray:
    """Polynomial terms in coordinates that run from -1 to 1 along the longer side."""
    half = max(shape) / 2
    u, v = (x - (shape[1] - 1) / 2) / half, (y - (shape[0] - 1) / 2) / half
    return polynomial_design(u, v, order)
