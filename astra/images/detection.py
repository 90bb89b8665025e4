"""Find sources by a matched filter and split blends.

The image, weighted by its variance, is correlated with the PSF; `sep` thresholds that map of S/N and splits
it at its saddles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import binary_dilation

from astra.images.background import is_unusable
from astra.images.exposure import MASK_DETECTED, Exposure
from astra.images.psf import Psf

MIN_PIXEL_STACK = 300_000  # pixels of unfinished sources that sep may hold: its own default
SUB_OBJECTS = 16384  # branches of one blend that sep may hold, more than its default of 1024
VARIANCE_MESH_PIXEL = 128
MIN_INFORMATION = 0.1  # of sum(P**2 / V) that must come from usable pixels
BLENDED = 1  # bit of sep's flag: the source was split off another one


@dataclass(frozen=True)
class Detections:
    """Sources above the threshold, in no particular order.

    Parameters
    ----------
    x, y : float64 ndarray, shape (n,)
        Highest pixel of the filtered image [pixel].
    n_pixels : int64 ndarray, shape (n,)
        Pixels above the threshold.
    blended : bool ndarray, shape (n,)
        Split off a common footprint.
    segments : int32 ndarray, shape (ny, nx)
        0, or 1 + index of the source to which a pixel belongs.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
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
        Sum(P I / V) / sqrt(sum(P**2 / V)); 0 at unusable pixels, which do not count in the sums either.

    Notes
    -----
    V is the variance of the sky: with the photon noise of the sources themselves, the map of a bright star
    would be flat, or hollow, where the star is brightest.
    """
    unusable = is_unusable(exposure)
    if unusable.all():
        return np.zeros(exposure.shape, dtype=np.float32)
    ny, nx = exposure.shape
    stamp = psf.stamp((nx - 1) / 2, (ny - 1) / 2)[::-1, ::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(unusable, np.float32(0), np.float32(1) / sky_variance(exposure, unusable))
    image = np.where(unusable, np.float32(0), exposure.image)
    signal = _convolve(weight * image, stamp)
    information = _convolve(weight, stamp**2)
    # Rounding of the FFT leaves noise where the true sum is zero; such a pixel sees too little of the PSF.
    floor = MIN_INFORMATION * float(np.sum(stamp**2)) * float(weight.mean(where=~unusable))
    seen = (information > floor) & ~unusable
    return np.where(seen, signal / np.sqrt(np.where(seen, information, 1.0)), 0.0).astype(np.float32)


def sky_variance(exposure: Exposure, unusable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Variance without the sources' own share, smooth over `VARIANCE_MESH_PIXEL`; (ny, nx) [unit**2]."""
    variance = np.where(unusable, np.float32(0), exposure.variance).astype(np.float32, copy=False)
    size = min(VARIANCE_MESH_PIXEL, *exposure.shape)
    smooth = sep.Background(variance, mask=unusable, bw=size, bh=size).back(dtype=np.float32)
    # A mesh cell without a usable pixel, or a spline that overshoots, must not leave the measured range.
    lowest, highest = variance[~unusable].min(), variance[~unusable].max()
    clipped: NDArray[np.float32] = np.clip(smooth, lowest, highest)
    return clipped


def _convolve(image: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convolve with a small odd kernel by FFT, zeros beyond the borders."""
    half = kernel.shape[0] // 2
    size = [next_fast_len(length + half, real=True) for length in image.shape]
    padded = np.zeros(size, dtype=np.float32)
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    transfer = rfft2(np.roll(padded, (-half, -half), axis=(0, 1)))
    convolved: NDArray[np.float32] = irfft2(rfft2(image, s=size) * transfer, s=size)
    return convolved[: image.shape[0], : image.shape[1]]


def detect_sources(
    exposure: Exposure,
    psf: Psf,
    *,
    threshold: float = 5.0,
    min_pixels: int = 3,
    deblend_levels: int = 32,
    deblend_contrast: float = 0.0005,
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
    deblend_levels, deblend_contrast : int, float
        Levels between threshold and peak, and least fraction of the flux of a branch, to split a blend.

    Returns
    -------
    detections : Detections
        Empty if nothing is above the threshold.
    """
    return extract_sources(
        filter_with_psf(exposure, psf),
        threshold=threshold,
        min_pixels=min_pixels,
        deblend_levels=deblend_levels,
        deblend_contrast=deblend_contrast,
    )


def extract_sources(
    significance: NDArray[np.float32],
    *,
    threshold: float = 5.0,
    min_pixels: int = 3,
    deblend_levels: int = 32,
    deblend_contrast: float = 0.0005,
) -> Detections:
    """Find and split the peaks of a map of S/N, shape (ny, nx); see `detect_sources`."""
    # sep prepares the whole stack at every call, so it is no larger than the image may need.
    sep.set_extract_pixstack(max(significance.size // 2, MIN_PIXEL_STACK))
    sep.set_sub_object_limit(SUB_OBJECTS)
    objects, segments = sep.extract(
        significance,
        threshold,
        minarea=min_pixels,
        filter_kernel=None,
        deblend_nthresh=deblend_levels,
        deblend_cont=deblend_contrast,
        clean=False,
        segmentation_map=True,
    )
    return Detections(
        x=objects["xpeak"].astype(np.float64),
        y=objects["ypeak"].astype(np.float64),
        n_pixels=objects["npix"].astype(np.int64),
        blended=(objects["flag"] & BLENDED) != 0,
        segments=np.ascontiguousarray(segments, dtype=np.int32),
    )


def mark_detected(
    mask: NDArray[np.uint32], segments: NDArray[np.int32], *, grow_pixel: int = 0
) -> NDArray[np.uint32]:
    """Return the mask with the bit DETECTED anew, set on the footprints grown by some pixels."""
    footprint = segments > 0
    if grow_pixel > 0:
        footprint = binary_dilation(footprint, iterations=grow_pixel)
    marked: NDArray[np.uint32] = mask & ~MASK_DETECTED
    marked[footprint] |= MASK_DETECTED
    return marked
