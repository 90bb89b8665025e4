"""Variance and mask of an image after a convolution, and the repair before one, in passes over few rows.

Every pass works on bands of rows that fit in the cache and takes no memory beside its result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.exposure import MASK_EDGE, MASK_NO_DATA

KERNEL_CORE_PIXEL = 2  # growth of the masks under a convolution: where most of the kernel's weight is
VARIANCE_ERROR = 2e-3  # share of the squared kernel that its separable form may lack
MIN_NEIGHBOURS = 1e-3  # share of the Gaussian that good neighbours must have
SAMPLE_STEP = 7  # pixels between those of which a median over a frame is taken


def spread_variance(
    variance: NDArray[np.float32], stamp: NDArray[np.float64], total: float
) -> NDArray[np.float32]:
    """Convolve a variance plane with the square of a stamp, rescaled to a given sum.

    Parameters
    ----------
    variance : float32 ndarray, shape (ny, nx)
        Pixels that are not finite count as the median, as do those outside the frame [unit**2].
    stamp : float64 ndarray, shape (size, size)
        Kernel that convolves the image.
    total : float
        Sum of the squared kernel after rescaling.

    Returns
    -------
    spread : float32 ndarray, shape (ny, nx)
        [unit**2].
    """
    sample = variance[::SAMPLE_STEP, ::SAMPLE_STEP]
    sample = sample[np.isfinite(sample)]
    level = float(np.median(sample)) if sample.size else 0.0
    columns, rows = _separate(stamp**2, total)
    out = np.empty_like(variance)
    _convolve_separable(variance, (columns, rows), np.float32(level), np.float32(1e-3 * level * total), out)
    return out


def _separate(square: NDArray[np.float64], total: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors along y and x of the sum of products nearest to a stamp, cut to where its weight is.

    Returns
    -------
    columns, rows : float32 ndarray, shape (n_products, size)
        Their products sum to ``total``.
    """
    middle = square.shape[0] // 2
    half = 0
    while (
        square[middle - half : middle + half + 1, middle - half : middle + half + 1].sum()
        < (1 - VARIANCE_ERROR / 2) * square.sum()
    ):
        half += 1
    inner = square[middle - half : middle + half + 1, middle - half : middle + half + 1]
    left, sizes, right = np.linalg.svd(inner)
    n = 1
    while np.abs(left[:, :n] * sizes[:n] @ right[:n] - inner).sum() > VARIANCE_ERROR / 2 * inner.sum():
        n += 1
    scale = total / (left[:, :n].sum(axis=0) * sizes[:n] * right[:n].sum(axis=1)).sum()
    # Flipped: a convolution, not a correlation.
    columns, rows = (left[:, :n] * sizes[:n] * scale).T[:, ::-1], right[:n, ::-1]
    return columns.astype(np.float32), rows.astype(np.float32)


