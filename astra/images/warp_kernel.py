"""The pixel loops of a warp: the coefficients of a cubic B-spline and its values at mapped places.

Both go through the image once, in rows, in single precision: its rounding is 1e-6 of the pixels nearby.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.exposure import MASK_CR, MASK_INTRP

POLE = np.sqrt(3.0) - 2.0  # of the recursive filter (Unser, Aldroubi & Eden 1993, IEEE Trans. SP 41, 821)
TAIL = 14  # pixels after which the filter has forgotten all but 1e-8
BAND_ROWS = 48  # are filtered together: with the rows of the tail they fit into the cache of a core
BLOCK_SEGMENTS = 16  # between nodes, that are done row by row before the next
ROUNDING = 0.01  # of a place in single precision, and more [pixel]
REPAIRED = MASK_CR | MASK_INTRP  # pixels that hold a guess, as good as their neighbours
MIN_REPAIRED = 0.375  # of the bilinear weight: one such pixel becomes one on average, and not four


def spline_coefficients(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coefficients of the cubic B-spline through the pixels of an image, mirrored at its borders.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Finite.

    Returns
    -------
    coefficients : float32 ndarray, shape (ny, nx)
    """
    coefficients = np.empty_like(image)
    filter_image(np.ascontiguousarray(image), coefficients)
    return coefficients


