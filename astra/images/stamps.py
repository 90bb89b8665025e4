"""Small square cut-outs of an image, and their sub-pixel shifts.

Shifts interpolate by quintic B-splines. The error is at most 0.3 % of the peak for a Gaussian of FWHM 2.4
pixels, which has power beyond the sampling limit, and 0.05 % for one of 3.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d

from astra.compiled import compiled, part
from astra.images.psf import Psf

SPLINE_ORDER = 5
MARGIN = 3  # neighbours on each side that a quintic spline touches for a shift of at most half a pixel
N_TAPS = 2 * MARGIN + 1


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
    stamps = np.full((len(columns), size, size), np.nan)
    copy_stamps(image, columns, rows, stamps)
    return stamps


@compiled
def copy_stamps(image, columns, rows, stamps):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy what lies on the image into stamps (n, size, size) about the central pixels."""
    ny, nx = image.shape
    size = stamps.shape[1]
    for k in range(len(columns)):
        top, left = rows[k] - size // 2, columns[k] - size // 2
        for j in range(max(0, -top), min(size, ny - top)):
            for i in range(max(0, -left), min(size, nx - left)):
                stamps[k, j, i] = image[top + j, left + i]


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
    margin = MARGIN + int(np.rint(largest))
    padded = spline_coefficients(stamps, margin)
    shifted = np.empty(stamps.shape)
    _shift_all(padded, margin - MARGIN, np.asarray(dx, np.float64), np.asarray(dy, np.float64), shifted)
    return shifted


def spline_coefficients(stamps: NDArray[np.float64], margin: int = MARGIN) -> NDArray[np.float64]:
    """Coefficients of the quintic splines through stamps (n, size, size), mirrored in a margin [pixel]."""
    filtered = spline_filter1d(spline_filter1d(stamps, SPLINE_ORDER, axis=1), SPLINE_ORDER, axis=2)
    return np.pad(filtered, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")


@part
def quintic_spline(t):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Value of the centred quintic B-spline at ``t`` [pixel] (Unser 1999, IEEE SPM 16, 22)."""
    a = abs(t)
    value = max(3.0 - a, 0.0) ** 5 - 6.0 * max(2.0 - a, 0.0) ** 5 + 15.0 * max(1.0 - a, 0.0) ** 5
    return value / 120.0


@part
def spline_weights(shift, weights):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write the weights of the seven neighbours for a shift of at most half a pixel."""
    for k in range(N_TAPS):
        weights[k] = quintic_spline(k - MARGIN + shift)


@part
def resample(coefficients, first, step, weights, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Evaluate a spline at every ``step``-th node plus a fraction.

    ``first`` is the node, row and column, of the first of the seven neighbours of the first output pixel.
    """
    size, length = out.shape[1], step * (out.shape[1] - 1) + N_TAPS
    line = np.empty(length)
    for p in range(len(out)):
        for i in range(length):
            line[i] = 0.0
        for k in range(N_TAPS):
            add_row(weights[0, k], coefficients[first[0] + step * p + k, first[1] : first[1] + length], line)
        result = out[p]
        for i in range(size):
            result[i] = 0.0
        for k in range(N_TAPS):
            if step == 1:
                add_row(weights[1, k], line[k : k + size], result)
            else:
                for q in range(size):
                    result[q] += weights[1, k] * line[step * q + k]


@part(fastmath={"contract"})
def add_row(weight, row, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add a weighted row to another, in place."""
    for i in range(len(out)):
        out[i] += weight * row[i]


@compiled
def _shift_all(padded, spare, dx, dy, shifted):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Shift each stamp, whose coefficients have a margin of `MARGIN` and some spare pixels."""
    weights = np.empty((2, N_TAPS))
    for k in range(len(padded)):
        whole_y, whole_x = int(np.rint(dy[k])), int(np.rint(dx[k]))
        spline_weights(dy[k] - whole_y, weights[0])
        spline_weights(dx[k] - whole_x, weights[1])
        resample(padded[k], (spare - whole_y, spare - whole_x), 1, weights, shifted[k])


class PsfSplines(NamedTuple):
    """A PSF ready to be drawn many times.

    Parameters
    ----------
    coefficients : float64 ndarray, shape (n_terms, m, m)
        Splines through the stamp of each term, with a margin.
    sums : float64 ndarray, shape (n_terms,)
        Sums of the stamps.
    oversampling : int
        Nodes a pixel.
    """

    coefficients: NDArray[np.float64]
    sums: NDArray[np.float64]
    oversampling: int


def make_psf_splines(psf: Psf) -> PsfSplines:
    """Prepare a PSF: the splines are linear in its terms, and are found once for all sources."""
    step = psf.oversampling
    sums = psf.coefficients[:, ::step, ::step].sum(axis=(1, 2))
    return PsfSplines(spline_coefficients(psf.coefficients, MARGIN + step), sums, step)


def psf_design(psf: Psf, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of the polynomial terms at positions [pixel], shape (n, n_terms)."""
    return psf.design(x, y)


@part
def draw_psf(splines, terms, position, plane, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Draw the PSF at a position x, y [pixel] on the pixels round it, a part of unit sum.

    ``terms`` are the values of the polynomial terms, ``plane`` is scratch of the shape of one term.
    """
    step, size = splines.oversampling, out.shape[0]
    middle = (splines.coefficients.shape[1] - 1) // 2
    first, weights = np.empty(2, dtype=np.int64), np.empty((2, N_TAPS))
    for axis in range(2):
        shift = step * (position[1 - axis] - np.rint(position[1 - axis]))
        whole = int(np.rint(shift))
        spline_weights(shift - whole, weights[axis])
        first[axis] = middle - step * (size // 2) - whole - MARGIN
    length = step * (size - 1) + N_TAPS
    norm = 0.0
    for j in range(length):
        for i in range(length):
            plane[j, i] = 0.0
    for t in range(len(terms)):
        norm += terms[t] * splines.sums[t]
        for j in range(length):
            row = splines.coefficients[t, first[0] + j, first[1] : first[1] + length]
            add_row(terms[t], row, plane[j, :length])
    for k in range(N_TAPS):
        weights[0, k] /= norm
    resample(plane, (0, 0), step, weights, out)


@compiled
def draw_psfs(splines, design, positions, stamps):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill stamps (n, size, size) with the PSF at positions (n, 2)."""
    plane = np.empty(splines.coefficients.shape[1:])
    for k in range(len(positions)):
        draw_psf(splines, design[k], positions[k], plane, stamps[k])


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
    stamps = np.empty((len(x), size, size))
    draw_psfs(make_psf_splines(psf), psf_design(psf, x, y), np.stack([x, y], axis=-1), stamps)
    return stamps
