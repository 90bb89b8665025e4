"""Matching of positions on the sphere: all pairs within a radius, and what each pair costs.

Right ascension 0 and the poles are places like any other. Which of the pairs are kept is decided in
`astra.sky.assignment`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra.sky.position_index import PositionIndex, find_neighbours, index_positions

FloatArray = NDArray[np.float64]

ARCSEC_PER_DEG = 3600.0
ERROR_FLOOR_ARCSEC = 0.05  # no centroid is trusted beyond this; Rubin's value
MISSING_ERROR_ARCSEC = 0.2  # taken where an error is absent; Rubin's value
SMALL_TURN = 1e-3  # [rad] that would change no variance by more than a thousandth
MAX_CORRELATION = 0.99  # beyond, a covariance is one of rounding


@dataclass(frozen=True)
class Pairs:
    """Pairs of a first and a second list of positions.

    Parameters
    ----------
    first, second : int64 ndarray, shape (n,)
        Row numbers, ordered by ``first``, then ``second``.
    separation_arcsec : float64 ndarray, shape (n,)
        Angular separation [arcsec].
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    separation_arcsec: NDArray[np.float64]


def find_pairs(
    ra: ArrayLike,
    dec: ArrayLike,
    other_ra: ArrayLike,
    other_dec: ArrayLike,
    radius_arcsec: float,
    *,
    index: PositionIndex | None = None,
) -> Pairs:
    """Find all pairs of two lists of positions within a radius.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        First positions [deg]; rows that are not finite have no pair.
    other_ra, other_dec : array_like, shape (m,)
        Second positions [deg].
    radius_arcsec : float
        Largest separation [arcsec].
    index : PositionIndex, optional
        The second positions, if they are sorted already.

    Raises
    ------
    ValueError
        If the radius is not positive.
    """
    if not radius_arcsec > 0:
        message = f"the match radius must be positive, found {radius_arcsec} arcsec"
        raise ValueError(message)
    index = index_positions(other_ra, other_dec) if index is None else index
    first, second, separation = find_neighbours(index_positions(ra, dec), index, radius_arcsec)
    order = np.argsort(first * (int(second.max(initial=0)) + 1) + second)
    return Pairs(first[order], second[order], separation[order])


def offsets_arcsec(
    ra: FloatArray, dec: FloatArray, other_ra: FloatArray, other_dec: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Offsets of second from first positions to the east and the north, on the sky at the first [arcsec].

    Those of an orthographic projection, which is exact to 1e-11 of the offset within some arcseconds,
    the poles included.

    Parameters
    ----------
    ra, dec, other_ra, other_dec : float64 ndarray, shape (n,)
        Positions [deg].
    """
    step, low, high = np.radians(other_ra - ra), np.radians(dec), np.radians(other_dec)
    sin_half = np.sin(0.5 * step)
    east = np.cos(high) * np.sin(step)
    north = np.sin(high - low) + 2.0 * np.sin(low) * np.cos(high) * sin_half * sin_half
    return np.degrees(east) * ARCSEC_PER_DEG, np.degrees(north) * ARCSEC_PER_DEG


def pair_costs(pairs: Pairs, first: NDArray[Any], second: NDArray[Any]) -> FloatArray:
    """Cost of each pair: half the squared distance in units of its error.

    The error is that of both positions, with their covariances; that of the second is turned into the
    directions of the first, which matters beside a pole. The other term of a Gaussian likelihood, the
    logarithm of the errors, is left out: errors of real detections are too small as often as not, and then it
    prefers a precise stranger to a true counterpart whose error is missing or large (on the HSC COSMOS
    sources that the tests group it turns 3 wrong pairs into 9).

    Parameters
    ----------
    pairs : Pairs
        Rows of the two tables.
    first, second : structured ndarray
        With ``ra``, ``dec`` [deg] and, if known, ``raErr`` (times cos(dec)), ``decErr`` [deg] and
        ``ra_dec_Cov`` [deg**2]. Errors that are missing (NaN, not positive) count as 0.2 arcsec; the two
        together are at least 0.05 arcsec.

    Returns
    -------
    cost : float64 ndarray, shape (n,)
        At most half of (separation / 0.05 arcsec)**2.
    """
    ra, dec = first["ra"][pairs.first], first["dec"][pairs.first]
    other_ra, other_dec = second["ra"][pairs.second], second["dec"][pairs.second]
    east, north = offsets_arcsec(ra, dec, other_ra, other_dec)
    own = _covariance(first, pairs.first)
    turn = np.radians(other_ra - ra) * np.sin(np.radians(0.5 * (dec + other_dec)))
    other = _covariance(second, pairs.second)
    if np.abs(turn).max(initial=0.0) > SMALL_TURN:
        other = _turned(other, turn)
    floor = ERROR_FLOOR_ARCSEC**2
    east_var, north_var = np.maximum(own[0] + other[0], floor), np.maximum(own[1] + other[1], floor)
    limit = MAX_CORRELATION * np.sqrt(east_var * north_var)
    limit = np.minimum(
        limit, np.sqrt((east_var - floor) * (north_var - floor))
    )  # keeps the floor in all ways
    covariance = np.clip(own[2] + other[2], -limit, limit)
    squares = east**2 * north_var + north**2 * east_var - 2.0 * east * north * covariance
    cost: FloatArray = 0.5 * squares / (east_var * north_var - covariance**2)
    return cost


def worst_cost(radius_arcsec: float) -> float:
    """Return the largest `pair_costs` of a pair within a radius [arcsec]."""
    return 0.5 * (radius_arcsec / ERROR_FLOOR_ARCSEC) ** 2


def _covariance(table: NDArray[Any], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Variances to the east and the north, and covariance, of some positions [arcsec**2]."""
    names = table.dtype.names or ()
    nothing = np.full(len(rows), np.nan)

    def column(name: str) -> FloatArray:
        return np.asarray(table[name][rows], float) if name in names else nothing

    errors = [column(name) * ARCSEC_PER_DEG for name in ("raErr", "decErr")]
    east, north = (np.where(error > 0, error, MISSING_ERROR_ARCSEC) ** 2 for error in errors)
    covariance = np.nan_to_num(column("ra_dec_Cov")) * ARCSEC_PER_DEG**2
    known = (errors[0] > 0) & (errors[1] > 0)
    return east, north, np.where(known, covariance, 0.0)


def _turned(
    covariance: tuple[FloatArray, FloatArray, FloatArray], angle: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Covariance in axes that are turned by an angle [rad]."""
    east, north, mixed = covariance
    cos, sin = np.cos(angle), np.sin(angle)
    both = 2.0 * sin * cos * mixed
    return (
        cos**2 * east + sin**2 * north - both,
        sin**2 * east + cos**2 * north + both,
        sin * cos * (east - north) + (cos**2 - sin**2) * mixed,
    )
