"""Positions on the sphere in order of declination zone and right ascension, to find neighbours fast.

Zones of equal height, each sorted along right ascension (Gray, Nieto-Santisteban & Szalay 2007, "The Zones
Algorithm"): a neighbour is found by bisection in one zone, or in the two that a circle reaches into, at 24
bytes a position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astra.compiled import compiled, part

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ARCSEC_PER_DEG = 3600.0
ZONE_ARCSEC = 10.0  # some radii high, so that most circles lie in one zone
_RA_STEPS = 2.0**40  # steps of right ascension in a sorting key; order within 1e-6 arcsec is mended after
SLACK = 1.0 + 1e-9  # what rounding may take from a limit before the exact test
_RESERVE = 1024  # pairs that the first buffer holds beyond two for each position
_WINDOWS = np.array([1, 4, 16, 60])  # zones on either side, from 30 arcsec to 20 arcmin across
_SR_ARCSEC2 = (180.0 / np.pi * ARCSEC_PER_DEG) ** 2  # [arcsec**2 / sr]
_ENOUGH = 10  # positions of which a density is made


class _Zones(NamedTuple):
    """The arrays of an index."""

    ra: FloatArray
    dec: FloatArray
    starts: IntArray
    zone_deg: float


class _Circle(NamedTuple):
    """Where to look for neighbours: row, position and radius [deg]."""

    row: int
    ra: float
    dec: float
    radius: float


class _Found(NamedTuple):
    """A buffer of pairs: rows, and separations [arcsec]."""

    first: IntArray
    second: IntArray
    separation: FloatArray


@dataclass(frozen=True)
class PositionIndex:
    """Positions sorted by zone, then right ascension; made by `index_positions`.

    Parameters
    ----------
    ra, dec : float64 ndarray, shape (n,)
        Finite positions, ra in [0, 360) [deg].
    rows : int64 ndarray, shape (n,)
        Their row numbers in the table that was indexed.
    zone_starts : int64 ndarray, shape (n_zones + 1,)
        Where each zone starts, from the south pole on.
    zone_deg : float
        Height of a zone [deg].
    """

    ra: FloatArray
    dec: FloatArray
    rows: IntArray
    zone_starts: IntArray
    zone_deg: float

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.rows)

    @property
    def zones(self) -> _Zones:
        """The arrays, as the kernels take them."""
        return _Zones(self.ra, self.dec, self.zone_starts, self.zone_deg)


def index_positions(ra: ArrayLike, dec: ArrayLike, *, zone_arcsec: float = ZONE_ARCSEC) -> PositionIndex:
    """Sort positions by zone and right ascension; rows that are not finite are left out.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Positions [deg]; dec within -90..90.
    zone_arcsec : float, optional
        Height of a zone [arcsec].
    """
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    finite = np.isfinite(ra) & np.isfinite(dec)
    rows = None if finite.all() else np.flatnonzero(finite)
    if rows is not None:
        ra, dec = ra[rows], dec[rows]
    ra = _wrapped(ra)
    zone_deg = zone_arcsec / ARCSEC_PER_DEG
    n_zones = int(np.ceil(180.0 / zone_deg))
    zone = np.minimum(((dec + 90.0) / zone_deg).astype(np.int64), n_zones - 1)
    order = np.argsort(zone * np.int64(_RA_STEPS) + (ra * (_RA_STEPS / 360.0)).astype(np.int64))
    starts = np.zeros(n_zones + 1, dtype=np.int64)
    np.cumsum(np.bincount(zone, minlength=n_zones), out=starts[1:])
    return PositionIndex(ra[order], dec[order], order if rows is None else rows[order], starts, zone_deg)


def _wrapped(ra: FloatArray) -> FloatArray:
    """Right ascension in [0, 360) [deg]."""
    if ((ra >= 0.0) & (ra < 360.0)).all():
        return ra
    ra = ra % 360.0
    return np.where(ra == 360.0, 0.0, ra)  # a tiny negative number wraps to 360 itself


def find_neighbours(
    first: PositionIndex, second: PositionIndex, radius_arcsec: float
) -> tuple[IntArray, IntArray, FloatArray]:
    """Find all pairs within a radius.

    Parameters
    ----------
    first, second : PositionIndex
        Two lists of positions.
    radius_arcsec : float
        Largest separation, positive, below 90 deg [arcsec].

    Returns
    -------
    first_rows, second_rows : int64 ndarray, shape (n,)
        Row numbers of each pair, in no particular order.
    separation_arcsec : float64 ndarray, shape (n,)
        Angular separation [arcsec].
    """
    capacity, start = 2 * len(first) + _RESERVE, 0
    parts = []
    while start < len(first):
        found = _Found(np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty(capacity))
        following, n = _scan(first.zones, start, second.zones, radius_arcsec / ARCSEC_PER_DEG, found)
        parts.append((first.rows[found.first[:n]], second.rows[found.second[:n]], found.separation[:n]))
        if following == start:  # one position has more neighbours than the buffer holds
            capacity *= 4
        start = following
    if len(parts) == 1:
        return parts[0]
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    firsts, seconds, separations = zip(nothing, *parts, strict=True)
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(separations)


@part
def _bisect(values: FloatArray, low: int, high: int, value: float) -> int:  # pragma: no cover
    """First place in a sorted part of an array whose value is not below one."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _separation_deg(ra: float, dec: float, other_ra: float, other_dec: float) -> float:  # pragma: no cover
    """Angular separation by haversines, which small angles do not spoil [deg]."""
    sin_dec = np.sin(0.5 * np.radians(other_dec - dec))
    sin_ra = np.sin(0.5 * np.radians(other_ra - ra))
    half = sin_dec * sin_dec + np.cos(np.radians(dec)) * np.cos(np.radians(other_dec)) * sin_ra * sin_ra
    return float(np.degrees(2.0 * np.arcsin(min(1.0, np.sqrt(half)))))


