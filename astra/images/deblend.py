"""Split the pixels above a threshold at the saddles between their peaks.

Each pixel goes to the peak that is reached from it by steepest ascent, so that the bounds between peaks run
along the valleys. Where two of them touch, the highest point of the bound is the saddle. A peak that rises
enough above the saddle to the next higher one is a source; any other is a part of that (topological
persistence: Edelsbrunner, Letscher & Zomorodian 2002, Discrete Comput. Geom. 28, 511). It is the limit of
infinitely many levels of the multi-threshold tree of Bertin & Arnouts (1996, A&AS 117, 393).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part


@dataclass(frozen=True)
class Segmentation:
    """Sources of a map, n of them.

    Parameters
    ----------
    segments : int32 ndarray, shape (ny, nx)
        0, or 1 + index of the source of each pixel.
    peaks : int64 ndarray, shape (n,)
        Place of the highest pixel of each in the flat map.
    n_pixels : int64 ndarray, shape (n,)
        Pixels of each.
    blended : bool ndarray, shape (n,)
        Touches another one.
    """

    segments: NDArray[np.int32]
    peaks: NDArray[np.int64]
    n_pixels: NDArray[np.int64]
    blended: NDArray[np.bool_]


def split_peaks(
    significance: NDArray[np.float32],
    threshold: float,
    *,
    min_pixels: int,
    min_rise: float,
    min_contrast: float,
) -> Segmentation:
    """Find the peaks of a map that stand out, and the pixels of each.

    Parameters
    ----------
    significance : float32 ndarray, shape (ny, nx)
        Map whose noise is about 1, as of `astra.images.detection.filter_with_psf`; no NaN.
    threshold : float
        Pixels above it belong to sources.
    min_pixels : int
        Fewer connected pixels are no source.
    min_rise : float
        Least height of a source's peak above its saddle.
    min_contrast : float
        The same as a fraction of the height of the saddle.

    Returns
    -------
    segmentation : Segmentation
    """
    segments = np.zeros(significance.shape, dtype=np.int32)
    climb(significance, np.float32(threshold), segments)
    peaks = label_basins(segments)
    first, second, saddle = find_bounds(significance, segments)
    height = significance.ravel()[peaks]
    owner, region = merge_peaks(
        (first, second, saddle), np.argsort(-saddle), height, (min_rise, min_contrast)
    )
    area = count_pixels(segments, len(peaks) + 1)[1:]
    kept = (owner == np.arange(len(peaks))) & (np.bincount(region, area, len(peaks))[region] >= min_pixels)
    number = np.zeros(len(peaks) + 1, dtype=np.int32)
    number[1:][kept] = np.arange(1, kept.sum() + 1)
    number[1:] = number[1:][owner]
    renumber(segments, number)
    n_pixels = np.bincount(number[1:], area, int(kept.sum()) + 1)[1:].astype(np.int64)
    blended = np.bincount(region[kept], minlength=len(peaks))[region[kept]] > 1
    return Segmentation(segments, peaks[kept], n_pixels, blended)


@compiled
def climb(significance, threshold, link):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write 1 + the place of the highest of each pixel and its neighbours where it is above the threshold.

    Of equal ones the first is the highest.
    """
    ny, nx = significance.shape
    for y in range(ny):
        for x in range(nx):
            highest = significance[y, x]
            if not highest > threshold:
                continue
            place = y * nx + x
            for j in range(max(y - 1, 0), min(y + 2, ny)):
                for i in range(max(x - 1, 0), min(x + 2, nx)):
                    value, other = significance[j, i], j * nx + i
                    if value > highest or (value == highest and other < place):
                        highest, place = value, other
            link[y, x] = place + 1


@compiled
def label_basins(link):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Turn the links of `climb` into labels of the peaks to which they lead, from 1; return the peaks."""
    flat = link.reshape(link.size)
    n_linked = 0
    for place in range(len(flat)):
        n_linked += flat[place] != 0
    peaks = np.empty(n_linked, dtype=np.int64)
    n = 0
    # Labels are negative until all links are followed.
    for start in range(len(flat)):
        place = start
        while flat[place] > 0 and flat[place] != place + 1:
            place = flat[place] - 1
        if flat[place] > 0:
            peaks[n] = place
            n += 1
            flat[place] = -n
        label, place = flat[place], start
        while flat[place] > 0:
            following = flat[place] - 1
            flat[place] = label
            place = following
    for place in range(len(flat)):
        flat[place] = -flat[place]
    return peaks[:n]


@part
def copy_bounds(pairs, saddle, capacity):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy pairs and heights into longer arrays."""
    longer, more = np.empty((2, capacity), dtype=np.int32), np.empty(capacity, dtype=np.float32)
    for k in range(len(saddle)):
        longer[0, k], longer[1, k], more[k] = pairs[0, k], pairs[1, k], saddle[k]
    return longer, more


@compiled
def find_bounds(significance, label):  # type: ignore[no-untyped-def]  # pragma: no cover
    """List the pairs of touching pixels with different labels: both labels less 1, and the lower height."""
    ny, nx = significance.shape
    capacity = 1024
    pairs, saddle = np.empty((2, capacity), dtype=np.int32), np.empty(capacity, dtype=np.float32)
    n = 0
    for y in range(ny):
        for x in range(nx):
            if label[y, x] == 0:
                continue
            for j, i in ((y, x + 1), (y + 1, x - 1), (y + 1, x), (y + 1, x + 1)):
                if j == ny or not 0 <= i < nx or label[j, i] == 0 or label[j, i] == label[y, x]:
                    continue
                if n == capacity:
                    capacity *= 2
                    pairs, saddle = copy_bounds(pairs, saddle, capacity)
                pairs[0, n], pairs[1, n] = label[y, x] - 1, label[j, i] - 1
                saddle[n] = min(significance[y, x], significance[j, i])
                n += 1
    return pairs[0, :n], pairs[1, :n], saddle[:n]


@part
def count_up(n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Numbers from 0 to n - 1; `numpy.arange` would take long to compile."""
    numbers = np.empty(n, dtype=np.int64)
    for k in range(n):
        numbers[k] = k
    return numbers


@part
def find_root(parent, k):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Follow the links from k to the last, and shorten them."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@compiled
def merge_peaks(bounds, order, height, limits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Join the regions of the peaks at their saddles, the highest first.

    Returns for each peak the one that it is a part of, itself if it stands out, and the highest one of all
    with which it is connected.
    """
    first, second, saddle = bounds
    owner, region = count_up(len(height)), count_up(len(height))
    for k in order:
        high, low = find_root(region, first[k]), find_root(region, second[k])
        if high == low:
            continue
        if height[high] < height[low] or (height[high] == height[low] and high > low):
            high, low = low, high
        if height[low] - saddle[k] < max(limits[0], limits[1] * saddle[k]):
            owner[low] = high
        region[low] = high
    for k in range(len(height)):
        owner[k], region[k] = find_root(owner, k), find_root(region, k)
    return owner, region


@compiled
def count_pixels(label, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Pixels of the labels 0 to n - 1."""
    count = np.zeros(n, dtype=np.int64)
    for one in label.reshape(label.size):
        count[one] += 1
    return count


@compiled
def renumber(label, number):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Replace labels by other numbers, in place."""
    flat = label.reshape(label.size)
    for place in range(len(flat)):
        if flat[place] != 0:
            flat[place] = number[flat[place]]
