"""Trails of satellites across a difference image: found by a fast Radon transform, measured and masked.

The transform sums a binned map of signal to noise along all lines that cross the frame (Brady 1998, SIAM J.
Comput. 27, 107; for trails Nir, Zackay & Ofek 2018, AJ 156, 229). A line counts if it is bright all along,
which tells it from stars, spikes and bleed trails, and as broad as the PSF, which tells it from rows of the
detector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled

MIN_BIN_PIXEL = 4
MAX_BINS = 512  # a side: lines across larger frames are long enough to spare resolution
CLIP_SNR = 4.0  # of a bin: a star on the line must not make it
THRESHOLD_SNR = 8.0  # of a line: among millions of lines of noise the highest have 6
MIN_LENGTH_BINS = 40
N_SEGMENTS = 16
MIN_MEDIAN_SHARE = 0.5  # of the mean over segments that their median must reach
MIN_WIDTH_SHARE = 0.6  # of the width of the PSF
MAX_WIDTH_SHARE = 12.0  # what is broader is the sky
SKY_FROM_PIXEL = 45.0  # from the line
MASKED_SIGMA = 3.0  # half-width of the mask, in widths of the trail, if it is faint
MAX_HALF_WIDTH_PIXEL = 60
MAX_CANDIDATES = 5
FORGOTTEN_BINS = 5  # on either side of a line that has been looked at
PLACES = 4 * N_SEGMENTS  # cells along a line, and their width across it, for its profile
CELL_PIXEL = 0.5

STREAK_DTYPE = np.dtype(
    [
        ("x1", "f8"), ("y1", "f8"), ("x2", "f8"), ("y2", "f8"),
        ("angle", "f8"), ("sigmaPixel", "f8"), ("amplitude", "f8"), ("snr", "f8"), ("halfWidthPixel", "f8"),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class SearchImage:
    """What trails are looked for on.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Flat difference; may be NaN where the weight is zero.
    weight : float32 ndarray, shape (ny, nx)
        ``level`` over the variance; 0 for unusable pixels.
    level : float
        Typical variance [unit**2].
    sigma_pixel : float
        Width of the PSF [pixel].
    """

    image: NDArray[np.float32]
    weight: NDArray[np.float32]
    level: float
    sigma_pixel: float


def find_streaks(search: SearchImage) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """Find bright trails that cross the frame.

    Parameters
    ----------
    search : SearchImage

    Returns
    -------
    streaks : structured ndarray
        Ends on the frame (``x1``, ``y1``, ``x2``, ``y2``) [pixel], ``angle`` to the x axis [deg], Gaussian
        width ``sigmaPixel`` of the profile, its ``amplitude`` [image unit], ``snr`` of the line, half-width
        of the mask ``halfWidthPixel``.
    masked : bool ndarray, shape (ny, nx)
        Pixels under the trails.
    """
    shape = (search.image.shape[0], search.image.shape[1])
    step = max(MIN_BIN_PIXEL, -(-max(shape) // MAX_BINS))
    bins, counts = _bin(search.image, search.weight, np.float32(search.level), step)
    bins = _standardise(bins, counts > 0)
    lengths = [radon(plane) for plane in _orientations(counts)]
    masked = np.zeros(shape, dtype=np.bool_)
    found = []
    for _ in range(MAX_CANDIDATES):
        line, snr = _find_line(bins, lengths)
        if not snr >= THRESHOLD_SNR:
            break
        streak = _measure(search, masked, _clip((line + 0.5) * step - 0.5, shape))
        half_width = float(streak["halfWidthPixel"])
        if streak["snr"] > 0:
            found.append(streak)
            masked |= _band(shape, _ends(streak), half_width)
        forgotten = _band(shape, _ends(streak), max(half_width, FORGOTTEN_BINS * step))
        bins = np.where(_shrink(forgotten, bins.shape, step), np.float32(0), bins)
    return np.array(found, dtype=STREAK_DTYPE).reshape(-1), masked


@compiled(error_model="numpy")
def _bin(image, weight, level, step):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Clipped signal to noise of square bins, and 1 for those that are usable, else 0."""
    ny, nx = image.shape[0] // step, image.shape[1] // step
    bins, counts = np.zeros((ny, nx), dtype=np.float32), np.zeros((ny, nx), dtype=np.float32)
    for j in range(ny):
        for i in range(nx):
            total, power, n = np.float32(0.0), np.float32(0.0), 0
            for y in range(j * step, (j + 1) * step):
                for x in range(i * step, (i + 1) * step):
                    if weight[y, x] > 0.0:
                        total += weight[y, x] * image[y, x]
                        power += weight[y, x]
                        n += 1
            if 2 * n >= step * step:
                snr = total / np.sqrt(power * level)
                bins[j, i] = min(max(snr, -np.float32(CLIP_SNR)), np.float32(CLIP_SNR))
                counts[j, i] = 1.0
    return bins, counts


