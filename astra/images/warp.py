"""Resampling of an exposure onto another WCS by cubic B-splines.

The position in the input of every output pixel is bilinear between the nodes of a coarse grid, on which
alone the two WCS are evaluated. Pixel values are fluxes per pixel, so that the Jacobian keeps fluxes.

Interpolation correlates the noise of neighbouring pixels. The variance plane of a warped exposure is the
*white equivalent*: noise power at long wavelengths, which is what a flux over several pixels sees; single
pixels scatter less than it says. `Exposure.noise_power` holds the spectrum that tells the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astra.errors import NoOverlapError
from astra.images.coadd_psf import warp_psf
from astra.images.exposure import MASK_NO_DATA, Exposure
from astra.images.warp_kernel import blank_missing, resample, spline_coefficients
from astra.images.warp_noise import warp_noise_power

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["PixelMap", "make_pixel_map", "warp_exposure", "warp_noise_power", "warp_planes", "warp_psf"]

GRID_STEP_PIXEL = 16
SAME_PIXEL = 1e-6  # an offset that is none [pixel]
FOURIER_SIDE = 64  # of the spectra of noise

Planes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]]


@dataclass(frozen=True)
class PixelMap:
    """Where the pixels of one frame fall in another, on a coarse grid.

    Parameters
    ----------
    x, y : float64 ndarray, shape (n_y, n_x)
        Input position of the grid nodes [pixel].
    jacobian : float64 ndarray, shape (n_y, n_x)
        Input area per output pixel at the nodes [pixel**2 / pixel**2].
    step : int
        Output pixels between nodes.
    shape : tuple of int
        Output frame (ny, nx).
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    step: int
    shape: tuple[int, int]

    def positions(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Input positions of output positions [pixel], bilinear between the nodes."""
        nodes = np.array(np.broadcast_arrays(y, x), dtype=float) / self.step
        found = [ndimage.map_coordinates(grid, nodes, order=1, mode="nearest") for grid in (self.x, self.y)]
        return found[0], found[1]

    def spread(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of every pixel of the output frame, bilinear between those of the nodes."""
        along_y, along_x = (_hat_functions(n, self.step) for n in self.shape)
        return (along_y @ values @ along_x.T).astype(np.float32, copy=False)

    def is_identity(self, shape: tuple[int, int]) -> bool:
        """Tell whether the pixels of an input of this shape stay where they are."""
        n_y, n_x = self.x.shape
        columns, rows = self.step * np.arange(n_x), self.step * np.arange(n_y)[:, None]
        offset = max(np.abs(self.x - columns).max(), np.abs(self.y - rows).max())
        return self.shape == shape and bool(offset < SAME_PIXEL)


def _hat_functions(n_pixels: int, step: int) -> NDArray[np.float32]:
    """Weights of linear interpolation between nodes, shape (n_pixels, n_nodes)."""
    place = np.arange(n_pixels, dtype=np.float32)[:, None] / np.float32(step)
    n_nodes = -(-n_pixels // step) + 1
    return np.maximum(1.0 - np.abs(place - np.arange(n_nodes, dtype=np.float32)), 0.0).astype(np.float32)


def make_pixel_map(
    wcs_out: WCS,
    wcs_in: WCS,
    shape: tuple[int, int],
    step: int = GRID_STEP_PIXEL,
    *,
    origin: tuple[int, int] = (0, 0),
) -> PixelMap:
    """Map the pixels of an output frame into an input frame.

    Parameters
    ----------
    wcs_out, wcs_in : astropy.wcs.WCS
        Of the two frames.
    shape : tuple of int
        Output frame (ny, nx) [pixel].
    step : int, optional
        Output pixels between the nodes of the grid.
    origin : tuple of int, optional
        First row and column (y, x) of the output frame in the pixels of ``wcs_out``.

    Returns
    -------
    pixel_map : PixelMap
    """
    rows, columns = (np.arange(0, length + step, step, dtype=float) for length in shape)
    nodes_x, nodes_y = np.meshgrid(columns, rows)
    ra, dec = wcs_out.all_pix2world(nodes_x.ravel() + origin[1], nodes_y.ravel() + origin[0], 0)
    x, y = (axis.reshape(nodes_x.shape) for axis in wcs_in.all_world2pix(ra, dec, 0, quiet=True))
    dx_dy, dx_dx = np.gradient(x, step)
    dy_dy, dy_dx = np.gradient(y, step)
    return PixelMap(x, y, np.abs(dx_dx * dy_dy - dx_dy * dy_dx), step, shape)


def warp_planes(exposure: Exposure, pixel_map: PixelMap) -> Planes:
    """Resample image, variance and mask of an exposure.

    Parameters
    ----------
    exposure : Exposure
        Flux per pixel.
    pixel_map : PixelMap
        From the output frame into ``exposure``.

    Returns
    -------
    image, variance : float32 ndarray, shape ``pixel_map.shape``
        NaN where ``exposure`` has no pixel.
    mask : uint32 ndarray, shape ``pixel_map.shape``
        NO_DATA there.
    """
    if pixel_map.is_identity(exposure.shape):
        return _same_planes(exposure)
    image, variance, mask = _finite_planes(exposure)
    coefficients = spline_coefficients(image)
    del image
    shape = pixel_map.shape
    out = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint32)
    grids = np.array([pixel_map.x, pixel_map.y, pixel_map.jacobian])
    resample((coefficients, variance, mask), grids, pixel_map.step, MASK_NO_DATA, out)
    return out


def _finite_planes(exposure: Exposure) -> Planes:
    """Planes of an exposure with 0 and NO_DATA where image or variance are not finite."""
    image, variance, mask = exposure.image, exposure.variance, exposure.mask
    with np.errstate(invalid="ignore", over="ignore"):
        is_finite = np.isfinite(image.sum() + variance.sum())  # many times as fast as to look at each
    if not is_finite:
        finite = np.empty(exposure.shape, np.float32), np.empty(exposure.shape, np.float32)
        image, variance, mask = blank_missing((image, variance, mask), MASK_NO_DATA, (*finite, mask.copy()))
    return (
        np.ascontiguousarray(image, dtype=np.float32),
        np.ascontiguousarray(variance, dtype=np.float32),
        np.ascontiguousarray(mask, dtype=np.uint32),
    )


def _same_planes(exposure: Exposure) -> Planes:
    """Planes of an exposure that stays on its pixels, none of them shared."""
    bad = ~np.isfinite(exposure.image) | ~np.isfinite(exposure.variance)
    image, variance = (np.where(bad, np.float32(np.nan), p) for p in (exposure.image, exposure.variance))
    return image, variance, np.where(bad, exposure.mask | MASK_NO_DATA, exposure.mask)


def warp_exposure(exposure: Exposure, pixel_map: PixelMap, wcs: WCS) -> Exposure:
    """Resample an exposure onto another frame.

    Parameters
    ----------
    exposure : Exposure
        Flux per pixel, with PSF or without.
    pixel_map : PixelMap
        From the output frame into ``exposure``.
    wcs : astropy.wcs.WCS
        Of the output frame.

    Returns
    -------
    warped : Exposure, shape ``pixel_map.shape``
        Image and variance are NaN and the mask NO_DATA where ``exposure`` has no pixel. The variance is the
        white equivalent (see the module), the PSF and the noise power are those of the warped image.

    Raises
    ------
    NoOverlapError
        If no output pixel falls into the input.
    """
    image, variance, mask = warp_planes(exposure, pixel_map)
    if ((mask & MASK_NO_DATA) > 0).all():
        message = "no pixel of the output frame falls onto a good pixel of the input exposure"
        raise NoOverlapError(message, visit=exposure.info.visit, detector=exposure.info.detector)
    return exposure.replace(
        image=image,
        variance=variance,
        mask=mask,
        wcs=wcs,
        psf=None if exposure.psf is None else warp_psf(exposure.psf, pixel_map),
        noise_power=warp_noise_power(pixel_map, FOURIER_SIDE, exposure.noise_power),
    )
