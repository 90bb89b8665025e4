"""Geometry of detections that are known bodies of the solar system: rows of Rubin's SSSource.

What follows from the position alone is always there; what needs a prediction is NaN without one, and what
needs the distance of the body without that.
"""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from numpy.typing import NDArray

from astra.sky.regions import unit_vectors

FloatArray = NDArray[np.float64]

ARCSEC_PER_DEG = 3600.0
DTYPE = np.dtype(
    [
        *((name, "i8") for name in ("diaSourceId", "ssObjectId")),
        *((name, "f8") for name in ("eclLambda", "eclBeta", "galLon", "galLat")),
        *((name, "f4") for name in ("elongation", "phaseAngle", "topoRange", "helioRange")),
        *((name, "f8") for name in ("ephRa", "ephDec")),
        ("ephOffset", "f4"),
        *((name, "f8") for name in ("ephOffsetRa", "ephOffsetDec")),
    ]
)


def make_ss_sources(
    dia_sources: NDArray[np.void], expected: NDArray[np.void] | None, observer: FloatArray
) -> NDArray[np.void]:
    """Make the rows of detections that are known bodies.

    Parameters
    ----------
    dia_sources : structured ndarray, shape (n,)
        ``diaSourceId``, ``ssObjectId``, ``ra``, ``dec`` [deg, ICRS].
    expected : structured ndarray, optional
        Where bodies are expected, `astra.sky.ephemerides.EXPECTED_DTYPE`: astrometric positions [deg] and
        distances from the observer [AU], NaN if they are not known.
    observer : float64 ndarray, shape (3,)
        Place of the observer about the Sun [AU, ICRS axes].

    Returns
    -------
    rows : structured ndarray, shape (n,), dtype `DTYPE`
        Angles in [deg], distances in [AU], offsets (observed minus expected, in ra times cos(dec)) in
        [arcsec].
    """
    rows = np.zeros(len(dia_sources), DTYPE)
    for name in DTYPE.names or ():
        rows[name] = dia_sources[name] if name in {"diaSourceId", "ssObjectId"} else np.nan
    if not len(rows):
        return rows
    sky = SkyCoord(dia_sources["ra"] * u.deg, dia_sources["dec"] * u.deg)
    ecliptic = sky.transform_to(BarycentricMeanEcliptic())
    rows["eclLambda"], rows["eclBeta"] = ecliptic.lon.deg, ecliptic.lat.deg
    rows["galLon"], rows["galLat"] = sky.galactic.l.deg, sky.galactic.b.deg
    direction = unit_vectors(dia_sources["ra"], dia_sources["dec"])
    rows["elongation"] = _angle(direction, np.broadcast_to(-observer, direction.shape))
    if expected is not None and len(expected):
        _add_expected(rows, dia_sources, expected, observer)
    return rows


def _add_expected(
    rows: NDArray[np.void], sources: NDArray[np.void], expected: NDArray[np.void], observer: FloatArray
) -> None:
    """Fill in what is known of the bodies that were expected."""
    order = np.argsort(expected["ssObjectId"], kind="stable")
    ids = expected["ssObjectId"][order]
    place = np.minimum(np.searchsorted(ids, rows["ssObjectId"]), len(ids) - 1)
    found = np.flatnonzero(ids[place] == rows["ssObjectId"])
    body = expected[order[place[found]]]
    rows["ephRa"][found], rows["ephDec"][found] = body["ra"], body["dec"]
    turn = (sources["ra"][found] - body["ra"] + 180.0) % 360.0 - 180.0
    east = turn * np.cos(np.deg2rad(body["dec"])) * ARCSEC_PER_DEG
    north = (sources["dec"][found] - body["dec"]) * ARCSEC_PER_DEG
    rows["ephOffsetRa"][found], rows["ephOffsetDec"][found] = east, north
    rows["ephOffset"][found] = np.hypot(east, north)
    topocentric = unit_vectors(body["ra"], body["dec"]) * body["distance"][:, None]
    heliocentric = topocentric + observer
    rows["topoRange"][found] = body["distance"]
    rows["helioRange"][found] = np.linalg.norm(heliocentric, axis=1)
    rows["phaseAngle"][found] = _angle(topocentric, heliocentric)


def _angle(first: FloatArray, second: FloatArray) -> FloatArray:
    """Angle between vectors, shape (n, 3) [deg]; exact for small and large ones."""
    across = np.linalg.norm(np.cross(first, second), axis=1)
    angle: FloatArray = np.rad2deg(np.arctan2(across, np.sum(first * second, axis=1)))
    return angle
