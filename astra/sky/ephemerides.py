"""Where known bodies of the solar system are expected in a visit: from a table of positions, or from orbits.

The observer's place comes from astropy's built-in ephemeris of the Earth (good to some km) and, on the Earth,
from its rotation with UT1 taken as UTC (0.9 s, up to 0.4 km): together below 0.02 arcsec at 1 AU.
"""

from __future__ import annotations

from typing import Any

import erfa
import numpy as np
from astropy import units as u
from astropy.coordinates import EarthLocation, get_body_barycentric
from astropy.time import Time
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.sky.orbits import astrometric_positions
from astra.sky.regions import positions, unit_vectors

FloatArray = NDArray[np.float64]

AU_KM = 149597870.7
MAX_GAP_DAYS = 1.0  # between rows of a table that are interpolated
EXPECTED_DTYPE = np.dtype(
    [("ssObjectId", "i8"), ("ra", "f8"), ("dec", "f8"), ("raErr", "f8"), ("decErr", "f8"), ("distance", "f8")]
)


def observer_position(mjd_tai: float, location: tuple[float, float, float] | None = None) -> FloatArray:
    """Position of an observer about the Sun, on the axes of the ICRS, shape (3,) [AU].

    Parameters
    ----------
    mjd_tai : float
        Time [d, MJD TAI].
    location : (float, float, float), optional
        Longitude (east), latitude [deg] and height [m]; by default the centre of the Earth.
    """
    time = Time(mjd_tai, format="mjd", scale="tai")
    earth, sun = (
        get_body_barycentric(name, time, ephemeris="builtin").xyz.to_value(u.AU) for name in ("earth", "sun")
    )
    geocentric = np.zeros(3) if location is None else _on_the_earth(time, location)
    return np.asarray(earth - sun + geocentric, float)


def _on_the_earth(time: Time, location: tuple[float, float, float]) -> FloatArray:
    """Position of an observatory about the centre of the Earth [AU]."""
    place = EarthLocation.from_geodetic(location[0] * u.deg, location[1] * u.deg, location[2] * u.m)
    fixed = np.array([axis.to_value(u.km) for axis in place.geocentric]) / AU_KM
    tt, utc = time.tt, time.utc
    turned = erfa.c2t06a(tt.jd1, tt.jd2, utc.jd1, utc.jd2, 0.0, 0.0)
    return np.asarray(turned.T @ fixed, float)


def expected_from_orbits(
    orbits: NDArray[np.void], mjd_tai: float, location: tuple[float, float, float] | None = None
) -> NDArray[np.void]:
    """Where bodies of known orbits are seen at a time.

    Parameters
    ----------
    orbits : structured ndarray, shape (n,)
        See `astra.sky.orbits.heliocentric_positions`; ``positionErr`` [arcsec] if known.
    mjd_tai : float
        Time [d, MJD TAI].
    location : (float, float, float), optional
        Longitude (east), latitude [deg] and height [m] of the observer; by default the centre of the Earth.

    Returns
    -------
    expected : structured ndarray, shape (n,), dtype `EXPECTED_DTYPE`
        ICRS positions and errors [deg] (ra times cos(dec)), distances [AU].
    """
    expected = np.zeros(len(orbits), EXPECTED_DTYPE)
    expected["raErr"] = expected["decErr"] = np.nan
    if "positionErr" in (orbits.dtype.names or ()):
        expected["raErr"] = expected["decErr"] = orbits["positionErr"] / 3600.0
    tdb = float(Time(mjd_tai, format="mjd", scale="tai").tdb.mjd)
    places = astrometric_positions(orbits, tdb, observer_position(mjd_tai, location))
    expected["ssObjectId"] = orbits["ssObjectId"]
    expected["ra"], expected["dec"], expected["distance"] = places
    return expected


def expected_from_table(table: NDArray[np.void], visit: int, mjd_tai: float) -> NDArray[np.void]:
    """Where bodies are seen at a time, by an ephemeris that was computed elsewhere.

    Parameters
    ----------
    table : structured ndarray, shape (m,)
        ``ssObjectId``, ``ra``, ``dec`` [deg, ICRS, astrometric] and, if known, ``raErr`` (times cos(dec)),
        ``decErr`` [deg]. With a column ``visit``, rows of this visit are taken as they are; else there must
        be ``mjdTai`` [d], and each body is interpolated between rows that are at most a day apart, by a cubic
        through the nearest four on the sphere.
    visit : int
        The visit.
    mjd_tai : float
        Time [d, MJD TAI].

    Returns
    -------
    expected : structured ndarray, shape (n,), dtype `EXPECTED_DTYPE`
        Distances are NaN. Bodies whose rows do not span the time are left out.

    Raises
    ------
    FormatError
        If a column is missing.
    """
    names = set(table.dtype.names or ())
    key = "visit" if "visit" in names else "mjdTai"
    if missing := [name for name in ("ssObjectId", "ra", "dec", key) if name not in names]:
        message = f"an ephemeris needs the columns {', '.join(missing)}"
        raise FormatError(message, missing=missing)
    rows = table[table["visit"] == visit] if key == "visit" else _interpolated(table, mjd_tai)
    expected = np.zeros(len(rows), EXPECTED_DTYPE)
    for name in ("raErr", "decErr", "distance"):
        expected[name] = np.nan
    for name in {"ssObjectId", "ra", "dec", "raErr", "decErr"} & names:
        expected[name] = rows[name]
    return expected


def _interpolated(table: NDArray[np.void], mjd_tai: float) -> NDArray[np.void]:
    """One row for each body whose rows span a time."""
    near = table[np.abs(table["mjdTai"] - mjd_tai) <= 2.0 * MAX_GAP_DAYS]
    near = np.sort(near, order=["ssObjectId", "mjdTai"])
    _, start, count = np.unique(near["ssObjectId"], return_index=True, return_counts=True)
    found = []
    for first, size in zip(start.tolist(), count.tolist(), strict=True):
        row = _at_time(near[first : first + size], mjd_tai)
        if row is not None:
            found.append(row)
    return np.concatenate(found) if found else near[:0]


def _at_time(rows: NDArray[np.void], mjd_tai: float) -> NDArray[Any] | None:
    """Interpolate the rows of a body, in order of time; None if they do not span it."""
    times = rows["mjdTai"]
    after = int(np.searchsorted(times, mjd_tai))
    if after < len(times) and times[after] == mjd_tai:
        return rows[after : after + 1]
    if after in {0, len(times)} or times[after] - times[after - 1] > MAX_GAP_DAYS:
        return None
    begin = max(0, min(after - 2, len(times) - 4))
    nodes = rows[begin : begin + 4]
    offsets = nodes["mjdTai"] - mjd_tai
    weights = [np.prod([-t / (own - t) for t in offsets if t != own]) for own in offsets]
    vector = np.asarray(weights) @ unit_vectors(nodes["ra"], nodes["dec"])
    row = rows[after - 1 : after].copy()
    row["ra"], row["dec"] = positions(vector[None, :])
    return row
