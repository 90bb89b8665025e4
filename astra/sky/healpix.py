"""Nested pixels of the Hierarchical Equal Area isoLatitude Pixelisation (Gorski et al. 2005, ApJ 622,759)."""

from __future__ import annotations

import numpy as np
from lsst.sphgeom import HealpixPixelization, Region
from numpy.typing import ArrayLike, NDArray

MAX_ORDER = 29

# Steps that put a zero between any two bits of a 32-bit number: shift left, keep these bits.
_SPREAD = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)


def healpix_pixels(ra: ArrayLike, dec: ArrayLike, order: int) -> NDArray[np.int64]:
    """Find the nested HEALPix pixel of each position.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Positions [deg], finite.
    order : int
        Depth, 0 to `MAX_ORDER`: there are 12 * 4**order pixels.

    Returns
    -------
    pixels : int64 ndarray, shape (n,)

    Raises
    ------
    ValueError
        If the order is out of range.
    """
    if not 0 <= order <= MAX_ORDER:
        raise ValueError(f"a HEALPix order is from 0 to {MAX_ORDER}, found {order}")
    lon = np.mod(np.atleast_1d(ra).astype(np.float64) / 90.0, 4.0)
    lat = np.deg2rad(np.atleast_1d(dec).astype(np.float64))
    belt = np.abs(np.sin(lat)) <= 2.0 / 3.0
    n_side = 1 << order
    face, x, y = np.where(belt, _in_belt(lon, np.sin(lat), n_side), _in_cap(lon, lat, n_side))
    pixels: NDArray[np.int64] = (face << (2 * order)) + (_spread(x) | (_spread(y) << 1))
    return pixels


def healpix_points(
    pixels: ArrayLike, order: int, u: ArrayLike = 0.5, v: ArrayLike = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the position of points of nested HEALPix pixels: centres, corners, borders.

    Parameters
    ----------
    pixels : array_like of int
        Nested numbers.
    order : int
        Depth, 0 to `MAX_ORDER`.
    u, v : array_like, optional
        Place within the pixel, from 0 at its southern corner to 1: u grows north-east, v north-west. They are
        broadcast against ``pixels``; the default is the centre.

    Returns
    -------
    ra, dec : float64 ndarray
        ICRS [deg], of the common shape.

    Raises
    ------
    ValueError
        If a number or the order is out of range.
    """
    if not 0 <= order <= MAX_ORDER:
        raise ValueError(f"a HEALPix order is from 0 to {MAX_ORDER}, found {order}")
    numbers = np.asarray(pixels, dtype=np.int64)
    if np.any((numbers < 0) | (numbers >= 12 << (2 * order))):
        raise ValueError(f"HEALPix pixels of order {order} are from 0 to {(12 << (2 * order)) - 1}")
    n_side, face = 1 << order, numbers >> (2 * order)
    x = (_gather(numbers & (n_side * n_side - 1)) + np.asarray(u)) / n_side
    y = (_gather((numbers & (n_side * n_side - 1)) >> 1) + np.asarray(v)) / n_side
    row = face // 4 + 2.0 - x - y  # from 0 at the northern pole to 4 at the southern
    height = np.minimum(np.minimum(row, 4.0 - row), 1.0)
    first = np.where(face // 4 == 1, 2 * (face % 4), 2 * (face % 4) + 1)
    ra = 45.0 * first + 45.0 * (x - y) / np.where(height > 0, height, 1.0)
    # The half angle keeps the digits at the poles.
    cap = 90.0 - 2.0 * np.rad2deg(np.arcsin(np.maximum(height, 0.0) / np.sqrt(6.0)))
    belt = np.rad2deg(np.arcsin(np.clip((2.0 - row) * 2.0 / 3.0, -1.0, 1.0)))
    return np.mod(ra, 360.0), np.where(height < 1.0, np.where(row < 2.0, cap, -cap), belt)


def healpix_ranges(region: Region, order: int) -> list[tuple[int, int]]:
    """Ranges of nested pixels that cover a region: first and last pixel of each, both included."""
    ranges = HealpixPixelization(order).envelope(region)
    return [(int(begin), int(end) - 1) for begin, end in ranges]


def _in_belt(lon: NDArray[np.float64], z: NDArray[np.float64], n_side: int) -> NDArray[np.int64]:
    """Face and place in it, shape (3, n), of positions between the polar caps; ``lon`` in quarter turns."""
    falling = np.floor(n_side * (0.5 + lon - 0.75 * z)).astype(np.int64)
    rising = np.floor(n_side * (0.5 + lon + 0.75 * z)).astype(np.int64)
    first, second = falling // n_side, rising // n_side
    face = np.where(first == second, first % 4 + 4, np.where(first < second, first, second + 8))
    return np.stack([face, rising % n_side, n_side - 1 - falling % n_side])


def _in_cap(lon: NDArray[np.float64], lat: NDArray[np.float64], n_side: int) -> NDArray[np.int64]:
    """Face and place in it, shape (3, n), of positions near a pole; ``lon`` in quarter turns."""
    quarter = np.minimum(np.floor(lon), 3.0)
    # sqrt(3 (1 - sin)) without loss of digits at the pole.
    height = n_side * np.sqrt(3.0 / (1.0 + np.abs(np.sin(lat)))) * np.cos(lat)
    first = np.floor((lon - quarter) * height).astype(np.int64)
    second = np.floor((1.0 - lon + quarter) * height).astype(np.int64)
    last = np.int64(n_side - 1)
    first, second = np.minimum(first, last), np.minimum(second, last)
    north, face = lat >= 0, quarter.astype(np.int64)
    return np.where(north, np.stack([face, last - second, last - first]), np.stack([face + 8, first, second]))


def _spread(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put a zero between any two bits."""
    for shift, kept in _SPREAD:
        numbers = (numbers | (numbers << shift)) & kept
    return numbers


def _gather(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep every other bit and close the gaps; the inverse of `_spread`."""
    numbers = numbers & _SPREAD[-1][1]
    for (shift, _), kept in zip(
        reversed(_SPREAD), [*(k for _, k in reversed(_SPREAD[:-1])), 0xFFFFFFFF], strict=True
    ):
        numbers = (numbers | (numbers >> shift)) & kept
    return numbers
