"""Find sources by a matched filter and split blends.

The image, weighted by its variance, is correlated with the PSF; `astra.images.deblend` splits what is above
the threshold of that map of S/N at its saddles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.background import is_unusable
from astra.images.deblend import count_up, split_peaks
from astra.images.exposure import MASK_DETECTED, MASK_SAT, MASK_SUSPECT, Exposure
from astra.images.masks import grow_square
from astra.images.matched_filter import correlate_stamp, split_stamps
from astra.images.psf import Psf

VARIANCE_MESH_PIXEL = 128
VARIANCE_STRIDE = 4
TRIMMED_POWER = 1e-5  # of sum(P**2), of the filter
TRIMMED_FRACTION = 1e-4  # the same, where pixels that cannot be used are allowed for
MIN_INFORMATION = 0.1  # of sum(P**2 / V) that must come from usable pixels


@dataclass(frozen=True)
class Detections:
    """Sources above the threshold, in no particular order.

    Parameters
    ----------
    x, y : float64 ndarray, shape (n,)
        Highest pixel of the filtered image [pixel].
    peak_snr : float64 ndarray, shape (n,)
        S/N there, if it is a point source.
    n_pixels : int64 ndarray, shape (n,)
        Pixels above the threshold.
    blended : bool ndarray, shape (n,)
        Touches another source.
    segments : int32 ndarray, shape (ny, nx)
        0, or 1 + index of the source to which a pixel belongs.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    peak_snr: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    blended: NDArray[np.bool_]
    segments: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.x)


def filter_with_psf(exposure: Exposure, psf: Psf) -> NDArray[np.float32]:
    """S/N of a point source centred on each pixel (Zackay & Ofek 2017, ApJ 836, 187).

    Parameters
    ----------
    exposure : Exposure
        Sky subtracted.
    psf : Psf
        Point-spread function; that of the image centre is used everywhere.

    Returns
    -------
    significance : float32 ndarray, shape (ny, nx)
        Sum(P I / V) / sqrt(sum(P**2 / V)) over the usable pixels; 0 where they see less than a tenth of the
        PSF. A source on a narrow defect is found on it.

    Notes
    -----
    V is the variance of the sky: with the photon noise of the sources themselves, the map of a bright star
    would be flat, or hollow, where the star is brightest. It is constant within the PSF.
    """
    unusable = is_unusable(exposure)
    if unusable.all():
        return np.zeros(exposure.shape, dtype=np.float32)
    ny, nx = exposure.shape
    stamp = psf.stamp((nx - 1) / 2, (ny - 1) / 2)
    stamp = stamp[(_core(stamp**2, TRIMMED_POWER),) * 2]
    [columns], [rows] = split_stamps(stamp[None])
    stamp = np.einsum("kj,ki->ji", columns, rows, dtype=np.float64)  # but for what the products leave out
    significance: NDArray[np.float32] = correlate_stamp(exposure.image, unusable, columns, rows)
    sky, stride = sky_variance(exposure, unusable)
    power = stamp[(_core(stamp**2, TRIMMED_FRACTION),) * 2] ** 2
    divide_by_noise(significance, unusable, power / power.sum(), (sky * np.float32(np.sum(stamp**2)), stride))
    return significance


