"""What a coadd keeps of the pixels of its inputs: the median of a first pass, the sums of a second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astra.images.coadd_config import REJECTED, CoaddConfig
from astra.images.coadd_kernels import N_EXTREMES, add_values, add_weighted, flag_outliers, trimmed_mean
from astra.images.coadd_psf import CELL_PIXEL, cell_grid
from astra.images.coadd_warps import WarpedInput
from astra.images.exposure import (
    MASK_CLIPPED,
    MASK_HIGH_VARIANCE,
    MASK_INEXACT_PSF,
    MASK_NO_DATA,
    MASK_REJECTED,
    MASK_SAT,
)
from astra.images.warp import Planes

MIN_CLIPPED = 3  # values of a pixel of which one can be told to be wrong
VARIANCE_BIN_PIXEL = 32
MIN_VARIANCE_COVER = 0.1  # share of the frame below which there is no typical variance


class PixelMedian:
    """Median of each pixel of a stream of images; without the extremes, for more than six values."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._extremes = np.zeros((N_EXTREMES, *shape), dtype=np.float32)
        self._middle = np.zeros(shape, dtype=np.float32)
        self.count = np.zeros(shape, dtype=np.uint16)

    def add(self, warped: WarpedInput) -> None:
        """Add the good pixels of an input."""
        add_values(warped.planes, REJECTED, warped.corner, self._extremes, self._middle, self.count)

    def finish(self) -> NDArray[np.float32]:
        """Return the median, NaN where there is no value, and end the stream: its memory is given back."""
        trimmed_mean(self._extremes, self._middle, self.count)
        self._extremes = np.zeros((N_EXTREMES, 0, 0), dtype=np.float32)
        return self._middle


class CoaddSums:
    """Sums over the pixels that agree with a median.

    Parameters
    ----------
    median : PixelMedian
        Of the same images.
    config : CoaddConfig
    """

    def __init__(self, median: PixelMedian, config: CoaddConfig) -> None:
        self.config, self._count = config, median.count
        shape = median.count.shape
        self._reference = median.finish()
        size = 2 * config.clip_radius_pixel + 1
        filled = np.where(median.count > 0, self._reference, np.float32(0))
        self._bright = np.maximum(ndimage.maximum_filter(filled, size, mode="nearest"), np.float32(0))
        self._bright[median.count < MIN_CLIPPED] = np.inf
        self._sums = np.zeros((3, *shape), dtype=np.float32)
        self._masks = np.stack([np.full(shape, 0xFFFFFFFF, np.uint32), np.zeros(shape, np.uint32)])
        self.coverage = np.zeros(shape, dtype=np.uint16)
        self._weights: list[NDArray[np.float32]] = []

    def add(self, warped: WarpedInput, weight: float, psf_difference: float) -> tuple[int, int, int]:
        """Add an input; return the numbers of its used, clipped and otherwise rejected pixels."""
        planes, corner = warped.planes, warped.corner
        flags = np.zeros(planes[0].shape, dtype=np.uint8)
        share = self.config.clip_fraction + psf_difference
        limits = (self.config.clip_sigma, self.config.clip_neighbour_sigma, share)
        flag_outliers(planes, REJECTED, corner, self._reference, self._bright, limits, flags)
        cells = np.zeros(cell_grid(self._count.shape), dtype=np.int64)
        bits = (
            REJECTED,
            MASK_SAT,
            MASK_CLIPPED | MASK_INEXACT_PSF,
            MASK_REJECTED | MASK_INEXACT_PSF,
            CELL_PIXEL,
        )
        n_clipped, n_rejected = add_weighted(
            planes,
            bits,
            corner,
            np.float32(weight),
            self._count,
            flags,
            self._sums,
            self._masks,
            self.coverage,
            cells,
        )
        self._weights.append((weight / CELL_PIXEL**2 * cells).astype(np.float32))
        return int(cells.sum()), int(n_clipped), int(n_rejected)

    def weights(self) -> NDArray[np.float32]:
        """Weight of each input that was added in each cell, shape (n_inputs, n_y, n_x)."""
        return np.array(self._weights)

    def planes(self) -> Planes:
        """Image, variance and mask of the coadd; the sums become them, and are no more."""
        total, image, variance = self._sums
        empty = total == 0
        total[empty] = np.nan
        image /= total
        variance /= total
        variance /= total
        mask = self._masks[0]
        mask |= self._masks[1]
        mask[empty] = MASK_NO_DATA
        mask[is_high_variance(variance, self.config.high_variance_ratio)] |= MASK_HIGH_VARIANCE
        return image, variance, mask


def is_high_variance(variance: NDArray[np.float32], ratio: float) -> NDArray[np.bool_]:
    """Tell where the variance, smoothed, is some times larger than it is in most of the frame.

    Parameters
    ----------
    variance : float32 ndarray, shape (ny, nx)
        NaN where there is none.
    ratio : float
        To the median, above which it is high.

    Returns
    -------
    is_high : bool ndarray, shape (ny, nx)
        False everywhere if less than a tenth of the frame has a variance.
    """
    bins = _bin_medians(variance)
    typical = np.nanmedian(bins) if np.isfinite(bins).any() else np.nan
    if not np.nanmax(bins, initial=-np.inf) > ratio * typical or _cover(variance) < MIN_VARIANCE_COVER:
        return np.zeros(variance.shape, dtype=bool)
    bins = np.where(np.isfinite(bins), bins, typical).astype(np.float32)
    along_y, along_x = (_hat_functions(n, m) for n, m in zip(variance.shape, bins.shape, strict=True))
    is_high: NDArray[np.bool_] = (along_y @ bins @ along_x.T) > ratio * typical
    return is_high & np.isfinite(variance)


def _cover(variance: NDArray[np.float32]) -> float:
    return float(np.mean(np.isfinite(variance)))


def _bin_medians(variance: NDArray[np.float32]) -> NDArray[np.float64]:
    """Medians of the variance in square bins, NaN where there is none."""
    n_y, n_x = cell_grid(variance.shape, VARIANCE_BIN_PIXEL)
    bins = np.full((n_y, n_x), np.nan)
    for j in range(n_y):
        band = variance[j * VARIANCE_BIN_PIXEL : (j + 1) * VARIANCE_BIN_PIXEL]
        for i in range(n_x):
            values = band[:, i * VARIANCE_BIN_PIXEL : (i + 1) * VARIANCE_BIN_PIXEL]
            values = values[np.isfinite(values)]
            if len(values):
                bins[j, i] = np.median(values)
    return bins


def _hat_functions(n_pixels: int, n_bins: int) -> NDArray[np.float32]:
    """Weights of linear interpolation between the centres of bins, shape (n_pixels, n_bins)."""
    place = (np.arange(n_pixels) + 0.5) / VARIANCE_BIN_PIXEL - 0.5
    place = np.clip(place, 0, n_bins - 1)
    return np.maximum(1.0 - np.abs(place[:, None] - np.arange(n_bins)), 0.0).astype(np.float32)
