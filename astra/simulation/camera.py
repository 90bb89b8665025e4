"""How the simulated optics paint sources: a Moffat PSF that varies over the field, stars and disks.

A Moffat profile is a mixture of Gaussians, I(r) ~ int t**(beta-1) exp(-t) exp(-t r**2 / alpha**2) dt, here
with the nodes of Gauss-Laguerre quadrature; so a star is a sum of few small Gaussian stamps, and a galaxy
that is a sum of Gaussians itself stays one under the PSF, their covariances added.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_genlaguerre

N_MOFFAT_NODES = 4
_STAMP_SIGMA = 5.5  # beyond it lies 3e-7 of a Gaussian's flux
# Flux and width [scale lengths] of two Gaussians with about the curve of growth of an exponential disk.
_DISK_FRACTIONS, _DISK_SIGMAS = (0.4, 0.6), (0.8, 2.1)


@dataclass(frozen=True)
class PsfField:
    """A Moffat PSF over a detector.

    Parameters
    ----------
    fwhm_pixel : float
        FWHM in the middle of the detector [pixel].
    beta : float
        Moffat exponent; above 2.
    e1, e2 : float
        Ellipticity in the middle.
    fwhm_curvature : float
        Relative growth of the FWHM from the middle to the corner.
    e1_slope, e2_slope : float
        Change of the ellipticity from the middle to the edge along x and y.
    shape : (int, int)
        Rows and columns of the detector [pixel].
    """

    fwhm_pixel: float
    shape: tuple[int, int]
    beta: float = 3.5
    e1: float = 0.02
    e2: float = -0.01
    fwhm_curvature: float = 0.06
    e1_slope: float = 0.02
    e2_slope: float = 0.02

    def components(self, x: float, y: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gaussians of the PSF at a position [pixel].

        Returns
        -------
        fractions : ndarray, shape (n,)
            Shares of the flux; their sum is one.
        covariances : ndarray, shape (n, 2, 2)
            In order x, y [pixel**2].
        """
        ny, nx = self.shape
        u, v = 2.0 * x / nx - 1.0, 2.0 * y / ny - 1.0
        fwhm = self.fwhm_pixel * (1.0 + self.fwhm_curvature * 0.5 * (u * u + v * v))
        e1, e2 = self.e1 + self.e1_slope * u, self.e2 + self.e2_slope * v
        nodes, weights = _moffat_nodes(self.beta)
        alpha = 0.5 * fwhm / np.sqrt(2.0 ** (1.0 / self.beta) - 1.0)
        variances = alpha**2 / (2.0 * nodes)
        return weights / weights.sum(), variances[:, None, None] * _shear(e1, e2)


@cache
def _moffat_nodes(beta: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of the Gaussians of a Moffat profile."""
    nodes, weights = roots_genlaguerre(N_MOFFAT_NODES, beta - 2.0)
    return nodes, weights


def paint_stars(
    image: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    flux: NDArray[np.float64],
    psf: PsfField,
) -> None:
    """Add point sources to an image, in place; parts outside of it are cut off.

    Parameters
    ----------
    image : float64 ndarray, shape (ny, nx)
        Changed in place.
    x, y : ndarray, shape (n,)
        Positions [pixel].
    flux : ndarray, shape (n,)
        Total fluxes [image unit].
    psf : PsfField
        The PSF.
    """
    for star_x, star_y, star_flux in zip(x, y, flux, strict=True):
        for fraction, covariance in zip(*psf.components(star_x, star_y), strict=True):
            _paint_gaussian(image, star_x, star_y, star_flux * fraction, covariance)


def paint_galaxies(
    image: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    flux: NDArray[np.float64],
    *,
    shapes: NDArray[Any],
    psf: PsfField,
) -> None:
    """Add galaxies, nearly exponential disks, to an image, in place; parts outside of it are cut off.

    Parameters
    ----------
    image : float64 ndarray, shape (ny, nx)
        Changed in place.
    x, y : ndarray, shape (n,)
        Positions [pixel].
    flux : ndarray, shape (n,)
        Total fluxes [image unit].
    shapes : structured ndarray, shape (n,)
        Columns ``scale`` (scale length [pixel]), ``e1``, ``e2``.
    psf : PsfField
        The PSF.
    """
    for index, shape in enumerate(shapes):
        fractions, covariances = psf.components(x[index], y[index])
        shear = _shear(float(shape["e1"]), float(shape["e2"]))
        for share, sigma in zip(_DISK_FRACTIONS, _DISK_SIGMAS, strict=True):
            disk = (sigma * shape["scale"]) ** 2 * shear
            for fraction, covariance in zip(fractions, covariances, strict=True):
                _paint_gaussian(image, x[index], y[index], flux[index] * share * fraction, covariance + disk)


def _shear(e1: float, e2: float) -> NDArray[np.float64]:
    """Covariance of unit determinant with a given ellipticity."""
    covariance: NDArray[np.float64] = np.array([[1.0 + e1, e2], [e2, 1.0 - e1]])
    return covariance / float(np.sqrt(1.0 - e1**2 - e2**2))


def _paint_gaussian(
    image: NDArray[np.float64], x: float, y: float, flux: float, covariance: NDArray[np.float64]
) -> None:
    ny, nx = image.shape
    reach_x, reach_y = _STAMP_SIGMA * np.sqrt(covariance[0, 0]), _STAMP_SIGMA * np.sqrt(covariance[1, 1])
    x0, x1 = max(int(np.ceil(x - reach_x)), 0), min(int(np.floor(x + reach_x)) + 1, nx)
    y0, y1 = max(int(np.ceil(y - reach_y)), 0), min(int(np.floor(y + reach_y)) + 1, ny)
    if x0 >= x1 or y0 >= y1:
        return
    determinant = covariance[0, 0] * covariance[1, 1] - covariance[0, 1] ** 2
    dx, dy = np.arange(x0, x1) - x, (np.arange(y0, y1) - y)[:, None]
    distance = covariance[1, 1] * dx**2 - 2.0 * covariance[0, 1] * dx * dy + covariance[0, 0] * dy**2
    profile = np.exp(-0.5 / determinant * distance)
    image[y0:y1, x0:x1] += flux / (2.0 * np.pi * np.sqrt(determinant)) * profile