def _standardise(bins: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Usable bins less their mean, in units of their scatter if that is above 1; 0 elsewhere.

    Hundreds of bins make a line, so that a sky off by a hundredth of the noise of a pixel would be one.
    """
    if not usable.any():
        return bins
    values = bins[usable]
    mean, scatter = float(values.mean()), max(float(values.std()), 1.0)
    standard: NDArray[np.float32] = np.where(usable, (bins - mean) / scatter, 0.0).astype(np.float32)
    return standard


def _orientations(plane: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Put a plane into a square, in the four ways that make all lines run up and to the right."""
    side = 1 << int(max(np.ceil(np.log2(max(plane.shape))), 1))
    square = np.zeros((side, side), dtype=np.float32)
    square[: plane.shape[0], : plane.shape[1]] = plane
    ways = (square, square[:, ::-1], square.T, square.T[:, ::-1])
    return [np.ascontiguousarray(way) for way in ways]


def _find_line(
    bins: NDArray[np.float32], lengths: list[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], float]:
    """Find the ends (x1, y1, x2, y2) of the line with the highest signal to noise [bin], and that."""
    best, line = 0.0, np.zeros(4)
    for way, (plane, length) in enumerate(zip(_orientations(bins), lengths, strict=True)):
        side = len(plane)
        snr = np.where(length >= MIN_LENGTH_BINS, radon(plane) / np.sqrt(np.maximum(length, 1)), 0)
        shift, offset = np.unravel_index(np.argmax(snr), snr.shape)
        if snr[shift, offset] > best:
            best = float(snr[shift, offset])
            x, y = np.array([offset - side, offset - side + shift], float), np.array([0.0, side - 1.0])
            x = side - 1 - x if way % 2 else x
            x, y = (y, x) if way >= 2 else (x, y)
            line = np.array([x[0], y[0], x[1], y[1]])
    return line, best


@compiled
def radon(square):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add up along the lines that cross a square of side n = 2**m and run 0 to n - 1 columns to the right.

    Element (s, n + x) is the sum from column x of the first row, which may lie to the left of the square, to
    column x + s of the last one.
    """
    n = square.shape[0]
    width = 2 * n
    sums = np.zeros((n, 1, width), dtype=np.float32)
    for y in range(n):
        for x in range(n):
            sums[y, 0, n + x] = square[y, x]
    height = 1
    while height < n:
        joined = np.zeros((n // (2 * height), 2 * height, width), dtype=np.float32)
        for k in range(joined.shape[0]):
            for shift in range(2 * height):
                low, high, step = sums[2 * k, shift // 2], sums[2 * k + 1, shift // 2], (shift + 1) // 2
                out = joined[k, shift]
                for x in range(width - step):
                    out[x] = low[x] + high[x + step]
                for x in range(width - step, width):
                    out[x] = low[x]
        sums, height = joined, 2 * height
    return sums[0]


def _clip(line: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Move the ends (x1, y1, x2, y2) of a line to where it crosses the borders (Liang & Barsky 1984)."""
    start, step = line[:2], line[2:] - line[:2]
    low, high = np.zeros(2), np.array([shape[1] - 1.0, shape[0] - 1.0])
    first, last = -np.inf, np.inf
    for axis in range(2):
        if step[axis] == 0:
            continue
        near, far = sorted(((low - start)[axis] / step[axis], (high - start)[axis] / step[axis]))
        first, last = max(first, near), min(last, far)
    return np.concatenate([start + first * step, start + last * step])


def _ends(streak: NDArray[np.void]) -> NDArray[np.float64]:
    """Gather the ends of a streak."""
    return np.array([streak[name] for name in ("x1", "y1", "x2", "y2")])


def _near(
    shape: tuple[int, int], line: NDArray[np.float64], half_width: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixels near a line: columns, rows, distance from it [pixel], and place along it from 0 to 1."""
    ny, nx = shape
    step = line[2:] - line[:2]
    length = float(np.hypot(*step))
    direction = step / max(length, 1e-9)
    steep = abs(direction[1]) > abs(direction[0])
    main = np.arange(ny if steep else nx)
    along, across = (1, 0) if steep else (0, 1)
    middle = line[across] + (main - line[along]) * direction[across] / direction[along]
    reach = int(np.ceil(half_width / abs(direction[along]))) + 1
    other = np.rint(middle).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    first = np.broadcast_to(main[:, None], other.shape)
    x, y = (other, first) if steep else (first, other)
    distance = (x - line[0]) * direction[1] - (y - line[1]) * direction[0]
    place = ((x - line[0]) * direction[0] + (y - line[1]) * direction[1]) / max(length, 1e-9)
    kept = (x >= 0) & (y >= 0) & (x < nx) & (y < ny) & (np.abs(distance) <= half_width)
    return x[kept], y[kept], distance[kept], place[kept]


def _band(shape: tuple[int, int], line: NDArray[np.float64], half_width: float) -> NDArray[np.bool_]:
    """Pixels no farther from a line than that [pixel]."""
    band = np.zeros(shape, dtype=np.bool_)
    x, y, _, _ = _near(shape, line, half_width)
    band[y, x] = True
    return band


def _shrink(band: NDArray[np.bool_], shape: tuple[int, ...], step: int) -> NDArray[np.bool_]:
    """Bins with any pixel of a band."""
    ny, nx = shape
    whole = band[: ny * step, : nx * step].reshape(ny, step, nx, step)
    return np.asarray(whole.any(axis=(1, 3)), dtype=np.bool_)


def _measure(search: SearchImage, masked: NDArray[np.bool_], line: NDArray[np.float64]) -> NDArray[np.void]:
    """Refine a line and measure its profile; ``snr`` is zero if it is no trail."""
    streak = np.zeros((), dtype=STREAK_DTYPE)
    value, noise, distance, place = _profile(search, masked, line)
    value = value - _sky_beside(value, noise, distance)
    ends = _refine(value / noise, distance, place, search.sigma_pixel)
    distance = distance - (ends[0] + (ends[1] - ends[0]) * place)
    sigma, amplitude, snr = _fit_width(value, noise, distance, search.sigma_pixel)
    line = _clip(_shift_ends(line, ends), masked.shape)
    for name, end in zip(("x1", "y1", "x2", "y2"), line, strict=True):
        streak[name] = end
    streak["angle"] = np.degrees(np.arctan2(line[3] - line[1], line[2] - line[0])) % 180.0
    streak["sigmaPixel"], streak["amplitude"] = sigma, amplitude
    streak["halfWidthPixel"] = _half_width(sigma, amplitude, float(np.sqrt(search.level)))
    low, high = (share * search.sigma_pixel for share in (MIN_WIDTH_SHARE, 0.99 * MAX_WIDTH_SHARE))
    if low <= sigma < high and _is_even(value / noise, distance, place, sigma):
        streak["snr"] = snr
    return streak


def _sky_beside(
    value: NDArray[np.float64], noise: NDArray[np.float64], distance: NDArray[np.float64]
) -> float:
    """Mean of the cells far from a line; 0 without any."""
    beside = np.abs(distance) > SKY_FROM_PIXEL
    if not beside.any():
        return 0.0
    return float(np.average(value[beside], weights=1.0 / noise[beside] ** 2))


def _profile(
    search: SearchImage, masked: NDArray[np.bool_], line: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Average the pixels in small cells along and across a line: value, noise, distance and place."""
    x, y, distance, place = _near((len(masked), masked.shape[1]), line, MAX_HALF_WIDTH_PIXEL)
    usable = np.flatnonzero((search.weight[y, x] > 0) & ~masked[y, x])
    x, y, distance, place = x[usable], y[usable], distance[usable], place[usable]
    information: NDArray[np.float64] = search.weight[y, x].astype(np.float64) / search.level
    limit = CLIP_SNR / np.sqrt(information)
    value = search.image[y, x].astype(float)
    # Stars on the trail, but not the trail, are cut.
    value = np.clip(value, -limit, np.maximum(limit, np.percentile(value, 99) if len(value) > 0 else 0.0))
    n_across = int(2 * MAX_HALF_WIDTH_PIXEL / CELL_PIXEL) + 1
    along = np.clip((place * PLACES).astype(np.int64), 0, PLACES - 1)
    cell = along * n_across + np.rint((distance + MAX_HALF_WIDTH_PIXEL) / CELL_PIXEL).astype(np.int64)
    total, power = (np.bincount(cell, w, PLACES * n_across) for w in (information * value, information))
    filled = np.flatnonzero(power > 0)
    return (
        total[filled] / power[filled],
        1.0 / np.sqrt(power[filled]),
        (filled % n_across).astype(np.float64) * CELL_PIXEL - MAX_HALF_WIDTH_PIXEL,
        (filled // n_across + 0.5) / PLACES,
    )


def _shift_ends(line: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift the ends of a line across it [pixel]."""
    step = (line[2:] - line[:2]) / np.hypot(*(line[2:] - line[:2]))
    normal = np.array([step[1], -step[0]])
    return np.concatenate([line[:2] + ends[0] * normal, line[2:] + ends[1] * normal])


def _refine(
    snr: NDArray[np.float64], distance: NDArray[np.float64], place: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """Offsets of both ends [pixel] that bring most light under a profile of the PSF's width."""
    best = np.zeros(2)
    for step, reach in ((2.0, 3), (0.5, 3), (0.125, 3)):
        offsets = step * np.arange(-reach, reach + 1)
        trials = [best + np.array([one, two]) for one in offsets for two in offsets]
        sums = [
            np.sum(snr * np.exp(-0.5 * ((distance - ends[0] - (ends[1] - ends[0]) * place) / sigma) ** 2))
            for ends in trials
        ]
        best = trials[int(np.argmax(sums))]
    return best


def _fit_width(
    value: NDArray[np.float64], noise: NDArray[np.float64], distance: NDArray[np.float64], sigma: float
) -> tuple[float, float, float]:
    """Width [pixel], amplitude and signal to noise of the Gaussian that fits the profile best."""
    best = (0.0, 0.0, 0.0)
    for width in sigma * np.geomspace(0.25, MAX_WIDTH_SHARE, 60):
        profile = np.exp(-0.5 * (distance / width) ** 2) / noise
        power = np.sum(profile**2)
        snr = np.sum(profile * value / noise) / np.sqrt(max(power, 1e-30))
        if snr > best[2]:
            best = (float(width), float(snr / np.sqrt(power)), float(snr))
    return best


def _is_even(
    snr: NDArray[np.float64], distance: NDArray[np.float64], place: NDArray[np.float64], sigma: float
) -> bool:
    """Tell whether the light is spread over the whole line, and not that of a few stars on it."""
    profile = np.exp(-0.5 * (distance / max(sigma, 1.0)) ** 2)
    segment = np.clip((place * N_SEGMENTS).astype(np.int64), 0, N_SEGMENTS - 1)
    sums = np.bincount(segment, profile * snr, minlength=N_SEGMENTS)
    power = np.bincount(segment, profile**2, minlength=N_SEGMENTS)
    known = power > 0.2 * np.median(power)
    level = sums[known] / power[known]
    return bool(known.sum() >= N_SEGMENTS // 4 and np.median(level) > MIN_MEDIAN_SHARE * np.mean(level) > 0)


def _half_width(sigma: float, amplitude: float, noise: float) -> float:
    """Where a Gaussian profile falls to a tenth of the noise of a pixel; at least some widths [pixel]."""
    bright = np.sqrt(2.0 * max(np.log(max(10.0 * amplitude / max(noise, 1e-30), 1.0)), 0.0))
    return float(min(sigma * max(MASKED_SIGMA, bright) + 1.0, MAX_HALF_WIDTH_PIXEL))
