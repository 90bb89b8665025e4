"""Peaks of a map of signed signal to noise: footprints of both signs, merged, and the sources in them.

A footprint may hold several sources. Two maxima of one sign are two sources if the saddle between them lies
deep enough below the lower one; a maximum of the other sign near a stronger one belongs to it, as the second
lobe of a dipole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.dia_pixels import find_above

# The compiled functions fill a table: x, y, snr, opposite and these.
WHOLE_COLUMNS = (
    "opposite_x", "opposite_y", "footprint", "n_peaks", "area_pixel", "x_min", "x_max", "y_min", "y_max"
)  # fmt: skip


@dataclass(frozen=True)
class Peaks:
    """Detections, one per row; all numbers of a footprint are the same in the rows of its peaks.

    Parameters
    ----------
    x, y : int64 ndarray, shape (n,)
        Pixel of the highest absolute signal to noise.
    snr : float64 ndarray, shape (n,)
        Signed.
    opposite : float64 ndarray, shape (n,)
        Largest signal to noise of the other sign in the footprint and near the peak, positive; 0 if there
        is none.
    opposite_x, opposite_y : int64 ndarray, shape (n,)
        Its pixel; that of the peak itself if there is none.
    footprint : int64 ndarray, shape (n,)
        Number in ``footprints``.
    n_peaks : int64 ndarray, shape (n,)
        Peaks in the footprint.
    area_pixel : int64 ndarray, shape (n,)
        Pixels in the footprint.
    x_min, x_max, y_min, y_max : int64 ndarray, shape (n,)
        First and last column and row of the footprint.
    footprints : int32 ndarray, shape (ny, nx)
        Number of the footprint from 1, 0 outside.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    snr: NDArray[np.float64]
    opposite: NDArray[np.float64]
    opposite_x: NDArray[np.int64]
    opposite_y: NDArray[np.int64]
    footprint: NDArray[np.int64]
    n_peaks: NDArray[np.int64]
    area_pixel: NDArray[np.int64]
    x_min: NDArray[np.int64]
    x_max: NDArray[np.int64]
    y_min: NDArray[np.int64]
    y_max: NDArray[np.int64]
    footprints: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def box_pixel(self) -> NDArray[np.int64]:
        """Longer side of each footprint's box [pixel]."""
        side: NDArray[np.int64] = np.maximum(self.x_max - self.x_min, self.y_max - self.y_min) + 1
        return side

    def where(self, kept: NDArray[np.bool_]) -> Peaks:
        """Return some of the peaks; the map of the footprints stays."""
        columns = {name: value[kept] for name, value in vars(self).items() if name != "footprints"}
        return Peaks(**columns, footprints=self.footprints)


def find_peaks(
    snr: NDArray[np.float32],
    threshold: float,
    merge_distance: int,
    *,
    min_prominence: float = 2.0,
    dipole_separation: float = 7.0,
    mask: NDArray[np.uint32] | None = None,
    unsplit_planes: np.uint32 | int = 0,
) -> Peaks:
    """Find footprints above the threshold in either sign, and the sources in each.

    Parameters
    ----------
    snr : ndarray, shape (ny, nx)
        Without NaN.
    threshold : float
        Least absolute signal to noise.
    merge_distance : int
        Growth of the footprints [pixel]; those that touch then, of either sign, are one.
    min_prominence : float
        Height in signal to noise of a peak above the saddle to a higher one of its sign.
    dipole_separation : float
        Peaks of the other sign no farther than this from a higher one are parts of it [pixel].
    mask : uint32 ndarray, shape (ny, nx), optional
        Bits of the pixels.
    unsplit_planes : int
        Bits: of a footprint with any pixel that has one of them, only the highest peak is taken.

    Returns
    -------
    peaks : Peaks
        Sorted by y, then x.
    """
    snr = np.ascontiguousarray(snr)
    footprints = np.zeros(snr.shape, dtype=np.int32)
    seeds = find_above(snr, np.float32(threshold))
    pixels, starts = _label(footprints, seeds, _mark(seeds, merge_distance, footprints))
    table = np.empty((len(seeds), 4 + len(WHOLE_COLUMNS)))
    single = np.zeros(len(starts) - 1, dtype=np.bool_)
    if mask is not None and len(pixels) > 0:
        single = np.logical_or.reduceat((mask.ravel()[pixels] & unsplit_planes) > 0, starts[:-1])
    pixels = _order_by_height(snr, pixels, starts)
    n = _tabulate(snr, (pixels, starts, single), (threshold, min_prominence, dipole_separation), table)
    table = table[:n][np.lexsort((table[:n, 0], table[:n, 1]))]
    whole = dict(zip(WHOLE_COLUMNS, table[:, 4:].T.astype(np.int64), strict=True))
    x, y = table[:, :2].T.astype(np.int64)
    return Peaks(x, y, table[:, 2].copy(), table[:, 3].copy(), **whole, footprints=footprints)


