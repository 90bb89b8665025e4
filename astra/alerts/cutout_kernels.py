"""Compiled loops that write stamps: pixels of all planes, big-endian, straight into packets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astra.compiled import part

BLOCK = 2880  # bytes of which a FITS file has a whole number


class Planes(NamedTuple):
    """The planes that stamps are cut from.

    Parameters
    ----------
    image, variance : float32 ndarray, shape (ny, nx)
        Pixels.
    mask : uint32 ndarray, shape (ny, nx)
        Bits.
    scale, scale_squared : float32
        What image and variance are multiplied with.
    no_data : uint32
        Mask bit of a pixel beyond the edge.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint32]
    scale: np.float32
    scale_squared: np.float32
    no_data: np.uint32


class PsfTerms(NamedTuple):
    """Point-spread functions of stamps: sums of terms, divided by their total.

    Parameters
    ----------
    design : float64 ndarray, shape (n, n_terms)
        Factor of each term for each stamp.
    terms : float64 ndarray, shape (n_terms, n_pixels)
        Stamps of the terms; no pixels if there is no PSF.
    sums : float64 ndarray, shape (n_terms,)
        Their totals.
    """

    design: NDArray[np.float64]
    terms: NDArray[np.float64]
    sums: NDArray[np.float64]


class Headers(NamedTuple):
    """Headers of stamps, whole blocks.

    Parameters
    ----------
    primary : uint8 ndarray, shape (n, size)
        Of the image, one for each stamp.
    mask, variance : uint8 ndarray, shape (n_sides, size)
        Of these planes, for each side that occurs.
    psf : uint8 ndarray, shape (size,)
        Of the PSF; empty without one.
    side_number : int64 ndarray, shape (n,)
        Which of the sides each stamp has.
    """

    primary: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    variance: NDArray[np.uint8]
    psf: NDArray[np.uint8]
    side_number: NDArray[np.int64]


class Stamps(NamedTuple):
    """What stamps are made of.

    Parameters
    ----------
    corner : int64 ndarray, shape (n, 2)
        First row and column [pixel], which may be beyond the edge.
    side : int64 ndarray, shape (n,)
        Side [pixel].
    planes : Planes
        Where from.
    psf : PsfTerms
        Point-spread functions.
    headers : Headers
        Headers.
    """

    corner: NDArray[np.int64]
    side: NDArray[np.int64]
    planes: Planes
    psf: PsfTerms
    headers: Headers


@njit(cache=True, nogil=True)
def find_data(
    corner: NDArray[np.int64], side: NDArray[np.int64], planes: Planes, found: NDArray[np.bool_]
) -> None:
    """Tell which stamps have a pixel with data: on the image, a number, and not flagged as none."""
    ny, nx = planes.image.shape
    for i in range(len(side)):
        found[i] = False
        for y in range(max(corner[i, 0], 0), min(corner[i, 0] + side[i], ny)):
            for x in range(max(corner[i, 1], 0), min(corner[i, 1] + side[i], nx)):
                if not planes.mask[y, x] & planes.no_data and not np.isnan(planes.image[y, x]):
                    found[i] = True
                    break
            if found[i]:
                break


@njit(cache=True, nogil=True)
def write_stamps(out: NDArray[np.uint8], position: NDArray[np.int64], stamps: Stamps) -> None:
    """Write stamps as FITS files.

    Parameters
    ----------
    out : uint8 ndarray
        Where to.
    position : int64 ndarray, shape (n,)
        Where each stamp begins; a negative one is left out.
    stamps : Stamps
        What is in them.
    """
    headers, planes, n_pixels = stamps.headers, stamps.planes, stamps.psf.terms.shape[1]
    work, narrow = np.empty(n_pixels), np.empty(n_pixels, np.float32)
    touched = np.empty(1, np.float32)
    for i in range(len(position)):
        if position[i] < 0:
            continue
        square = (stamps.corner[i, 0], stamps.corner[i, 1], stamps.side[i])
        touched[0] = _touch(planes, square)
        at, shape = _put(out, position[i], headers.primary[i]), headers.side_number[i]
        at = _put_pixels(out, at, square, planes.image, planes.scale)
        at = _put(out, at, headers.mask[shape])
        at = _put_bits(out, at, square, planes.mask, planes.no_data)
        at = _put(out, at, headers.variance[shape])
        at = _put_pixels(out, at, square, planes.variance, planes.scale_squared)
        if len(headers.psf):
            at = _put(out, at, headers.psf)
            _add_terms(stamps.psf, i, work, narrow)
            _pad(out, _put_big_endian(out, at, narrow.view(np.uint32)), len(narrow) * 4)


