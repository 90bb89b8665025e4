"""Which pixels of a difference count how much in the detection, and the sky under them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    Exposure,
)

IGNORED = MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE
INTERPOLATED_VARIANCE = 4.0  # added to that of interpolated pixels, in its own units
MIN_BOX_SHARE = 0.05  # of the pixels of a box, for its mean to count
CHUNK_PIXEL = 64  # of a line, looked at together to see whether there is anything in it
LEVEL_SAMPLE = 300_000  # pixels that tell the typical variance


def grow_planes(mask: NDArray[np.uint32], planes: np.uint32, radius: int) -> NDArray[np.uint32]:
    """Copy a mask (ny, nx) with the footprints of some bits grown by a square of half-width ``radius``."""
    grown = mask.copy()
    _grow(mask, np.uint32(planes), radius, grown)
    return grown


@part
def _join(line):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """All bits of a line."""
    joined = np.uint32(0)
    for x in range(len(line)):
        joined = np.uint32(joined | line[x])
    return joined


@compiled
def find_bits(mask, wanted):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Rows and columns of the pixels that have any of some bits, in their order, shape (n, 2)."""
    ny, nx = mask.shape
    n, found = 0, np.empty((1024, 2), dtype=np.int64)
    for y in range(ny):
        for first in range(0, nx, CHUNK_PIXEL):
            chunk = mask[y, first : first + CHUNK_PIXEL]
            if not _join(chunk) & wanted:
                continue
            if n + CHUNK_PIXEL > len(found):
                found = enlarge(found)
            for x in range(len(chunk)):
                if chunk[x] & wanted:
                    found[n, 0], found[n, 1], n = y, first + x, n + 1
    return found[:n]


@part
def bits_around(mask, y, x):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Bits that all eight neighbours of a pixel have; none at the border of the frame."""
    ny, nx = mask.shape
    if not (0 < y < ny - 1 and 0 < x < nx - 1):
        return np.uint32(0)
    bits = mask[y - 1, x] & mask[y + 1, x] & mask[y, x - 1] & mask[y, x + 1]
    return bits & mask[y - 1, x - 1] & mask[y - 1, x + 1] & mask[y + 1, x - 1] & mask[y + 1, x + 1]


@compiled
def _grow(mask, wanted, radius, grown):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Set the wanted bits round their pixels; those within footprints have nothing to add."""
    ny, nx = mask.shape
    for y, x in find_bits(mask, wanted):
        bits = mask[y, x] & wanted & ~bits_around(mask, y, x)
        if bits == 0:
            continue
        for j in range(max(y - radius, 0), min(y + radius + 1, ny)):
            for i in range(max(x - radius, 0), min(x + radius + 1, nx)):
                grown[j, i] |= bits


def weigh_pixels(
    difference: Exposure,
    matched: Exposure | None = None,
    *,
    interpolated: tuple[NDArray[np.uint32], ...] = (),
    model_error: float = 0.0,
    shift_error_pixel: float = 0.0,
) -> tuple[NDArray[np.float32], float]:
    """Weigh the pixels of a difference by their variance, with what the matched template cannot know.

    Parameters
    ----------
    difference : Exposure, shape (ny, nx)
    matched : Exposure, optional
        The template that was subtracted.
    interpolated : tuple of uint32 ndarray, shape (ny, nx)
        Masks whose interpolated pixels (``INTRP``) have next to no weight: they repeat their neighbours.
    model_error : float
        Fraction of the matched template that is added to the error.
    shift_error_pixel : float
        Times the gradient of the matched template, it is added too [pixel].

    Returns
    -------
    weight : float32 ndarray, shape (ny, nx)
        ``level`` over the variance; 0 for pixels that cannot be used.
    level : float
        Typical variance [unit**2]: weights are of order 1, which fluxes in nJy squared would not be.
    """
    level = _typical_variance(difference)
    weight = np.empty(difference.shape, dtype=np.float32)
    template = np.zeros(difference.shape, dtype=np.float32) if matched is None else matched.image
    masks = (difference.mask, *(interpolated or (difference.mask & ~MASK_INTRP,)))
    errors = (np.float32(model_error), np.float32(shift_error_pixel), np.float32(level))
    _weigh((difference.image, difference.variance), template, (masks[0], masks[1], masks[-1]), errors, weight)
    return weight, level


