"""Point-spread functions that vary over an image.

`Psf` is a polynomial in position with one coefficient image per term; a Karhunen-Loeve expansion whose
weights are polynomials (SDSS psField) and a per-pixel fit to star stamps are both of this form.
Fitting one to stars lives in `astra.images.psf_fit`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def fwhm_from_sigma(sigma_pixel: float) -> float:
    """FWHM [pixel] of a Gaussian of width ``sigma_pixel`` [pixel]."""
    return float(sigma_pixel * FWHM_PER_SIGMA)


def sigma_from_fwhm(fwhm_pixel: float) -> float:
    """Width sigma [pixel] of a Gaussian of FWHM ``fwhm_pixel`` [pixel]."""
    return float(fwhm_pixel / FWHM_PER_SIGMA)


def polynomial_powers(order: int) -> list[tuple[int, int]]:
    """Powers (i, j) of u**i v**j with i + j <= order, in the order that all modules use."""
    return [(i, total - i) for total in range(order + 1) for i in range(total, -1, -1)]


@dataclass(frozen=True)
class Psf:
    """A PSF whose stamp is a polynomial in position.

    Parameters
    ----------
    coefficients : float64 ndarray, shape (n_terms, size, size)
        One stamp per polynomial term, ``n_terms = len(polynomial_powers(order))``; ``size`` is odd, or
        one more than a multiple of twice the oversampling.
    order : int
        Total degree of the polynomial.
    x_centre, y_centre : float
        Position where both normalised coordinates are zero [pixel].
    scale : float
        Distance of one normalised unit [pixel]: u = (x - x_centre) / scale, v likewise.
    oversampling : int
        Nodes of the coefficients a pixel, along each axis. The values are those of whole pixels all the
        same: what a pixel centred on the node would see.
    """

    coefficients: NDArray[np.float64]
    order: int = 0
    x_centre: float = 0.0
    y_centre: float = 0.0
    scale: float = 1000.0
    oversampling: int = 1

    def __post_init__(self) -> None:
        self._require_stamps(len(polynomial_powers(self.order)))

    def _require_stamps(self, expected: int) -> None:
        shape, period = self.coefficients.shape, 2 * self.oversampling
        if len(shape) != 3 or shape[0] != expected or shape[1] != shape[2] or shape[1] % period != 1:
            side = "odd" if period == 2 else f"1 + a multiple of {period}"
            message = f"a PSF of order {self.order} needs shape ({expected}, {side}, same), found {shape}"
            raise ValueError(message)

    @property
    def size(self) -> int:
        """Side of the stamps [pixel], odd."""
        return (int(self.coefficients.shape[1]) - 1) // self.oversampling + 1

    def design(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Values of the terms at positions [pixel], by which the coefficients add up to stamps.

        Returns
        -------
        design : ndarray, shape (..., n_terms)
        """
        u = (np.asarray(x, dtype=np.float64) - self.x_centre) / self.scale
        v = (np.asarray(y, dtype=np.float64) - self.y_centre) / self.scale
        return np.stack([u**i * v**j for i, j in polynomial_powers(self.order)], axis=-1)

    def stamp(self, x: float, y: float) -> NDArray[np.float64]:
        """PSF for a star at (x, y) [pixel], centred on the middle pixel of the stamp; unit sum.

        Returns
        -------
        stamp : ndarray, shape (size, size)
        """
        nodes = self.coefficients[:, :: self.oversampling, :: self.oversampling]
        stamp: NDArray[np.float64] = np.tensordot(self.design(x, y), nodes, axes=1)
        stamp /= stamp.sum()
        return stamp

    def fwhm_pixel(self, x: float, y: float) -> float:
        """FWHM at (x, y) of the Gaussian with the same effective area [pixel].

        The effective area is 1 / sum(P**2), which for a Gaussian is 4 pi sigma**2.
        """
        stamp = self.stamp(x, y)
        area = 1.0 / float(np.sum(stamp**2))
        return fwhm_from_sigma(float(np.sqrt(area / (4.0 * np.pi))))


def gaussian_psf(fwhm_pixel: float, size: int = 41) -> Psf:
    """Constant Gaussian PSF of a given FWHM [pixel] on a (size, size) stamp."""
    sigma = sigma_from_fwhm(fwhm_pixel)
    offset = np.arange(size) - size // 2
    profile = np.exp(-0.5 * (offset / sigma) ** 2)
    stamp = np.outer(profile, profile)
    return Psf((stamp / stamp.sum())[None])
