"""Signal to noise of a point source at every pixel: a matched filter whose PSF changes from tile to tile.

The stamp of each tile is a sum of few products of a column and a row, so that a pixel costs tens of
multiplications and no Fourier transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part
from astra.images.psf import Psf

TILE_PIXEL = 256  # a tile and its margin fit in the cache; PSFs change little over it
HALF_WIDTH_PER_FWHM = 2.0
SQUARE_HALF_WIDTH_PER_FWHM = 1.25
RANK_TOLERANCE = 0.01  # of the norm of a stamp; what is left out costs half its square in signal to noise
MIN_PSF_WEIGHT = 0.5  # share of the PSF's weight that must fall on good pixels

StampStack = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class TileFilters:
    """PSFs of the tiles of a frame and their squares, as sums of products.

    Parameters
    ----------
    stamp : pair of float32 ndarray, shape (n_tiles, rank, size)
        Columns and rows whose products add up to the PSF; the first product is the largest. Tiles follow each
        other along x, then y.
    square : pair of float32 ndarray, shape (n_tiles, rank, size)
        The same of the square of that sum, of smaller size and scaled to the full sum.
    """

    stamp: StampStack
    square: StampStack


def split_stamps(stamps: NDArray[np.float64]) -> StampStack:
    """Write stamps (n, size, size) as sums of products of columns and rows (n, rank, size)."""
    left, values, right = np.linalg.svd(stamps)
    power = np.cumsum(values[:, ::-1] ** 2, axis=1)[:, ::-1]  # of this and all smaller terms
    needed = power > RANK_TOLERANCE**2 * power[:, :1]
    rank = max(int(needed.sum(axis=1).max()), 1)
    columns = np.swapaxes(left[:, :, :rank], 1, 2) * values[:, :rank, None]
    return np.ascontiguousarray(columns, dtype=np.float32), np.ascontiguousarray(right[:, :rank], np.float32)


def make_tile_filters(psf: Psf, shape: tuple[int, int]) -> TileFilters:
    """Take the PSF at the middle of each tile of a frame (ny, nx) [pixel]."""
    ny, nx = shape
    fwhm = psf.fwhm_pixel((nx - 1) / 2, (ny - 1) / 2)
    stamps = np.array(
        [
            psf.stamp((x + min(x + TILE_PIXEL, nx) - 1) / 2, (y + min(y + TILE_PIXEL, ny) - 1) / 2)
            for y in range(0, ny, TILE_PIXEL)
            for x in range(0, nx, TILE_PIXEL)
        ]
    )
    columns, rows = split_stamps(_crop(stamps, HALF_WIDTH_PER_FWHM * fwhm))
    squares = np.einsum("nki,nkj->nij", columns, rows, dtype=np.float64) ** 2
    inner = _crop(squares, SQUARE_HALF_WIDTH_PER_FWHM * fwhm)
    square_columns, square_rows = split_stamps(inner)
    # Where the variance is constant the noise must come out exactly, whatever is left out of the square.
    sums = np.sum(square_columns.sum(axis=2) * square_rows.sum(axis=2), axis=1)
    square_columns *= (squares.sum(axis=(1, 2)) / sums)[:, None, None].astype(np.float32)
    return TileFilters((columns, rows), (square_columns, square_rows))


def _crop(stamps: NDArray[np.float64], half_width: float) -> NDArray[np.float64]:
    """Cut the middle out of stamps (n, size, size), at most that half-width and half a tile [pixel]."""
    middle = stamps.shape[1] // 2
    half = min(int(np.ceil(half_width)), middle, TILE_PIXEL // 2)
    return stamps[:, middle - half : middle + half + 1, middle - half : middle + half + 1]


@dataclass(frozen=True)
class MatchedFilter:
    """A detection filter, ready for several images of one variance.

    Parameters
    ----------
    weight : float32 ndarray, shape (ny, nx)
        Inverse variance in units of ``1 / level``; 0 for unusable pixels.
    level : float
        Typical variance [unit**2].
    filters : TileFilters
        PSF of the images.
    """

    weight: NDArray[np.float32]
    level: float
    filters: TileFilters

    def snr(self, image: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Find the signal to noise of a point source centred on every pixel.

        Parameters
        ----------
        image : ndarray, shape (ny, nx)
            May be NaN where the weight is zero.
        out : float32 ndarray, shape (ny, nx), optional
            Filled and returned.

        Returns
        -------
        snr : float32 ndarray, shape (ny, nx)
            Sum(P I w) / sqrt(sum(P**2 w)); 0 on unusable pixels and where less than half of the PSF falls on
            usable ones.
        """
        out = np.empty(image.shape, dtype=np.float32) if out is None else out
        _filter(image, self.weight, np.float32(self.level), (*self.filters.stamp, *self.filters.square), out)
        return out

    def quick_snr(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Find nearly the same at a fraction of the cost, with one product for the PSF, on usable pixels.

        The variance is that of the central pixel. It is meant to find sources that must be left out.
        """
        out = np.empty(image.shape, dtype=np.float32)
        first = tuple(np.ascontiguousarray(terms[:, :1]) for terms in self.filters.stamp)
        _filter_quickly(image, self.weight, np.float32(self.level), first, out)
        return out


@part(fastmath={"contract"})
def _add_lines(lines, place, weights, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add to ``out`` the weighted sum of lines, from a row and a column on; four at a time, sparing loads."""
    n, whole = len(out), len(weights) // 4 * 4
    first, left = place
    for k in range(0, whole, 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        p, q = lines[first + k][left : left + n], lines[first + k + 1][left : left + n]
        r, s = lines[first + k + 2][left : left + n], lines[first + k + 3][left : left + n]
        for x in range(n):
            out[x] += a * p[x] + b * q[x] + c * r[x] + d * s[x]
    for k in range(whole, len(weights)):
        a, p = weights[k], lines[first + k][left : left + n]
        for x in range(n):
            out[x] += a * p[x]


@part(fastmath={"contract"})
def _add_shifted(line, weights, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add to ``out`` the correlation of a line with the weights."""
    n, whole = len(out), len(weights) // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        p, q, r, s = (
            line[k : k + n],
            line[k + 1 : k + 1 + n],
            line[k + 2 : k + 2 + n],
            line[k + 3 : k + 3 + n],
        )
        for x in range(n):
            out[x] += a * p[x] + b * q[x] + c * r[x] + d * s[x]
    for k in range(whole, len(weights)):
        a, p = weights[k], line[k : k + n]
        for x in range(n):
            out[x] += a * p[x]


@part
def _correlate_line(lines, place, stamp, scratch, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Correlate with a sum of products, for one line of the output.

    ``place`` is the row and the column of ``lines`` where the margin of that line begins.
    """
    columns, rows = stamp
    line = scratch[: len(out) + columns.shape[1] - 1]
    out[:] = 0.0
    for k in range(len(columns)):
        line[:] = 0.0
        _add_lines(lines, place, columns[k], line)
        _add_shifted(line, rows[k], out)


@part(fastmath=True)
def _least(line):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Least number of a line without NaN; ``fastmath`` lets it take several at a time."""
    least = line[0]
    for x in range(1, len(line)):
        least = min(least, line[x])
    return least


@part
def _load(image, weight, bounds, weighted, weights):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy weight and weighted image of a tile with its margin; return whether all of it is usable."""
    ny, nx = image.shape
    half = (len(weights) - TILE_PIXEL) // 2
    y0, y1, x0, x1 = bounds
    clean = y0 >= half and x0 >= half and y1 + half <= ny and x1 + half <= nx
    left, right = max(x0 - half, 0), min(x1 + half, nx)
    shift = left - (x0 - half)
    weighted[:], weights[:] = 0.0, 0.0
    for y in range(max(y0 - half, 0), min(y1 + half, ny)):
        line, one, two = y - y0 + half, weight[y, left:right], image[y, left:right]
        to_weights, to_weighted = weights[line, shift:], weighted[line, shift:]
        clean = clean and _least(one) > 0.0
        for x in range(right - left):
            to_weights[x] = one[x]
            to_weighted[x] = one[x] * two[x] if one[x] > 0.0 else np.float32(0.0)
    return clean


@compiled
def _filter(image, weight, level, stamps, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Fill ``out`` with the signal to noise, tile by tile."""
    ny, nx = image.shape
    columns, rows, square_columns, square_rows = stamps
    half, inset = columns.shape[2] // 2, (columns.shape[2] - square_columns.shape[2]) // 2
    side = TILE_PIXEL + 2 * half
    weighted, weights = np.empty((side, side), np.float32), np.empty((side, side), np.float32)
    usable = np.empty((side, side), np.float32)
    scratch, power, seen = np.empty(side, np.float32), np.empty(side, np.float32), np.empty(side, np.float32)
    tile = -1
    for y0 in range(0, ny, TILE_PIXEL):
        for x0 in range(0, nx, TILE_PIXEL):
            tile += 1
            y1, x1 = min(y0 + TILE_PIXEL, ny), min(x0 + TILE_PIXEL, nx)
            clean, n = _load(image, weight, (y0, y1, x0, x1), weighted, weights), x1 - x0
            if not clean:
                _mark_positive(weights, usable)
            stamp, square = (columns[tile], rows[tile]), (square_columns[tile], square_rows[tile])
            one = (columns[tile, :1], rows[tile, :1])
            least = MIN_PSF_WEIGHT * _sum(one[0][0]) * _sum(one[1][0])
            for y in range(y0, y1):
                snr = out[y, x0:x1]
                _correlate_line(weighted, (y - y0, 0), stamp, scratch, snr)
                _correlate_line(weights, (y - y0 + inset, inset), square, scratch, power[:n])
                _divide(snr, power, level)
                if not clean:
                    _correlate_line(usable, (y - y0, 0), one, scratch, seen[:n])
                    _blank(snr, seen, least, usable[y - y0 + half, half:])


@part
def _mark_positive(weights, usable):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Set 1 where the weight is positive, else 0."""
    for y in range(weights.shape[0]):
        for x in range(weights.shape[1]):
            usable[y, x] = 1.0 if weights[y, x] > 0.0 else 0.0


@part
def _sum(numbers):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Sum of a line."""
    total = np.float32(0.0)
    for k in range(len(numbers)):
        total += numbers[k]
    return total


@part
def _sum_of_squares(numbers):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Sum of the squares of a line."""
    total = 0.0
    for k in range(len(numbers)):
        total += float(numbers[k]) * float(numbers[k])
    return total


@part(error_model="numpy")
def _divide(snr, power, level):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Divide sums of the weighted image by their noise."""
    floor = np.float32(1e-12)
    for x in range(len(snr)):
        snr[x] /= np.sqrt(max(power[x], floor) * level)


@part(error_model="numpy")
def _divide_by_centre(snr, weight, norm):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Divide sums of the weighted image by their noise, if all pixels were as the central one."""
    for x in range(len(snr)):
        snr[x] = snr[x] / (norm * np.sqrt(weight[x])) if weight[x] > 0.0 else np.float32(0.0)


@part
def _blank(snr, seen, least, usable):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Set zero where too little of the PSF is seen, or the pixel itself cannot be used."""
    for x in range(len(snr)):
        if not seen[x] > least or usable[x] == 0.0:
            snr[x] = 0.0


@compiled
def _filter_quickly(image, weight, level, stamps, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill ``out`` by one product a tile, with the variance of the central pixel."""
    ny, nx = image.shape
    columns, rows = stamps
    half = columns.shape[2] // 2
    side = TILE_PIXEL + 2 * half
    weighted, weights = np.empty((side, side), np.float32), np.empty((side, side), np.float32)
    scratch = np.empty(side, np.float32)
    tile = -1
    for y0 in range(0, ny, TILE_PIXEL):
        for x0 in range(0, nx, TILE_PIXEL):
            tile += 1
            y1, x1 = min(y0 + TILE_PIXEL, ny), min(x0 + TILE_PIXEL, nx)
            _load(image, weight, (y0, y1, x0, x1), weighted, weights)
            stamp = (columns[tile], rows[tile])
            norm = np.sqrt(level) * np.sqrt(_sum_of_squares(stamp[0][0]) * _sum_of_squares(stamp[1][0]))
            for y in range(y0, y1):
                snr = out[y, x0:x1]
                _correlate_line(weighted, (y - y0, 0), stamp, scratch, snr)
                _divide_by_centre(snr, weight[y, x0:x1], norm)


@compiled
def correlate_stamp(image, unusable, columns, rows):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Correlate an image (ny, nx) with one stamp, the sum of the products of ``columns`` and ``rows``.

    What is unusable, or beyond the border, is 0. Tile by tile, so that a pixel stays in the cache.
    """
    ny, nx = image.shape
    half = columns.shape[1] // 2
    side = TILE_PIXEL + 2 * half
    lines, scratch = np.empty((side, side), np.float32), np.empty(side, np.float32)
    out = np.empty((ny, nx), np.float32)
    for y0 in range(0, ny, TILE_PIXEL):
        for x0 in range(0, nx, TILE_PIXEL):
            y1, x1 = min(y0 + TILE_PIXEL, ny), min(x0 + TILE_PIXEL, nx)
            left, right = max(x0 - half, 0), min(x1 + half, nx)
            lines[:] = 0.0
            for y in range(max(y0 - half, 0), min(y1 + half, ny)):
                line, values = lines[y - y0 + half, left - x0 + half :], image[y, left:right]
                lost = unusable[y, left:right]
                for x in range(right - left):
                    line[x] = np.float32(0.0) if lost[x] else values[x]
            for y in range(y0, y1):
                _correlate_line(lines, (y - y0, 0), (columns, rows), scratch, out[y, x0:x1])
    return out