def _typical_variance(difference: Exposure) -> float:
    """Median variance of usable pixels, from a sample; 1 if there is none."""
    step = max(1, int(np.sqrt(difference.image.size / LEVEL_SAMPLE)))
    for every in (step, 1):
        thin = np.s_[::every, ::every]
        image, variance = difference.image[thin], difference.variance[thin]
        usable = ((difference.mask[thin] & IGNORED) == 0) & np.isfinite(image)
        usable &= np.isfinite(variance) & (variance > 0)
        if usable.any():
            return float(np.median(variance[usable]))
    return 1.0


@compiled
def _weigh(planes, template, masks, errors, weight):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the weights; the gradient of the template is that of `numpy.gradient`, with 0 for NaN."""
    image, variance = planes
    ny, nx = image.shape
    mask, first, second = masks
    model, shift, level = errors
    zero, half = np.float32(0.0), np.float32(0.5)
    lines = np.zeros((3, nx), dtype=np.float32)
    _clean(template[0], lines[0])
    for y in range(ny):
        below, above = max(y - 1, 0), min(y + 1, ny - 1)
        if y + 1 < ny:
            _clean(template[y + 1], lines[(y + 1) % 3])
        down, line, up, out = lines[below % 3], lines[y % 3], lines[above % 3], weight[y]
        scale = shift * half if above - below == 2 else shift
        for x in range(nx):
            extra = model * max(line[x], zero)
            slope = scale * (up[x] - down[x])
            out[x] = extra * extra + slope * slope
        slope_x = shift * half
        for x in range(1, nx - 1):
            slope = slope_x * (line[x + 1] - line[x - 1])
            out[x] += slope * slope
        if nx > 1:
            first_slope, last_slope = shift * (line[1] - line[0]), shift * (line[nx - 1] - line[nx - 2])
            out[0] += first_slope * first_slope
            out[nx - 1] += last_slope * last_slope
        _invert(image[y], variance[y], (mask[y], first[y], second[y]), level, out)


@part
def _clean(line, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Copy a line with 0 for what is not finite."""
    for x in range(len(line)):
        out[x] = line[x] if np.isfinite(line[x]) else np.float32(0.0)