@compiled
def blank_missing(planes, no_data, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy image, variance and mask, with 0 and a bit where image or variance are not finite."""
    limit = np.float32(np.inf)
    for y in range(planes[0].shape[0]):
        for x in range(planes[0].shape[1]):
            good = abs(planes[0][y, x]) < limit and abs(planes[1][y, x]) < limit
            out[0][y, x] = planes[0][y, x] if good else np.float32(0)
            out[1][y, x] = planes[1][y, x] if good else np.float32(0)
            out[2][y, x] = planes[2][y, x] | (np.uint32(0) if good else no_data)
    return out


@part
def _mirrored(k, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Index of pixel k >= 0 of a line of n pixels that is mirrored at its ends."""
    if n == 1:
        return 0
    k %= 2 * n - 2
    return k if k < n else 2 * n - 2 - k


@part(fastmath=True)
def _first_row(image, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """State of the causal filter at the first row."""
    ny, nx = image.shape
    factor = np.float32(6.0)
    for x in range(nx):
        out[x] = 0
    for k in range(TAIL):
        row = _mirrored(k, ny)
        for x in range(nx):
            out[x] += factor * image[row, x]
        factor *= np.float32(POLE)


@part(fastmath=True)
def _filter_line(line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Filter a line in place, along itself."""
    n = len(line)
    if n == 1:
        return
    pole, six = np.float32(POLE), np.float32(6.0)
    state, factor = np.float32(0.0), six
    for k in range(TAIL):
        state += factor * line[_mirrored(k, n)]
        factor *= pole
    line[0] = state
    for x in range(1, n):
        state = six * line[x] + pole * state
        line[x] = state
    state = pole / (pole * pole - np.float32(1.0)) * (line[n - 1] + pole * line[n - 2])
    line[n - 1] = state
    for x in range(n - 2, -1, -1):
        state = pole * (state - line[x])
        line[x] = state


@part(fastmath=True)
def _filter_down(image, first, known, stop, causal):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Run the filter downwards from row ``first + known`` to ``stop``; ``causal`` begins at row ``first``."""
    pole, six = np.float32(POLE), np.float32(6.0)
    for row in range(first + known, stop):
        here = row - first
        if row == 0:
            _first_row(image, causal[0])
            continue
        for x in range(image.shape[1]):
            causal[here, x] = six * image[row, x] + pole * causal[here - 1, x]


@part(fastmath=True)
def _filter_up(causal, n_rows, n_done, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Run the filter upwards over ``n_rows``, and along each of the first ``n_done``, the result."""
    pole = np.float32(POLE)
    last = pole / (pole * pole - np.float32(1.0))
    # What is assumed below the tail is forgotten where the band begins; at the border it is the mirror image.
    state = np.empty(causal.shape[1], dtype=np.float32)
    for x in range(len(state)):
        state[x] = last * (causal[n_rows - 1, x] + pole * causal[n_rows - 2, x])
    for here in range(n_rows - 1, -1, -1):
        if here < n_rows - 1:
            for x in range(len(state)):
                state[x] = pole * (state[x] - causal[here, x])
        if here < n_done:
            for x in range(len(state)):
                out[here, x] = state[x]
            _filter_line(out[here])


@compiled
def filter_image(image, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill ``out`` with the coefficients of an image, band by band."""
    ny, nx = image.shape
    if ny == 1:
        for x in range(nx):
            out[0, x] = image[0, x]
        _filter_line(out[0])
        return
    causal = np.empty((BAND_ROWS + TAIL, nx), dtype=np.float32)
    known = 0
    for first in range(0, ny, BAND_ROWS):
        stop = min(first + BAND_ROWS + TAIL, ny)
        _filter_down(image, first, known, stop, causal)
        _filter_up(causal, stop - first, BAND_ROWS if stop < ny else stop - first, out[first:])
        if stop == ny:
            return
        known = TAIL
        for row in range(known):
            for x in range(nx):
                causal[row, x] = causal[BAND_ROWS + row, x]


@part
def cubic_weights(f):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Weights of the four cubic B-splines that a point sees, at f pixels beyond the second of them."""
    one, half, sixth = np.float32(1.0), np.float32(0.5), np.float32(1.0 / 6.0)
    two_thirds, g = np.float32(2.0 / 3.0), one - f
    return (
        g * g * g * sixth,
        two_thirds - f * f * (one - half * f),
        two_thirds - g * g * (one - half * g),
        f * f * f * sixth,
    )


@part
def border_value(coefficients, x, y):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Value of a spline near the border of an image, mirrored there as the filter is."""
    ny, nx = coefficients.shape
    ix, iy = int(np.floor(x)), int(np.floor(y))
    weights_x, weights_y = cubic_weights(np.float32(x - ix)), cubic_weights(np.float32(y - iy))
    total = np.float32(0.0)
    for b in range(4):
        row = _mirrored(abs(iy - 1 + b), ny)
        for a in range(4):
            total += weights_y[b] * weights_x[a] * coefficients[row, _mirrored(abs(ix - 1 + a), nx)]
    return total


@part
def without_repaired(bits, four, fx, fy):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mask bits of a place between four pixels, without those of repair if it holds too little of such."""
    share = 0.0
    if four[0] & REPAIRED:
        share += (1.0 - fx) * (1.0 - fy)
    if four[1] & REPAIRED:
        share += fx * (1.0 - fy)
    if four[2] & REPAIRED:
        share += (1.0 - fx) * fy
    if four[3] & REPAIRED:
        share += fx * fy
    return bits if share >= MIN_REPAIRED else bits & ~REPAIRED


@compiled
def resample(planes, grids, step, no_data, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Evaluate a cubic spline, a bilinear variance and an OR of the mask at mapped positions.

    Repaired pixels do not count in the mask where they have little weight.

    ``planes`` are the spline's coefficients, variance and mask of the input, contiguous, ``grids`` the node
    positions x, y and Jacobian, shape (3, n_y, n_x); ``out`` is image, variance and mask, shape (ny, nx).
    """
    ny, nx = out[0].shape
    ny_in, nx_in = planes[0].shape
    n_in, n_out = ny_in * nx_in, ny * nx
    flat = planes[0].reshape(n_in), planes[1].reshape(n_in), planes[2].reshape(n_in)
    flat_out = out[0].reshape(n_out), out[1].reshape(n_out), out[2].reshape(n_out)
    fractions, corner = np.empty((4, step), dtype=np.float32), np.empty(step, dtype=np.int64)
    begin, end = np.empty(3), np.empty(3)
    # In blocks: a whole row of a turned image would run out of the cache.
    n_segments = -(-nx // step)
    for j in range(-(-ny // step)):
        for block in range(0, n_segments, BLOCK_SEGMENTS):
            for row in range(j * step, min((j + 1) * step, ny)):
                t = row / step - j
                for i in range(block, min(block + BLOCK_SEGMENTS, n_segments)):
                    first, stop = i * step, min((i + 1) * step, nx)
                    for k in range(3):
                        begin[k] = grids[k, j, i] + t * (grids[k, j + 1, i] - grids[k, j, i])
                        end[k] = grids[k, j, i + 1] + t * (grids[k, j + 1, i + 1] - grids[k, j, i + 1])
                    n_pixels, target = stop - first, row * nx + first
                    if is_inside(begin, nx_in, ny_in) and is_inside(end, nx_in, ny_in):
                        locate(begin, end, step, nx_in, fractions, corner)
                        area = begin[2], (end[2] - begin[2]) / step
                        resample_inside(
                            flat, nx_in, fractions, corner, area, no_data, flat_out, target, n_pixels
                        )
                    else:
                        resample_border(planes, begin, end, step, no_data, flat_out, target, n_pixels)


@part
def is_inside(place, nx, ny):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tell whether a spline at a place x, y needs no pixel beyond the border; not so if it is NaN."""
    low, high = 1.0 + ROUNDING, 2.0 + ROUNDING
    return low <= place[0] < nx - high and low <= place[1] < ny - high


@part(fastmath={"contract", "reassoc", "nsz"})
def locate(begin, end, step, nx, fractions, corner):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Find the fractions of a pixel, and the first of 4 x 4 coefficients, of a row of places.

    Rows of ``fractions``: of x, of y, and the whole pixels of both from the first place. The loops are apart
    so that the compiler may do them several places at a time.
    """
    # Whole pixels apart, so that the rest has digits enough.
    x0, y0 = np.floor(begin[0]), np.floor(begin[1])
    x, y = np.float32(begin[0] - x0), np.float32(begin[1] - y0)
    dx, dy = np.float32((end[0] - begin[0]) / step), np.float32((end[1] - begin[1]) / step)
    origin = (int(y0) - 1) * nx + int(x0) - 1
    for k in range(step):
        place = x + np.float32(k) * dx
        whole = np.floor(place)
        fractions[0, k], fractions[2, k] = place - whole, whole
    for k in range(step):
        place = y + np.float32(k) * dy
        whole = np.floor(place)
        fractions[1, k], fractions[3, k] = place - whole, whole
    for k in range(step):
        corner[k] = origin + np.int64(fractions[3, k]) * nx + np.int64(fractions[2, k])


@part(fastmath={"contract", "reassoc", "nsz"})
def resample_inside(flat, nx, fractions, corner, area, no_data, out, first, n_pixels):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Resample the pixels between two nodes whose splines need no pixel beyond the border."""
    coefficients, variance, mask = flat
    nan = np.float32(np.nan)
    one, two, three, stride = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(nx)
    jacobian, slope = np.float32(area[0]), np.float32(area[1])
    first = np.uintp(first)
    for k in range(n_pixels):
        p = np.uintp(corner[k])
        q, r, s = p + stride, p + two * stride, p + three * stride
        fx, fy = fractions[0, k], fractions[1, k]
        w0, w1, w2, w3 = cubic_weights(fx)
        v0, v1, v2, v3 = cubic_weights(fy)
        value = w0 * (
            v0 * coefficients[p] + v1 * coefficients[q] + v2 * coefficients[r] + v3 * coefficients[s]
        )
        for m, w in ((one, w1), (two, w2), (three, w3)):
            value += w * (
                v0 * coefficients[p + m]
                + v1 * coefficients[q + m]
                + v2 * coefficients[r + m]
                + v3 * coefficients[s + m]
            )
        a, c = q + one, r + one
        bits = mask[a] | mask[a + one] | mask[c] | mask[c + one]
        if (bits & REPAIRED) != 0:
            bits = without_repaired(bits, (mask[a], mask[a + one], mask[c], mask[c + one]), fx, fy)
        low = variance[a] + fx * (variance[a + one] - variance[a])
        high = variance[c] + fx * (variance[c + one] - variance[c])
        factor = jacobian + np.float32(k) * slope
        empty = (bits & no_data) != 0
        out[0][first + np.uintp(k)] = nan if empty else value * factor
        out[1][first + np.uintp(k)] = nan if empty else (low + fy * (high - low)) * factor
        out[2][first + np.uintp(k)] = bits


@part
def resample_border(planes, begin, end, step, no_data, out, first, n_pixels):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Resample the pixels between two nodes of which some are near the border of the input, or beyond."""
    coefficients, variance, mask = planes
    ny, nx = coefficients.shape
    for k in range(n_pixels):
        s = k / step
        x, y = begin[0] + s * (end[0] - begin[0]), begin[1] + s * (end[1] - begin[1])
        out[0][first + k], out[1][first + k], out[2][first + k] = np.nan, np.nan, no_data
        if not (x >= -0.5 and y >= -0.5 and x < nx - 0.5 and y < ny - 0.5):
            continue
        ix, iy = int(np.floor(x)), int(np.floor(y))
        left, right = max(ix, 0), min(ix + 1, nx - 1)
        low, high = max(iy, 0), min(iy + 1, ny - 1)
        fx, fy = x - ix, y - iy
        four = mask[low, left], mask[low, right], mask[high, left], mask[high, right]
        bits = without_repaired(four[0] | four[1] | four[2] | four[3], four, fx, fy)
        out[2][first + k] = bits
        if (bits & no_data) != 0:
            continue
        jacobian = begin[2] + s * (end[2] - begin[2])
        power = (1.0 - fy) * ((1.0 - fx) * variance[low, left] + fx * variance[low, right])
        power += fy * ((1.0 - fx) * variance[high, left] + fx * variance[high, right])
        out[0][first + k] = border_value(coefficients, x, y) * jacobian
        out[1][first + k] = power * jacobian