@compiled
def _convolve_separable(image, factors, level, floor, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Correlate an image with a sum of products; what is missing or outside is at the level."""
    columns, rows = factors
    ny, nx = image.shape
    n, size = rows.shape
    half = size // 2
    padded = np.full(nx + 2 * half, level, np.float32)
    along_x = np.zeros((n, size, nx), np.float32)  # ring of rows
    for y in range(-half, ny + half):
        _read_row(image, y, level, padded[half : half + nx])
        for k in range(n):
            line = along_x[k, y % size]
            line[:] = 0.0
            for i in range(size):
                _add_scaled(line, rows[k, i], padded[i : i + nx])
        if y < half:
            continue
        target = out[y - half]
        target[:] = 0.0
        for k in range(n):
            for j in range(size):
                _add_scaled(target, columns[k, j], along_x[k, (y - 2 * half + j) % size])
        for x in range(nx):
            target[x] = max(target[x], floor)


@part
def _read_row(image, y, level, line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy a row; what is missing or outside is at the level."""
    if not 0 <= y < image.shape[0]:
        line[:] = level
        return
    for x in range(len(line)):
        value = image[y, x]
        line[x] = value if np.isfinite(value) else level


@part
def _add_scaled(line, factor, other):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add a multiple of another row to a row."""
    for x in range(len(line)):
        line[x] += factor * other[x]


def convolved_mask(mask: NDArray[np.uint32], half_width: int) -> NDArray[np.uint32]:
    """Mask after a convolution: grown by the core of the kernel, EDGE where it reaches over missing data.

    Parameters
    ----------
    mask : uint32 ndarray, shape (ny, nx)
    half_width : int
        Of the kernel [pixel].

    Returns
    -------
    convolved : uint32 ndarray, shape (ny, nx)
        NO_DATA stays where it is.
    """
    out = np.empty_like(mask)
    _grow_planes(mask, KERNEL_CORE_PIXEL, MASK_NO_DATA, out)
    _mark_reach(mask, half_width, (MASK_NO_DATA, MASK_EDGE), out)
    return out


@compiled
def _grow_planes(mask, radius, no_data, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Grow all planes but NO_DATA by a square; that one is copied."""
    ny, nx = mask.shape
    size = 2 * radius + 1
    padded = np.zeros(nx + 2 * radius, np.uint32)
    along_x = np.zeros((size, nx), np.uint32)  # ring of rows
    for y in range(ny + radius):
        line = along_x[y % size]
        line[:] = 0
        if y < ny:
            _copy_bits(mask[y], ~no_data, padded[radius : radius + nx])
            for i in range(size):
                _add_bits(padded[i : i + nx], line)
        if y >= radius:
            target = out[y - radius]
            _copy_bits(mask[y - radius], no_data, target)
            for k in range(size):
                _add_bits(along_x[k], target)


@part
def _copy_bits(row, bits, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy some bits of a row."""
    for x in range(len(out)):
        out[x] = row[x] & bits


@part
def _add_bits(row, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add the bits of another row to a row."""
    for x in range(len(out)):
        out[x] |= row[x]


@compiled
def _mark_reach(mask, half, planes, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set EDGE where a square of a half-width holds a pixel without data or reaches over the frame."""
    no_data, edge = planes
    ny, nx = mask.shape
    size = 2 * half + 1
    missing = np.ones((size, nx), np.uint8)  # ring of rows: whether data is missing within reach along x
    count = np.full(nx, half, np.int32)  # rows within reach in which it is; those above the frame at first
    for y in range(ny + half):
        line = missing[y % size]
        if y > half:
            _count(line, -1, count)
        if y < ny:
            _mark_row(mask[y], half, no_data, line)
        else:
            line[:] = 1
        _count(line, 1, count)
        if y >= half:
            target = out[y - half]
            for x in range(nx):
                target[x] |= edge * np.uint32(count[x] > 0)


@part
def _count(line, sign, count):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add a row to the counts, or take it off."""
    for x in range(len(line)):
        count[x] += sign * line[x]


@part
def _mark_row(row, half, no_data, line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell for every pixel of a row whether one without data, or the end, is within reach."""
    nx = len(row)
    line[:] = 0
    line[:half] = 1
    line[max(nx - half, 0) :] = 1
    for x in range(nx):
        if row[x] & no_data:
            line[max(x - half, 0) : x + half + 1] = 1


def fill_defects(
    image: NDArray[np.float32], bad: NDArray[np.bool_], sigma_pixel: float
) -> NDArray[np.float32]:
    """Replace pixels by the mean of their good neighbours, weighted by a Gaussian.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Left as it is; pixels that are not finite are no neighbours.
    bad : bool ndarray, shape (ny, nx)
        Pixels to replace; 0 is the value of those without good neighbours.
    sigma_pixel : float
        Width of the Gaussian, cut at four times that [pixel].

    Returns
    -------
    filled : float32 ndarray, shape (ny, nx)
    """
    filled = image.copy()
    y, x = np.nonzero(bad)
    reach = int(np.ceil(4 * sigma_pixel))
    profile = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_pixel) ** 2)
    _fill(image, bad, (y, x), profile / profile.sum(), filled)
    return filled


@compiled
def _fill(image, bad, places, profile, filled):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Weighted mean of the good pixels round each place."""
    ny, nx = image.shape
    reach = len(profile) // 2
    for y, x in zip(places[0], places[1]):  # noqa: B905  numba knows no strict
        total, weight = 0.0, 0.0
        for j in range(max(y - reach, 0), min(y + reach + 1, ny)):
            for i in range(max(x - reach, 0), min(x + reach + 1, nx)):
                if not bad[j, i] and np.isfinite(image[j, i]):
                    share = profile[j - y + reach] * profile[i - x + reach]
                    total += share * image[j, i]
                    weight += share
        filled[y, x] = total / weight if weight > MIN_NEIGHBOURS else 0.0