@njit(cache=True, nogil=True)
def add_psf_terms(psf: PsfTerms) -> Any:
    """Return the point-spread functions, float32, shape (n, n_pixels)."""
    stamps = np.empty((psf.design.shape[0], psf.terms.shape[1]), np.float32)
    work = np.empty(psf.terms.shape[1])
    for i in range(len(stamps)):
        _add_terms(psf, i, work, stamps[i])
    return stamps


@part
def _add_terms(psf: PsfTerms, i: int, work: NDArray[np.float64], stamp: NDArray[np.float32]) -> None:
    work[:] = 0.0
    total = 0.0
    for term in range(psf.terms.shape[0]):
        factor = psf.design[i, term]
        if factor != 0.0:  # an input of a coadd that does not contribute here
            for pixel in range(len(work)):
                work[pixel] += factor * psf.terms[term, pixel]
            total += factor * psf.sums[term]
    factor = 1.0 / total
    for pixel in range(len(work)):
        stamp[pixel] = np.float32(work[pixel] * factor)


@part
def _touch(planes: Planes, square: tuple[int, int, int]) -> Any:
    """Read both ends of every row, so that the memory behind them is on its way, all rows at once."""
    y0, x0, side = square
    ny, nx = planes.image.shape
    low, high = min(max(x0, 0), nx - 1), min(max(x0 + side - 1, 0), nx - 1)
    total = np.float32(0.0)
    for y in range(max(y0, 0), min(y0 + side, ny)):
        total += planes.image[y, low] + planes.variance[y, low] + np.float32(planes.mask[y, low])
        total += planes.image[y, high] + planes.variance[y, high] + np.float32(planes.mask[y, high])
    return total


@part
def _put(out: NDArray[np.uint8], at: int, content: NDArray[np.uint8]) -> Any:
    target = out[at : at + len(content)]
    for i in range(len(content)):  # many times as fast as an assignment to the slice
        target[i] = content[i]
    return at + len(content)


@part
def _put_pixels(
    out: NDArray[np.uint8], at: int, square: tuple[int, int, int], plane: NDArray[np.float32], scale: Any
) -> Any:
    """Write a square (row, column, side) of a plane of numbers, NaN beyond the edge."""
    y0, x0, side = square
    line, begin = np.empty(side, np.float32), at
    bits = line.view(np.uint32)
    low, high = min(max(-x0, 0), side), max(min(side, plane.shape[1] - x0), 0)
    for y in range(y0, y0 + side):
        line[:] = np.float32(np.nan)
        if 0 <= y < plane.shape[0]:
            for column in range(low, high):
                line[column] = plane[y, x0 + column] * scale
        at = _put_big_endian(out, at, bits)
    return _pad(out, at, at - begin)


@part
def _put_bits(
    out: NDArray[np.uint8], at: int, square: tuple[int, int, int], mask: NDArray[np.uint32], no_data: Any
) -> Any:
    """Write a square (row, column, side) of the mask."""
    y0, x0, side = square
    line, begin = np.empty(side, np.uint32), at
    low, high = min(max(-x0, 0), side), max(min(side, mask.shape[1] - x0), 0)
    for y in range(y0, y0 + side):
        line[:] = no_data
        if 0 <= y < mask.shape[0]:
            for column in range(low, high):
                line[column] = mask[y, x0 + column]
        at = _put_big_endian(out, at, line)
    return _pad(out, at, at - begin)


@part
def _put_big_endian(out: NDArray[np.uint8], at: int, words: NDArray[np.uint32]) -> Any:
    """Write words, whose bytes are turned round in place: the compiler does many at once that way."""
    low, high = np.uint32(0x0000FF00), np.uint32(0x00FF0000)
    for i in range(len(words)):
        word = words[i]
        words[i] = (
            (word << np.uint32(24))
            | ((word & low) << np.uint32(8))
            | ((word & high) >> np.uint32(8))
            | (word >> np.uint32(24))
        )
    return _put(out, at, words.view(np.uint8))


@part
def _pad(out: NDArray[np.uint8], at: int, size: int) -> Any:
    """Fill the block up with zeros."""
    rest = -size % BLOCK
    out[at : at + rest] = 0
    return at + rest
