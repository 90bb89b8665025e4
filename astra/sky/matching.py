"""Matching of positions on the sphere: all pairs within a radius, and what each pair costs.

Right ascension 0 and the poles are places like any other. Which of the pairs are kept is decided in
`astra.sky.assignment`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra.compiled import compiled, part
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


class Closeness(NamedTuple):
    """How near the positions of pairs are, in units of their errors; both shape (n,).

    Parameters
    ----------
    cost : float64 ndarray
        Half the squared distance in units of its error, see `pair_costs`.
    area_arcsec2 : float64 ndarray
        Area of the error: a Gaussian of it is ``exp(-cost) / area`` [arcsec**2].
    """

    cost: FloatArray
    area_arcsec2: FloatArray


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
    return closeness(pairs, first, second).cost


def closeness(pairs: Pairs, first: NDArray[Any], second: NDArray[Any]) -> Closeness:
    """Costs of pairs and the areas of their errors; takes what `pair_costs` takes."""
    return Closeness(*_costs(_places(first, pairs.first), _places(second, pairs.second)))


class _Places(NamedTuple):
    """Positions [deg], their errors and covariances [arcsec, arcsec**2]; errors that are missing are NaN."""

    ra: FloatArray
    dec: FloatArray
    ra_err: FloatArray
    dec_err: FloatArray
    covariance: FloatArray


def _places(table: NDArray[Any], rows: NDArray[np.int64]) -> _Places:
    """Columns of some rows of a table."""
    nothing = np.full(len(rows), np.nan)

    def column(name: str, factor: float) -> FloatArray:
        if name not in (table.dtype.names or ()):
            return nothing
        return np.ascontiguousarray(table[name][rows], np.float64) * factor

    return _Places(
        column("ra", 1.0),
        column("dec", 1.0),
        column("raErr", ARCSEC_PER_DEG),
        column("decErr", ARCSEC_PER_DEG),
        column("ra_dec_Cov", ARCSEC_PER_DEG**2),
    )


@part
def _covariance(places: _Places, row: int) -> tuple[float, float, float]:  # pragma: no cover
    """Variances to the east and the north, and covariance, of one position [arcsec**2]."""
    ra_err, dec_err, covariance = places.ra_err[row], places.dec_err[row], places.covariance[row]
    known = ra_err > 0 and dec_err > 0 and not np.isnan(covariance)
    east = ra_err if ra_err > 0 else MISSING_ERROR_ARCSEC
    north = dec_err if dec_err > 0 else MISSING_ERROR_ARCSEC
    return east * east, north * north, covariance if known else 0.0


@part
def _turned(
    covariance: tuple[float, float, float], angle: float
) -> tuple[float, float, float]:  # pragma: no cover
    """Covariance in axes that are turned by an angle [rad]."""
    east, north, mixed = covariance
    cos, sin = np.cos(angle), np.sin(angle)
    both = 2.0 * sin * cos * mixed
    return (
        cos * cos * east + sin * sin * north - both,
        sin * sin * east + cos * cos * north + both,
        sin * cos * (east - north) + (cos * cos - sin * sin) * mixed,
    )


@part
def _offsets(
    ra: float, dec: float, other_ra: float, other_dec: float
) -> tuple[float, float]:  # pragma: no cover
    """Offsets to the east and the north on the sky at the first position, orthographic [arcsec]."""
    step, low, high = np.radians(other_ra - ra), np.radians(dec), np.radians(other_dec)
    sin_half, cos_high = np.sin(0.5 * step), np.cos(high)
    east = cos_high * np.sin(step)
    north = np.sin(high - low) + 2.0 * np.sin(low) * cos_high * sin_half * sin_half
    return np.degrees(east) * ARCSEC_PER_DEG, np.degrees(north) * ARCSEC_PER_DEG


@compiled
def _costs(first: _Places, second: _Places) -> tuple[FloatArray, FloatArray]:  # pragma: no cover
    """Costs of pairs and areas of their errors, row by row."""
    floor = ERROR_FLOOR_ARCSEC**2
    costs, areas = np.empty(len(first.ra)), np.empty(len(first.ra))
    for row in range(len(costs)):
        ra, dec, other_ra, other_dec = first.ra[row], first.dec[row], second.ra[row], second.dec[row]
        east, north = _offsets(ra, dec, other_ra, other_dec)
        own, other = _covariance(first, row), _covariance(second, row)
        step = np.radians(other_ra - ra)
        if abs(step) > SMALL_TURN:
            other = _turned(other, step * np.sin(np.radians(0.5 * (dec + other_dec))))
        east_var, north_var = max(own[0] + other[0], floor), max(own[1] + other[1], floor)
        # The second limit keeps the floor in all directions.
        limit = min(
            MAX_CORRELATION * np.sqrt(east_var * north_var),
            np.sqrt((east_var - floor) * (north_var - floor)),
        )
        covariance = min(max(own[2] + other[2], -limit), limit)
        squares = east * east * north_var + north * north * east_var - 2.0 * east * north * covariance
        determinant = east_var * north_var - covariance * covariance
        costs[row], areas[row] = 0.5 * squares / determinant, 2.0 * np.pi * np.sqrt(determinant)
    return costs, areas


def worst_cost(radius_arcsec: float) -> float:
    """Return the largest `pair_costs` of a pair within a radius [arcsec]."""
    return 0.5 * (radius_arcsec / ERROR_FLOOR_ARCSEC) ** 2