@part
def _reach_in_ra(dec: float, radius: float) -> float:  # pragma: no cover
    """Half the range of right ascension of a circle [deg]; 180 if there is a pole in it."""
    if abs(dec) + radius >= 90.0:
        return 180.0
    reach = np.degrees(np.arcsin(np.sin(np.radians(radius)) / np.cos(np.radians(dec))))
    return float(min(180.0, reach * (1.0 + 1e-9) + 1e-9))


@part
def _scan_zone(  # noqa: PLR0917
    place: _Circle,
    zone: tuple[int, int],
    range_ra: tuple[float, float],
    second: _Zones,
    found: _Found,
    n: int,
) -> int:  # pragma: no cover
    """Append the neighbours in one zone between two right ascensions; -1 if the buffer is too small."""
    other = _bisect(second.ra, zone[0], zone[1], range_ra[0])
    while other < zone[1] and second.ra[other] <= range_ra[1]:
        if abs(second.dec[other] - place.dec) <= place.radius * SLACK:
            distance = _separation_deg(place.ra, place.dec, second.ra[other], second.dec[other])
            if distance <= place.radius:
                if n == len(found.separation):
                    return -1
                found.first[n], found.second[n], found.separation[n] = place.row, other, distance * 3600.0
                n += 1
        other += 1
    return n


@part
def _scan_circle(place: _Circle, second: _Zones, found: _Found, n: int) -> int:  # pragma: no cover
    """Append the neighbours of one position; -1 if the buffer is too small."""
    reach = _reach_in_ra(place.dec, place.radius)
    low, high = place.ra - reach, place.ra + reach
    south, north = place.dec - place.radius * SLACK, place.dec + place.radius * SLACK
    first_zone = max(0, int(np.floor((south + 90.0) / second.zone_deg)))
    last_zone = min(len(second.starts) - 2, int(np.floor((north + 90.0) / second.zone_deg)))
    for number in range(first_zone, last_zone + 1):
        zone = second.starts[number], second.starts[number + 1]
        if reach >= 180.0:
            low, high = 0.0, 360.0
        for turn in (0.0, 360.0, -360.0):  # with the parts of the circle beyond the wrap
            if low + turn < 360.0 and high + turn > 0.0:
                part_ra = max(low + turn, 0.0), min(high + turn, 360.0)
                n = _scan_zone(place, zone, part_ra, second, found, n)
                if n < 0:
                    return n
    return n


@compiled
def _scan(
    first: _Zones, start: int, second: _Zones, radius: float, found: _Found
) -> tuple[int, int]:  # pragma: no cover
    """Fill a buffer with pairs; returns the first position that is not done, and the number of pairs."""
    n = 0
    for row in range(start, len(first.ra)):
        more = _scan_circle(_Circle(row, first.ra[row], first.dec[row], radius), second, found, n)
        if more < 0:
            return row, n
        n = more
    return len(first.ra), n


def densities_around(places: PositionIndex, index: PositionIndex) -> FloatArray:
    """Measure the density of other positions round positions that have one beside them.

    They are counted in a window on the sky that grows from 30 arcsec to 20 arcmin until it holds ten; the
    nearest of them does not count.

    Parameters
    ----------
    places : PositionIndex
        Where to measure.
    index : PositionIndex
        The positions that are counted.

    Returns
    -------
    density : float64 ndarray, shape (n,)
        In the order of the index, positive [arcsec**-2].
    """
    return np.asarray(_densities(places.zones, index.zones, _WINDOWS))


@compiled
def _densities(places: _Zones, second: _Zones, windows: IntArray) -> FloatArray:  # pragma: no cover
    """Measure densities in the order of an index."""
    density = np.empty(len(places.ra))
    for row in range(len(density)):
        count, area = 0, 1.0
        for n_zones in windows:
            count, area = _count(places.ra[row], places.dec[row], second, n_zones)
            if count > _ENOUGH:
                break
        density[row] = max(count - 1.0, 0.5) / area
    return density


@part
def _count(ra: float, dec: float, second: _Zones, n_zones: int) -> tuple[int, float]:  # pragma: no cover
    """Count what is in a window, some zones to either side; returns its area too [arcsec**2]."""
    own = int((dec + 90.0) / second.zone_deg)
    half = (n_zones + 0.5) * second.zone_deg
    count, area = 0, 0.0
    for number in range(max(0, own - n_zones), min(len(second.starts) - 2, own + n_zones) + 1):
        start, end = second.starts[number], second.starts[number + 1]
        south = number * second.zone_deg - 90.0
        north = min(south + second.zone_deg, 90.0)
        reach = min(180.0, half / max(np.cos(np.radians(0.5 * (south + north))), 1e-12))
        low, high = ra - reach, ra + reach
        for turn in (0.0, 360.0, -360.0):
            if low + turn < 360.0 and high + turn > 0.0:
                count += _bisect(second.ra, start, end, high + turn)
                count -= _bisect(second.ra, start, end, low + turn)
        heights = np.sin(np.radians(north)) - np.sin(np.radians(south))
        area += 2.0 * np.radians(reach) * heights * _SR_ARCSEC2
    return count, area