def sky_variance(exposure: Exposure, unusable: NDArray[np.bool_]) -> tuple[NDArray[np.float32], int]:
    """Variance without the sources' own share, smooth over `VARIANCE_MESH_PIXEL`, and its stride [pixel].

    It is so smooth that every fourth pixel along each axis tells all: (ny / stride, nx / stride) [unit**2].
    """
    stride = VARIANCE_STRIDE if min(exposure.shape) >= 2 * VARIANCE_MESH_PIXEL else 1
    masked = np.ascontiguousarray(unusable[::stride, ::stride])
    if masked.all():
        masked, stride = unusable, 1
    variance = np.where(masked, np.float32(0), exposure.variance[::stride, ::stride]).astype(np.float32)
    size = min(VARIANCE_MESH_PIXEL // stride, *masked.shape)
    smooth = sep.Background(variance, mask=masked, bw=size, bh=size).back(dtype=np.float32)
    # A mesh cell without a usable pixel, or a spline that overshoots, must not leave the measured range.
    lowest, highest = variance[~masked].min(), variance[~masked].max()
    clipped: NDArray[np.float32] = np.clip(smooth, lowest, highest)
    return clipped, stride


def _core(stamp: NDArray[np.float64], fraction: float) -> slice:
    """Rows and columns of a square stamp without the rims that hold less than a fraction of its sum."""
    middle = half = stamp.shape[0] // 2
    while half > 1 and stamp[middle - half + 1 : middle + half, middle - half + 1 : middle + half].sum() > (
        (1.0 - fraction) * stamp.sum()
    ):
        half -= 1
    return slice(middle - half, middle + half + 1)


@part
def lose_power(seen, unusable, kernel, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Subtract what the unusable pixels of a row hide of the kernel from the rows of a ring around it."""
    ny, nx = unusable.shape
    half = kernel.shape[0] // 2
    # What lies beyond the border is a frame of unusable pixels.
    for x in range(-half, nx + half):
        if 0 <= row < ny and 0 <= x < nx and not unusable[row, x]:
            continue
        for y in range(max(row - half, 0), min(row + half + 1, ny)):
            line = seen[y % len(seen)]
            for column in range(max(x - half, 0), min(x + half + 1, nx)):
                line[column] -= kernel[row - y + half, x - column + half]


@compiled
def divide_by_noise(signal, unusable, kernel, noise):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Turn sums of P I into S/N, in place; 0 where too little of the PSF is seen.

    ``kernel`` is P**2 of unit sum, ``noise`` the variance of the sums where all pixels are usable, at every
    so many pixels, and that stride. What is seen of the kernel is kept for the rows around the present one.
    """
    ny, nx = signal.shape
    half, (variance, stride) = kernel.shape[0] // 2, noise
    seen, inverse = np.empty((2 * half + 1, nx), dtype=np.float32), np.empty(nx, dtype=np.float32)
    for y in range(len(seen)):
        for x in range(nx):
            seen[y, x] = 1.0
    for row in range(-half, ny + half):
        lose_power(seen, unusable, kernel, row)
        y = row - half
        if y < 0:
            continue
        if y % stride == 0:
            for x in range(nx):
                inverse[x] = 1.0 / np.sqrt(variance[y // stride, x // stride])
        line = seen[y % len(seen)]
        scale_row(signal[y], inverse, line)
        for x in range(nx):
            line[x] = 1.0


@part(error_model="numpy")
def scale_row(signal, inverse, seen):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Multiply a row by the inverse noise of what is seen; 0 where that is too little."""
    least = np.float32(MIN_INFORMATION)
    for x in range(len(signal)):
        scaled = signal[x] * inverse[x] / np.sqrt(max(seen[x], least))
        signal[x] = scaled if seen[x] > least else np.float32(0.0)


def detect_sources(
    exposure: Exposure,
    psf: Psf,
    *,
    threshold: float = 5.0,
    min_pixels: int = 3,
    deblend_rise: float = 0.75,
    deblend_contrast: float = 0.02,
) -> Detections:
    """Detect positive sources in a sky-subtracted exposure.

    Parameters
    ----------
    exposure : Exposure
        Sky subtracted, in the unit of its variance.
    psf : Psf
        Matched filter; that of the image centre is used everywhere.
    threshold : float
        S/N of a pixel of the filtered image.
    min_pixels : int
        Connected pixels above the threshold.
    deblend_rise, deblend_contrast : float
        A peak is split off if it rises above the saddle to a higher one by this S/N, and by this fraction of
        the saddle's: noise makes peaks of their own, and so do the wings of bright stars.

    Returns
    -------
    detections : Detections
        Empty if nothing is above the threshold.
    """
    return extract_sources(
        filter_with_psf(exposure, psf),
        threshold=threshold,
        min_pixels=min_pixels,
        deblend_rise=deblend_rise,
        deblend_contrast=deblend_contrast,
    )


def extract_sources(
    significance: NDArray[np.float32],
    *,
    threshold: float = 5.0,
    min_pixels: int = 3,
    deblend_rise: float = 0.75,
    deblend_contrast: float = 0.02,
) -> Detections:
    """Find and split the peaks of a map of S/N, shape (ny, nx); see `detect_sources`."""
    found = split_peaks(
        significance,
        threshold,
        min_pixels=min_pixels,
        min_rise=deblend_rise,
        min_contrast=deblend_contrast,
    )
    y, x = np.divmod(found.peaks, significance.shape[1])
    return Detections(
        x=x.astype(np.float64),
        y=y.astype(np.float64),
        peak_snr=significance.ravel()[found.peaks].astype(np.float64),
        n_pixels=found.n_pixels,
        blended=found.blended,
        segments=found.segments,
    )


def mark_detected(
    mask: NDArray[np.uint32],
    segments: NDArray[np.int32],
    *,
    grow_pixel: int = 0,
    overwrite: bool = False,
) -> NDArray[np.uint32]:
    """Return the mask with the bit DETECTED anew, set on the footprints grown by some pixels."""
    marked = mask if overwrite else mask.copy()
    footprint = grow_square(segments > 0, grow_pixel) if grow_pixel > 0 else segments > 0
    set_anew(marked, footprint, MASK_DETECTED)
    return marked


@compiled
def set_anew(mask, chosen, bit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set a bit on the chosen pixels and on no others, in place."""
    ny, nx = mask.shape
    for y in range(ny):
        for x in range(nx):
            mask[y, x] = (mask[y, x] & ~bit) | (bit if chosen[y, x] else np.uint32(0))


def mark_suspect(
    mask: NDArray[np.uint32], segments: NDArray[np.int32], *, overwrite: bool = False
) -> NDArray[np.uint32]:
    """Return the mask with SUSPECT set on the footprints that are blended with a saturated source.

    The halo, the spikes and the bleed trail of such a star are taken for sources.
    """
    n = int(segments.max(initial=0))
    saturated = (bits_of_labels(mask, segments, n) & MASK_SAT) != 0
    if not saturated.any():
        return mask
    group = join_touching(segments, n)
    suspect = np.isin(group, group[saturated])
    suspect[0] = False
    marked = mask if overwrite else mask.copy()
    set_on_labels(marked, segments, suspect, MASK_SUSPECT)
    return marked


@compiled
def bits_of_labels(mask, segments, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Bits that any pixel of each label 1 to n has, (n + 1,); 0 for the label 0."""
    bits = np.zeros(n + 1, dtype=np.uint32)
    ny, nx = segments.shape
    for y in range(ny):
        for x in range(nx):
            if segments[y, x] > 0:
                bits[segments[y, x]] |= mask[y, x]
    return bits


@compiled
def set_on_labels(mask, segments, chosen, bit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Set a bit on the pixels of the chosen labels, in place."""
    ny, nx = segments.shape
    for y in range(ny):
        for x in range(nx):
            if segments[y, x] > 0 and chosen[segments[y, x]]:
                mask[y, x] |= bit


@compiled
def join_touching(segments, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Group of each label 0 to n: the least label of all that touch each other, directly or in a chain."""
    group = count_up(n + 1)
    ny, nx = segments.shape
    for y in range(ny - 1):
        for x in range(nx - 1):
            for other in (segments[y, x + 1], segments[y + 1, x], segments[y + 1, x + 1]):
                first, second = segments[y, x], other
                if first <= 0 or second <= 0 or first == second:
                    continue
                while group[first] != first:
                    first = group[first]
                while group[second] != second:
                    second = group[second]
                group[max(first, second)] = min(first, second)
    for k in range(n + 1):
        group[k] = group[group[k]]
    return group
