"""PSFs at the places of many sources, ready to be drawn with their derivatives at any sub-pixel position.

Within a few pixels a PSF does not change: its splines are made once per source, and the kernels that fit
positions draw from them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.psf import Psf
from astra.images.stamps import MARGIN, N_TAPS, psf_design, quintic_spline, spline_coefficients

FloatArray = NDArray[np.float64]


class FittedPsf(Protocol):
    """What is asked of a PSF; see `astra.images.psf.Psf`."""

    @property
    def size(self) -> int:
        """Side of the stamps [pixel]."""

    def stamp(self, x: float, y: float) -> FloatArray:
        """PSF at a position [pixel], centred on the middle pixel; unit sum."""

    def fwhm_pixel(self, x: float, y: float) -> float:
        """FWHM at a position [pixel]."""


class LocalPsfs(NamedTuple):
    """Splines through the PSF of each source, summed up by `set_plane` when they are drawn from.

    Parameters
    ----------
    coefficients : float64 ndarray, shape (1, n_terms, m, m) or (n, n_terms, m, m)
        Coefficients of the terms of a PSF, or of each source's own, with a margin of three nodes.
    design : float64 ndarray, shape (n, n_terms)
        Weights of the terms: a PSF has unit sum over the pixels of its stamp.
    step : int
        Nodes a pixel.
    """

    coefficients: FloatArray
    design: FloatArray
    step: int


def make_local_psfs(psf: FittedPsf, x: FloatArray, y: FloatArray, half_width: int | None = None) -> LocalPsfs:
    """Take the PSF at positions.

    Parameters
    ----------
    psf : Psf or alike
        A polynomial PSF is prepared once for all positions; of another its stamps are taken.
    x, y : float64 ndarray, shape (n,)
        Positions [pixel].
    half_width : int, optional
        The PSF is cut there [pixel]; at the edge of its stamp by default.

    Returns
    -------
    local_psfs : LocalPsfs
    """
    half = psf.size // 2 if half_width is None else min(half_width, psf.size // 2)
    if isinstance(psf, Psf):
        step = psf.oversampling
        design = psf_design(psf, x, y)
        total = design @ psf.coefficients[:, ::step, ::step].sum(axis=(1, 2))
        splines = _cut(spline_coefficients(psf.coefficients), half * step)
        return LocalPsfs(splines[None], design / total[:, None], step)
    stamps = [psf.stamp(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    own = np.array(stamps) if stamps else np.zeros((1, psf.size, psf.size))
    return LocalPsfs(_cut(spline_coefficients(own), half)[:, None], np.ones((len(x), 1)), 1)


def _cut(coefficients: FloatArray, half_nodes: int) -> FloatArray:
    """Nodes within a half-width of the middle, and their margin."""
    middle, reach = coefficients.shape[1] // 2, half_nodes + MARGIN
    window = slice(middle - reach, middle + reach + 1)
    return np.ascontiguousarray(coefficients[:, window, window])


def central_stamps(local_psfs: LocalPsfs) -> FloatArray:
    """PSFs centred on the middle pixel, shape (n, side, side)."""
    nodes = local_psfs.coefficients.shape[2] - 2 * MARGIN
    half = ((nodes - 1) // local_psfs.step + 1) // 2
    return draw_values(local_psfs, np.zeros((len(local_psfs.design), 2)), half)


def draw_values(local_psfs: LocalPsfs, offsets: FloatArray, half_width: int) -> FloatArray:
    """PSFs alone, shape (n, side, side), with parameters as in `draw_local_psfs`."""
    n, side = len(offsets), 2 * half_width + 1
    drawn = np.empty((n, 1, side, side))
    _draw_all(local_psfs, np.arange(n), offsets, drawn)
    return drawn[:, 0]


def sum_terms(local_psfs: LocalPsfs) -> LocalPsfs:
    """Sum up the terms of each source's PSF, for those that are drawn many times."""
    coefficients, design, step = local_psfs
    if len(coefficients) > 1 or len(design) == 0:
        summed = np.einsum("nt,ntjk->njk", design, coefficients[: len(design)])
    else:
        summed = np.tensordot(design, coefficients[0], axes=1)
    return LocalPsfs(summed[:, None], np.ones((len(design), 1)), step)


def draw_local_psfs(
    local_psfs: LocalPsfs, offsets: FloatArray, half_width: int, rows: NDArray[np.int64] | None = None
) -> FloatArray:
    """PSFs and their derivatives to the position.

    Parameters
    ----------
    local_psfs : LocalPsfs
    offsets : float64 ndarray, shape (n, 2)
        Positions of the sources, from the middle pixel of the stamps [pixel].
    half_width : int
        Of the stamps [pixel].
    rows : int64 ndarray, shape (n,), optional
        Which of the PSFs, all by default.

    Returns
    -------
    drawn : float64 ndarray, shape (n, 3, side, side)
        The PSF, 0 beyond its stamp, and its derivatives to x and y [1/pixel].
    """
    side = 2 * half_width + 1
    drawn = np.empty((len(offsets), 3, side, side))
    _draw_all(local_psfs, np.arange(len(offsets)) if rows is None else rows, offsets, drawn)
    return drawn