@part(error_model="numpy")
def _invert(image, variance, masks, level, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Turn the extra variance of one line into weights."""
    mask, first, second = masks
    zero, repeated = np.float32(0.0), np.float32(INTERPOLATED_VARIANCE)
    for x in range(len(image)):
        bits = mask[x]
        bad = (bits & IGNORED) | ((bits & MASK_CR) if not bits & MASK_INTRP else np.uint32(0))
        good = bad == 0 and np.isfinite(image[x]) and np.isfinite(variance[x]) and variance[x] > zero
        total = variance[x] + out[x]
        if (first[x] | second[x]) & MASK_INTRP:
            total += repeated * variance[x]
        out[x] = level / total if good else zero


def exclude_sources(
    snr: NDArray[np.float32], weight: NDArray[np.float32], threshold: float, radius: int
) -> NDArray[np.bool_]:
    """Pixels that must not count in a mean of the sky, shape (ny, nx).

    They are without weight, or no farther along x and y than ``radius`` [pixel] from an absolute signal to
    noise above the threshold.
    """
    excluded = np.empty(snr.shape, dtype=np.bool_)
    _mark_without_weight(weight, excluded)
    _exclude(find_above(snr, np.float32(threshold)), radius, excluded)
    return excluded


@part(fastmath={"nsz", "reassoc"})
def _largest(line):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Largest absolute value of a line; NaN is passed over."""
    largest = np.float32(0.0)
    for x in range(len(line)):
        value = abs(line[x])
        largest = value if value > largest else largest
    return largest


@part
def enlarge(rows):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Make room for twice as many rows of two numbers."""
    larger = np.empty((2 * len(rows), 2), dtype=np.int64)
    for k in range(len(rows)):
        larger[k, 0], larger[k, 1] = rows[k, 0], rows[k, 1]
    return larger


@compiled
def find_above(snr, threshold):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Rows and columns of pixels whose absolute value reaches a threshold, in their order, shape (n, 2)."""
    ny, nx = snr.shape
    n, found = 0, np.empty((1024, 2), dtype=np.int64)
    for y in range(ny):
        for first in range(0, nx, CHUNK_PIXEL):
            chunk = snr[y, first : first + CHUNK_PIXEL]
            if not _largest(chunk) >= threshold:
                continue
            if n + CHUNK_PIXEL > len(found):
                found = enlarge(found)
            for x in range(len(chunk)):
                if abs(chunk[x]) >= threshold:
                    found[n, 0], found[n, 1], n = y, first + x, n + 1
    return found[:n]


@compiled
def _mark_without_weight(weight, excluded):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill the map with the pixels that have no weight."""
    ny, nx = weight.shape
    for y in range(ny):
        line, out = weight[y], excluded[y]
        for x in range(nx):
            out[x] = line[x] == np.float32(0.0)


@compiled
def _exclude(sources, radius, excluded):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add squares round the pixels of sources."""
    for y, x in sources:
        excluded[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = True


def subtract_box_mean(
    image: NDArray[np.float32], excluded: NDArray[np.bool_], side: int
) -> NDArray[np.float32]:
    """Subtract from every pixel the mean of the pixels that count in a box round it.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        May be NaN where excluded.
    excluded : bool ndarray, shape (ny, nx)
        Pixels that do not count.
    side : int
        Side of the box, odd [pixel]; what lies beyond the frame does not count.

    Returns
    -------
    flat : float32 ndarray, shape (ny, nx)
        Unchanged where less than 5 % of the box counts.
    """
    flat = np.empty(image.shape, dtype=np.float32)
    _subtract_box_mean(image, excluded, side // 2, flat)
    return flat


@compiled(error_model="numpy")
def _subtract_box_mean(image, excluded, half, flat):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Keep the sums of the columns of the box from line to line, and sum them up along each line."""
    ny, nx = image.shape
    sums, counts = np.zeros(nx), np.zeros(nx)
    # Padded, so that boxes beyond the frame need no case of their own.
    total, number = np.zeros(nx + 2 * half + 1), np.zeros(nx + 2 * half + 1)
    least = MIN_BOX_SHARE * (2 * half + 1) ** 2
    for y in range(min(half, ny)):
        _add_line(image[y], excluded[y], 1.0, sums, counts)
    for y in range(ny):
        if y + half < ny:
            _add_line(image[y + half], excluded[y + half], 1.0, sums, counts)
        if y - half - 1 >= 0:
            _add_line(image[y - half - 1], excluded[y - half - 1], -1.0, sums, counts)
        sum_so_far, count_so_far = 0.0, 0.0
        for x in range(nx):
            sum_so_far, count_so_far = sum_so_far + sums[x], count_so_far + counts[x]
            total[x + half + 1], number[x + half + 1] = sum_so_far, count_so_far
        total[nx + half + 1 :], number[nx + half + 1 :] = sum_so_far, count_so_far
        out, line = flat[y], image[y]
        for x in range(nx):
            count = number[x + 2 * half + 1] - number[x]
            mean = (total[x + 2 * half + 1] - total[x]) / max(count, 1.0)
            out[x] = line[x] - np.float32(mean if count > least else 0.0)


@part
def _add_line(image, excluded, sign, sums, counts):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add a line to the sums of the columns, or take it off."""
    for x in range(len(image)):
        counts[x] += 0.0 if excluded[x] else sign
        sums[x] += 0.0 if excluded[x] else sign * image[x]
