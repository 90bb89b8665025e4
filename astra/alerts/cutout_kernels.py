"""Compiled loops that write stamps: pixels of all planes, big-endian, straight into packets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.alerts.encoder_kernels import EncodedRows, put_rows
from astra.compiled import compiled, part

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


@compiled(nogil=True)
def find_data(  # noqa: PLR0917
    corner: NDArray[np.int64],
    side: NDArray[np.int64],
    image: NDArray[np.float32],
    mask: NDArray[np.uint32],
    no_data: np.uint32,
    found: NDArray[np.bool_],
) -> None:
    """Tell which stamps have a pixel with data: on the image, a number, and not flagged as none."""
    ny, nx = image.shape
    for i in range(len(side)):
        found[i] = False
        for y in range(max(corner[i, 0], 0), min(corner[i, 0] + side[i], ny)):
            for x in range(max(corner[i, 1], 0), min(corner[i, 1] + side[i], nx)):
                if not mask[y, x] & no_data and not np.isnan(image[y, x]):
                    found[i] = True
                    break
            if found[i]:
                break


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
    there = np.flatnonzero(position >= 0)
    at, planes, headers = position[there], stamps.planes, stamps.headers
    squares = stamps.corner[there], stamps.side[there]
    shape, line = headers.side_number[there], np.empty(squares[1].max(initial=0), dtype=np.float32)
    words, content = line.view(np.uint32), line.view(np.uint8)
    scale, nan = planes.scale, np.float32(np.nan)
    put_plane(out, at, headers.primary, there, *squares, planes.image, scale, nan, line, words, content)
    one, blank = np.uint32(1), planes.no_data
    put_plane(out, at, headers.mask, shape, *squares, planes.mask, one, blank, words, words, content)
    scale = planes.scale_squared
    put_plane(out, at, headers.variance, shape, *squares, planes.variance, scale, nan, line, words, content)
    if len(headers.psf):
        psf = stamps.psf._replace(design=stamps.psf.design[there])
        put_rows(out, at, _psf_units(headers.psf, add_psf_terms(psf)), np.arange(len(at)), False)


def _psf_units(header: NDArray[np.uint8], psf: NDArray[np.float32]) -> EncodedRows:
    """Point-spread functions (n, n_pixels) as units of FITS files, whole blocks."""
    end = len(header) + 4 * psf.shape[1]
    units = np.zeros((len(psf), end + -end % BLOCK), dtype=np.uint8)
    units[:, : len(header)] = header
    units[:, len(header) : end] = psf.astype(">f4").view(np.uint8)
    return EncodedRows(units.ravel(), units.shape[1] * np.arange(len(psf) + 1))


@compiled(nogil=True)
def put_plane(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    out, position, headers, number, corner, side, plane, scale, blank, line, words, content
):
    """Write headers and squares of a plane at positions, and move those on.

    Parameters
    ----------
    out : uint8 ndarray
        Where to.
    position : int64 ndarray, shape (n,)
        Where each square's header begins; moved on to the end of its last block.
    headers : uint8 ndarray, shape (n_headers, size)
        Whole blocks.
    number : int64 ndarray, shape (n,)
        Which header each square has.
    corner : int64 ndarray, shape (n, 2)
        First row and column [pixel], which may be beyond the edge.
    side : int64 ndarray, shape (n,)
        Side [pixel].
    plane : float32 or uint32 ndarray, shape (ny, nx)
        Pixels.
    scale, blank : float32 or uint32
        What to multiply pixels with, and what stands beyond the edge.
    line, words, content : ndarray
        Room for a row of the largest square: its pixels, and the same memory as uint32 and as uint8.

    Returns
    -------
    touched : float
        Of no meaning: reading both ends of all rows of a square first brings the memory behind them on its
        way, all rows at once.
    """
    touched = 0.0
    for i in range(len(position)):
        square = corner[i, 0], corner[i, 1], side[i]
        touched += _touch(plane, square)
        at = _put(out, position[i], headers[number[i]], headers.shape[1])
        begin, low, high = at, max(-square[1], 0), min(side[i], plane.shape[1] - square[1])
        for y in range(square[0], square[0] + side[i]):
            for column in range(side[i]):
                line[column] = blank
            if 0 <= y < plane.shape[0]:
                for column in range(low, high):
                    line[column] = plane[y, square[1] + column] * scale
            _turn(words, side[i])
            at = _put(out, at, content, 4 * side[i])
        rest = -(at - begin) % BLOCK
        for k in range(at, at + rest):
            out[k] = 0
        position[i] = at + rest
    return touched


@compiled(nogil=True)
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
def _touch(plane: NDArray[Any], square: tuple[int, int, int]) -> Any:
    """Read both ends of every row of a square (row, column, side)."""
    y0, x0, side = square
    ny, nx = plane.shape
    low, high = min(max(x0, 0), nx - 1), min(max(x0 + side - 1, 0), nx - 1)
    total = 0.0
    for y in range(max(y0, 0), min(y0 + side, ny)):
        total += plane[y, low] + plane[y, high]
    return total


@part
def _put(out: NDArray[np.uint8], at: int, content: NDArray[np.uint8], size: int) -> Any:
    target = out[at : at + size]
    for i in range(size):  # many times as fast as an assignment to the slice
        target[i] = content[i]
    return at + size


@part
def _turn(words: NDArray[np.uint32], n: int) -> None:
    """Turn the bytes of words round in place: the compiler does many at once that way."""
    low, high = np.uint32(0x0000FF00), np.uint32(0x00FF0000)
    for i in range(n):
        word = words[i]
        words[i] = (
            (word << np.uint32(24))
            | ((word & low) << np.uint32(8))
            | ((word & high) >> np.uint32(8))
            | (word >> np.uint32(24))
        )