@compiled
def _draw_all(local_psfs, rows, offsets, drawn):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Draw PSFs of some rows."""
    plane = np.empty(local_psfs.coefficients.shape[2:])
    for k in range(len(offsets)):
        set_plane(local_psfs, rows[k], plane)
        draw_gradient(plane, local_psfs.step, offsets[k], drawn[k])


@part
def set_plane(local_psfs, k, plane):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the coefficients (m, m) of the PSF of source ``k``."""
    terms = local_psfs.coefficients[k if len(local_psfs.coefficients) > 1 else 0]
    flat, n = plane.reshape(-1), terms.shape[1] * terms.shape[2]
    flat[:] = 0.0
    for t in range(len(terms)):
        weight, nodes = local_psfs.design[k, t], terms[t].reshape(n)
        if weight != 0.0:
            for p in range(n):
                flat[p] += weight * nodes[p]


@part
def quintic_slope(t):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Slope of the centred quintic B-spline at ``t``."""
    a = abs(t)
    wide, middle, narrow = max(3.0 - a, 0.0), max(2.0 - a, 0.0), max(1.0 - a, 0.0)
    wide, middle, narrow = wide * wide, middle * middle, narrow * narrow  # a power takes longer to compile
    slope = -(wide * wide) + 6.0 * (middle * middle) - 15.0 * (narrow * narrow)
    return slope / 24.0 if t >= 0.0 else -slope / 24.0


@part
def place_taps(offset, step, middle, taps):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Weights of value and derivative for a source off the middle pixel along one axis; its central node."""
    node = middle - step * offset
    whole = int(np.rint(node))
    for k in range(N_TAPS):
        t = k - MARGIN - (node - whole)
        taps[0, k], taps[1, k] = quintic_spline(t), step * quintic_slope(t)
    return whole


@part(fastmath={"reassoc", "contract"})
def add_line(block, taps, value_line, slope_line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum the seven rows of a block of nodes with the weights of value and derivative."""
    value, slope = taps[0], taps[1]
    v0, v1, v2, v3, v4, v5, v6 = value[0], value[1], value[2], value[3], value[4], value[5], value[6]
    s0, s1, s2, s3, s4, s5, s6 = slope[0], slope[1], slope[2], slope[3], slope[4], slope[5], slope[6]
    for j in range(block.shape[1]):  # unrolled: the compiler then takes several nodes an instruction
        n0, n1, n2, n3 = block[0, j], block[1, j], block[2, j], block[3, j]
        n4, n5, n6 = block[4, j], block[5, j], block[6, j]
        value_line[j] = v0 * n0 + v1 * n1 + v2 * n2 + v3 * n3 + v4 * n4 + v5 * n5 + v6 * n6
        slope_line[j] = s0 * n0 + s1 * n1 + s2 * n2 + s3 * n3 + s4 * n4 + s5 * n5 + s6 * n6


@part(fastmath={"reassoc", "contract"})
def weigh(line, weights, step, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Weighted sum of seven successive numbers of a line, for every ``step``-th start."""
    w0, w1, w2, w3, w4, w5, w6 = (
        weights[0], weights[1], weights[2], weights[3], weights[4], weights[5], weights[6]
    )  # fmt: skip
    if step > 1:
        for q in range(out.shape[0]):
            total = 0.0
            for k in range(N_TAPS):
                total += weights[k] * line[step * q + k]
            out[q] = total
        return
    for q in range(out.shape[0]):
        total = w0 * line[q] + w1 * line[q + 1] + w2 * line[q + 2] + w3 * line[q + 3]
        out[q] = total + w4 * line[q + 4] + w5 * line[q + 5] + w6 * line[q + 6]


@part
def covered(whole, step, half, n_nodes):  # type: ignore[no-untyped-def]  # pragma: no cover
    """First and one past the last pixel of a line whose nodes lie within the PSF's stamp."""
    lowest, highest = MARGIN - whole, n_nodes - 1 - MARGIN - whole
    first = max(0, half - (-lowest) // step) if lowest <= 0 else half + (lowest + step - 1) // step
    last = min(2 * half, half + highest // step)
    return first, last + 1


@part
def draw_gradient(plane, step, offset, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill ``out`` (3, side, side) with a PSF and its derivatives to x and y, or (1, side, side) with it.

    ``offset`` is the position x, y of the source from the middle pixel. Beyond the PSF's stamp all is 0.
    """
    half, m = out.shape[1] // 2, plane.shape[0]
    taps = np.empty((2, 2, N_TAPS))
    column, row = place_taps(offset[0], step, m // 2, taps[0]), place_taps(offset[1], step, m // 2, taps[1])
    out[:] = 0.0
    left, right = covered(column, step, half, m)
    top, bottom = covered(row, step, half, m)
    if right <= left or bottom <= top:
        return
    first, length = column + step * (left - half) - MARGIN, step * (right - left - 1) + N_TAPS
    across, along = np.empty(length), np.empty(length)
    for p in range(top, bottom):
        lowest = row + step * (p - half) - MARGIN
        add_line(plane[lowest : lowest + N_TAPS, first : first + length], taps[1], across, along)
        weigh(across, taps[0, 0], step, out[0, p, left:right])
        if out.shape[0] == 3:
            weigh(across, taps[0, 1], step, out[1, p, left:right])
            weigh(along, taps[0, 0], step, out[2, p, left:right])
