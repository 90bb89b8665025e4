"""Small square cut-outs of an image, and their sub-pixel shifts.

Shifts interpolate by quintic B-splines. The error is at most 0.3 % of the peak for a Gaussian of FWHM 2.4
pixels, which has power beyond the sampling limit, and 0.05 % for one of 3.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d

from astra.images.psf import Psf, polynomial_powers

SPLINE_ORDER = 5
MARGIN = 3  # neighbours on each side that a quintic spline touches for a shift of at most half a pixel
_TAPS = np.arange(-MARGIN, MARGIN + 1)[None, :]


def cut_stamps(
    image: NDArray[Any], columns: NDArray[np.int64], rows: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Cut square stamps out of an image; what lies outside the image is NaN.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Numbers in any unit.
    columns, rows : int ndarray, shape (n,)
        Central pixels of the stamps [pixel].
    size : int
        Side of the stamps [pixel], odd.

    Returns
    -------
    stamps : float64 ndarray, shape (n, size, size)
        Unit of ``image``.
    """
    ny, nx = image.shape
    offset = np.arange(size) - size // 2
    y = np.asarray(rows)[:, None, None] + offset[None, :, None]
    x = np.asarray(columns)[:, None, None] + offset[None, None, :]
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    stamps = np.full(inside.shape, np.nan)
    stamps[inside] = image[np.broadcast_to(y, inside.shape)[inside], np.broadcast_to(x, inside.shape)[inside]]
    return stamps


def shift_stamp(stamp: NDArray[np.float64], dx: float, dy: float) -> NDArray[np.float64]:
    """Shift one stamp by (dx, dy) [pixel]; see `shift_stamps`."""
    shifted: NDArray[np.float64] = shift_stamps(stamp[None], np.array([dx]), np.array([dy]))[0]
    return shifted


def shift_stamps(
    stamps: NDArray[np.float64], dx: NDArray[np.float64], dy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shift stamps by sub-pixel amounts with quintic B-splines.

    Parameters
    ----------
    stamps : float64 ndarray, shape (n, size, size)
        Finite values, any unit; mirrored beyond the borders.
    dx, dy : float64 ndarray, shape (n,)
        Shifts towards larger x and y [pixel]: a feature at x is found at x + dx.

    Returns
    -------
    shifted : float64 ndarray, shape (n, size, size)
        The sum is that of the stamp, but for what crosses its borders.

    Raises
    ------
    ValueError
        If a shift is not smaller than half a stamp less three pixels.
    """
    limit = min(stamps.shape[1:]) / 2 - 3
    largest = float(np.max(np.abs([dx, dy]), initial=0.0))
    if not largest < max(limit, 0.5 + 1e-9):
        message = f"shifts must be below {limit:g} pixel for stamps of {stamps.shape[1:]}, found {largest:g}"
        raise ValueError(message)
    return _shift_axis(_shift_axis(stamps, dy, axis=1), dx, axis=2)


def _shift_axis(stamps: NDArray[np.float64], shift: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Shift along one axis: interpolation coefficients, then seven weighted neighbours."""
    shift = np.asarray(shift, dtype=np.float64)
    whole = np.rint(shift).astype(np.int64)
    weights = quintic_spline(_TAPS + (shift - whole)[:, None])
    largest = int(np.abs(whole).max(initial=0))
    coefficients: NDArray[np.float64] = spline_filter1d(stamps, SPLINE_ORDER, axis=axis, mode="mirror")
    pad = [(0, 0), (0, 0), (0, 0)]
    pad[axis] = (MARGIN + largest, MARGIN + largest)
    padded = np.pad(coefficients, pad, mode="reflect")
    shifted = np.empty_like(coefficients)
    for step in np.unique(whole):
        chosen = whole == step
        window = slice(largest - step, largest - step + stamps.shape[axis] + 2 * MARGIN)
        block = padded[chosen][:, window] if axis == 1 else padded[chosen][:, :, window]
        shifted[chosen] = _weighted_neighbours(block, weights[chosen], axis)
    return shifted


def _weighted_neighbours(
    padded: NDArray[np.float64], weights: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    """Sum of the seven neighbours of each pixel along an axis, which loses the margins."""
    size = padded.shape[axis] - 2 * MARGIN
    views = [padded[:, k : k + size] if axis == 1 else padded[:, :, k : k + size] for k in range(_TAPS.size)]
    total = weights[:, 0, None, None] * views[0]
    product = np.empty_like(total)
    for k, view in enumerate(views[1:], start=1):
        total += np.multiply(weights[:, k, None, None], view, out=product)
    return total


def quintic_spline(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Value of the centred quintic B-spline at ``t`` [pixel] (Unser 1999, IEEE SPM 16, 22)."""
    a = np.abs(t)
    value: NDArray[np.float64] = np.zeros_like(a)
    for k, factor in ((3.0, 1.0), (2.0, -6.0), (1.0, 15.0)):
        value += factor * np.clip(k - a, 0.0, None) ** 5
    return value / 120.0


def psf_stamps(
    psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64], size: int | None = None
) -> NDArray[np.float64]:
    """Images of point sources as they fall on the pixels.

    Parameters
    ----------
    psf : Psf
        Point-spread function.
    x, y : float64 ndarray, shape (n,)
        Positions [pixel].
    size : int, optional
        Side of the returned stamps, odd; that of the PSF by default, and at most that [pixel].

    Returns
    -------
    stamps : float64 ndarray, shape (n, size, size)
        Parts of a PSF of unit sum; the middle pixel is the one at rint(x), rint(y) of the image.
    """
    size = psf.size if size is None else min(size, psf.size)
    u, v = (x - psf.x_centre) / psf.scale, (y - psf.y_centre) / psf.scale
    design = np.stack([u**i * v**j for i, j in polynomial_powers(psf.order)], axis=-1)
    # The spline's coefficients are linear in the pixels: they are found once per term, not once per source.
    splines = spline_filter1d(spline_filter1d(psf.coefficients, SPLINE_ORDER, axis=1), SPLINE_ORDER, axis=2)
    cut = (psf.size - size) // 2
    window = slice(cut, cut + size + 2 * MARGIN)
    splines = np.pad(splines, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)), mode="reflect")[:, window, window]
    stamps: NDArray[np.float64] = np.tensordot(design, splines, axes=1)
    stamps /= (design @ psf.coefficients.sum(axis=(1, 2)))[:, None, None]
    for axis, shift in ((1, y - np.rint(y)), (2, x - np.rint(x))):
        stamps = _weighted_neighbours(stamps, quintic_spline(_TAPS + shift[:, None]), axis)
    return stamps