@compiled
def _mark(seeds, grow, footprints):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Set -1 on the significant pixels and round them; return how many that are."""
    ny, nx = footprints.shape
    n_pixels = 0
    for y, x in seeds:
        for j in range(max(y - grow, 0), min(y + grow + 1, ny)):
            for i in range(max(x - grow, 0), min(x + grow + 1, nx)):
                n_pixels += footprints[j, i] == 0
                footprints[j, i] = -1
    return n_pixels


@compiled
def _label(footprints, seeds, n_pixels):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Label the connected areas of -1; return their flat places, area after area, and where each begins."""
    ny, nx = footprints.shape
    pixels, starts = np.empty(n_pixels, dtype=np.int64), np.zeros(len(seeds) + 1, dtype=np.int64)
    n, tail = 0, 0
    for first_y, first_x in seeds:
        if footprints[first_y, first_x] > 0:
            continue
        n, head = n + 1, tail
        footprints[first_y, first_x] = n
        pixels[tail], tail = first_y * nx + first_x, tail + 1
        while head < tail:
            y, x = pixels[head] // nx, pixels[head] % nx
            head += 1
            for j in range(max(y - 1, 0), min(y + 2, ny)):
                for i in range(max(x - 1, 0), min(x + 2, nx)):
                    if footprints[j, i] == -1:
                        footprints[j, i] = n
                        pixels[tail], tail = j * nx + i, tail + 1
        starts[n] = tail
    return pixels, starts[: n + 1]


def _order_by_height(
    snr: NDArray[np.float32], pixels: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Sort the pixels of each footprint from the highest down; the first of the image among equals."""
    footprint = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    ordered: NDArray[np.int64] = pixels[np.lexsort((pixels, -np.abs(snr.ravel()[pixels]), footprint))]
    return ordered


@compiled
def _tabulate(snr, areas, limits, table):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill one row for each source, footprint by footprint; return their number."""
    nx, n = snr.shape[1], 0
    pixels, starts, single = areas
    for k in range(len(starts) - 1):
        places = pixels[starts[k] : starts[k + 1]]
        box = _find_box(places, nx)
        values = np.zeros((box[3] - box[2] + 3, box[1] - box[0] + 3))
        order = np.empty(len(places), dtype=np.int64)
        for m in range(len(places)):
            y, x = places[m] // nx, places[m] % nx
            j, i = y - box[2] + 1, x - box[0] + 1
            values[j, i], order[m] = snr[y, x], j * values.shape[1] + i
        found, n_found = _join_lobes(_find_maxima(values, order, limits[0], limits[1]), values, limits[2])
        n_found = 1 if single[k] else n_found
        for row in range(n_found):
            table[n, 0], table[n, 4] = box[0] - 1 + found[row, 1], box[0] - 1 + found[row, 3]
            table[n, 1], table[n, 5] = box[2] - 1 + found[row, 0], box[2] - 1 + found[row, 2]
            j, i = found[row, 2], found[row, 3]
            table[n, 2] = values[found[row, 0], found[row, 1]]
            table[n, 3] = max(-np.sign(table[n, 2]) * values[j, i], 0.0)
            table[n, 6], table[n, 7], table[n, 8] = k + 1, n_found, len(places)
            table[n, 9], table[n, 10], table[n, 11], table[n, 12] = box
            n += 1
    return n


@part
def _find_box(places, nx):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """First and last column, first and last row of flat places in an image of some width."""
    x_min, x_max, y_min, y_max = nx, -1, places[0] // nx, places[0] // nx
    for m in range(len(places)):
        y, x = places[m] // nx, places[m] % nx
        x_min, x_max, y_min, y_max = min(x_min, x), max(x_max, x), min(y_min, y), max(y_max, y)
    return x_min, x_max, y_min, y_max


@part
def _find_maxima(values, order, threshold, prominence):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Flat places of the maxima of either sign, the highest first.

    The pixels are added from the highest down; where two hills of one sign meet, the lower ends, and counts
    if it stands out enough above that saddle.
    """
    width, flat = values.shape[1], values.reshape(values.size)
    parent, counts = np.full(len(flat), -1), np.zeros(len(flat), dtype=np.bool_)
    for place in order:
        height = abs(flat[place])
        if height == 0.0:
            break
        parent[place], counts[place] = place, height >= threshold
        for step in (-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1):
            other = place + step
            if parent[other] < 0 or flat[other] * flat[place] < 0.0:
                continue
            one, two = _top(parent, place), _top(parent, other)
            if one == two:
                continue
            high, low = (one, two) if abs(flat[one]) > abs(flat[two]) else (two, one)
            parent[low] = high
            counts[low] = counts[low] and low != place and abs(flat[low]) - height >= prominence
    n = 0
    for place in order:  # in place: no later entry is overwritten before it is read
        order[n] = place
        n += counts[place]
    return order[:n]


@part
def _top(parent, place):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Highest pixel of the hill that a pixel belongs to."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@part
def _join_lobes(maxima, values, separation):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Drop maxima near a higher one of the other sign; add each one's strongest pixel of the other sign."""
    n, reach, width = 0, int(separation), values.shape[1]
    found = np.empty((len(maxima), 4), dtype=np.int64)
    for place in maxima:
        y, x = place // width, place % width
        sign, lobe = np.sign(values[y, x]), False
        for m in range(n):
            distance = np.hypot(y - found[m, 0], x - found[m, 1])
            lobe |= sign * values[found[m, 0], found[m, 1]] < 0.0 and distance <= separation
        if lobe:
            continue
        best, found[n, 0], found[n, 1], found[n, 2], found[n, 3] = 0.0, y, x, y, x
        for j in range(max(y - reach, 0), min(y + reach + 1, values.shape[0])):
            for i in range(max(x - reach, 0), min(x + reach + 1, values.shape[1])):
                if -sign * values[j, i] > best and np.hypot(j - y, i - x) <= separation:
                    best, found[n, 2], found[n, 3] = -sign * values[j, i], j, i
        n += 1
    return found, n
