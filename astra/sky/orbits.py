"""Two-body motion about the Sun, for orbits of any shape.

Positions follow from the universal form of Kepler's equation (Battin 1999, "An Introduction to the
Mathematics and Methods of Astrodynamics", section 4.5), started at perihelion: one solution for ellipses,
parabolas and hyperbolas. The solution is good to 1e-9 AU; the planets do not disturb, so that elements should
be those of an epoch near the visit: Mars, disturbed by Jupiter, strays by less than 1 arcsec within 10 days
of the epoch of its elements, and by less than 6 arcsec within 30.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError, NotConvergedError

FloatArray = NDArray[np.float64]

GAUSS = 0.01720209895  # Gaussian gravitational constant [AU**1.5/d]
OBLIQUITY_ARCSEC = 84381.448  # of the J2000 ecliptic that elements refer to (IAU 1976)
LIGHT_DAY_PER_AU = 0.0057755183  # [d/AU]
MAX_STEPS = 100
_NEEDED = ("ssObjectId", "e", "inclination", "node", "argPeri")


def perihelia(orbits: NDArray[np.void]) -> tuple[FloatArray, FloatArray]:
    """Return perihelion distances [AU] and times [d, MJD TDB] of orbits.

    Parameters
    ----------
    orbits : structured ndarray, shape (n,)
        ``e``, and ``q`` [AU] with ``tPeri`` [d, MJD TDB], or ``a`` [AU] with ``meanAnomaly`` [deg] at
        ``epochMjdTdb`` [d].

    Raises
    ------
    FormatError
        If a column is missing, or an orbit is impossible.
    """
    names = set(orbits.dtype.names or ())
    if missing := [name for name in _NEEDED if name not in names]:
        message = f"a table of orbits needs the columns {', '.join(missing)}"
        raise FormatError(message, missing=missing)
    eccentricity = orbits["e"].astype(float)
    if {"q", "tPeri"} <= names:
        distance, time = orbits["q"].astype(float), orbits["tPeri"].astype(float)
    elif {"a", "meanAnomaly", "epochMjdTdb"} <= names:
        axis = orbits["a"].astype(float)
        distance = axis * (1.0 - eccentricity)
        with np.errstate(divide="ignore", invalid="ignore"):
            motion = GAUSS / np.abs(axis) ** 1.5
            anomaly = np.radians((orbits["meanAnomaly"] + 180.0) % 360.0 - 180.0)
            time = orbits["epochMjdTdb"] - anomaly / motion
    else:
        message = "a table of orbits needs q and tPeri, or a, meanAnomaly and epochMjdTdb"
        raise FormatError(message, found=sorted(names))
    bad = ~((distance > 0) & (eccentricity >= 0) & np.isfinite(time))
    if bad.any():
        message = (
            f"{int(bad.sum())} of {len(orbits)} orbits are impossible, first that of ssObjectId "
            f"{orbits['ssObjectId'][bad][0]}: q must be positive and e not negative"
        )
        raise FormatError(message, n_bad=int(bad.sum()))
    return distance, time


def heliocentric_positions(orbits: NDArray[np.void], mjd_tdb: FloatArray | float) -> FloatArray:
    """Positions of bodies about the Sun, on the axes of the ICRS, shape (n, 3) [AU].

    Parameters
    ----------
    orbits : structured ndarray, shape (n,)
        ``ssObjectId``, ``e``, ``inclination``, ``node``, ``argPeri`` [deg, ecliptic of J2000] and what
        `perihelia` needs.
    mjd_tdb : float or float64 ndarray, shape (n,)
        Times [d, MJD TDB].

    Raises
    ------
    FormatError
        If a column is missing.
    NotConvergedError
        If Kepler's equation is not solved.
    """
    distance, passage = perihelia(orbits)
    eccentricity = orbits["e"].astype(float)
    interval = _within_period(np.asarray(mjd_tdb - passage, float), distance, eccentricity)
    anomaly = _universal_anomaly(distance, eccentricity, interval)
    c, s = _stumpff((1.0 - eccentricity) / distance * anomaly**2)
    along = distance - anomaly**2 * c
    speed = GAUSS * np.sqrt((1.0 + eccentricity) / distance)  # at perihelion [AU/d]
    across = speed * (interval - anomaly**3 * s / GAUSS)
    to_perihelion, to_motion = _axes(orbits)
    return along[:, None] * to_perihelion + across[:, None] * to_motion


def astrometric_positions(
    orbits: NDArray[np.void], mjd_tdb: float, observer: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Where bodies are seen among the stars: with light time, without aberration.

    Parameters
    ----------
    orbits : structured ndarray, shape (n,)
        See `heliocentric_positions`.
    mjd_tdb : float
        Time [d, MJD TDB].
    observer : float64 ndarray, shape (3,)
        Position of the observer about the Sun, on the axes of the ICRS [AU].

    Returns
    -------
    ra, dec : float64 ndarray, shape (n,)
        ICRS [deg].
    distance : float64 ndarray, shape (n,)
        From the observer [AU].
    """
    delay = np.zeros(len(orbits))
    for _ in range(4):  # each step leaves 1e-4 (speed over that of light) of the error of the last
        line = heliocentric_positions(orbits, mjd_tdb - delay) - observer
        distance = np.linalg.norm(line, axis=1)
        delay = LIGHT_DAY_PER_AU * distance
    line = heliocentric_positions(orbits, mjd_tdb - delay) - observer
    ra = np.degrees(np.arctan2(line[:, 1], line[:, 0])) % 360.0
    dec = np.degrees(np.arctan2(line[:, 2], np.hypot(line[:, 0], line[:, 1])))
    return ra, dec, np.linalg.norm(line, axis=1)


def _within_period(interval: FloatArray, distance: FloatArray, eccentricity: FloatArray) -> FloatArray:
    """Count times from the perihelion that is nearest [d]; those of open orbits stay."""
    closed = eccentricity < 1.0
    axis = np.where(closed, distance / np.where(closed, 1.0 - eccentricity, 1.0), 1.0)
    period = np.where(closed, 2.0 * np.pi * axis**1.5 / GAUSS, np.inf)
    turns = np.where(closed, np.round(interval / period), 0.0)
    return np.where(closed, interval - turns * np.where(closed, period, 0.0), interval)


def _universal_anomaly(distance: FloatArray, eccentricity: FloatArray, interval: FloatArray) -> FloatArray:
    """Solve q x + e x**3 S(alpha x**2) = k t for x, by Newton's steps within a bracket [AU**0.5]."""
    goal = GAUSS * np.abs(interval)
    inverse_axis = (1.0 - eccentricity) / distance
    low, high = np.zeros_like(goal), goal / distance  # the left side is q x at least, where it is convex
    x = np.minimum(high, np.cbrt(6.0 * goal))
    excess = goal
    for _ in range(MAX_STEPS):
        c, s = _stumpff(inverse_axis * x**2)
        excess = distance * x + eccentricity * x**3 * s - goal
        low, high = np.where(excess < 0, x, low), np.where(excess < 0, high, x)
        new = x - excess / (distance + eccentricity * x**2 * c)
        new = np.where((new >= low) & (new <= high), new, 0.5 * (low + high))
        if np.all(np.abs(new - x) <= 4e-16 * np.abs(new) + 1e-300):
            return np.sign(interval) * new
        x = new
    residual = np.abs(excess) / np.maximum(goal, 1e-300)
    if residual.max(initial=0.0) > 1e-12:
        message = f"Kepler's equation of {int((residual > 1e-12).sum())} orbits is not solved to 1e-12"
        raise NotConvergedError(message, residual=float(residual.max()))
    return np.sign(interval) * x


def _stumpff(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Stumpff's functions C = (1 - cos sqrt z) / z and S = (sqrt z - sin sqrt z) / sqrt z**3."""
    root = np.sqrt(np.abs(z))
    safe = np.where(root < 0.3, 1.0, root)
    bound = np.minimum(safe, 300.0)  # hyperbolic functions overflow beyond
    elliptic = z > 0
    c = np.where(elliptic, 2.0 * np.sin(0.5 * safe) ** 2, 2.0 * np.sinh(0.5 * bound) ** 2) / safe**2
    s = np.where(elliptic, safe - np.sin(safe), np.sinh(bound) - bound) / safe**3
    term_c, term_s = np.full_like(z, 0.5), np.full_like(z, 1.0 / 6.0)
    small_c, small_s = term_c.copy(), term_s.copy()
    for k in range(1, 8):  # series about the parabola
        term_c = -term_c * z / ((2 * k + 1) * (2 * k + 2))
        term_s = -term_s * z / ((2 * k + 2) * (2 * k + 3))
        small_c, small_s = small_c + term_c, small_s + term_s
    near = root < 0.3
    return np.where(near, small_c, c), np.where(near, small_s, s)


def _axes(orbits: NDArray[np.void]) -> tuple[FloatArray, FloatArray]:
    """Find unit vectors to perihelion, and along the motion there, on the axes of the ICRS, shape (n, 3)."""
    node, peri, tilt = (np.radians(orbits[name].astype(float)) for name in ("node", "argPeri", "inclination"))
    cos_node, sin_node, cos_tilt, sin_tilt = np.cos(node), np.sin(node), np.cos(tilt), np.sin(tilt)
    to_node = np.stack([cos_node, sin_node, np.zeros_like(node)], axis=1)
    beyond = np.stack([-sin_node * cos_tilt, cos_node * cos_tilt, sin_tilt], axis=1)
    cos, sin = np.cos(peri)[:, None], np.sin(peri)[:, None]
    return _to_equator(cos * to_node + sin * beyond), _to_equator(cos * beyond - sin * to_node)


def _to_equator(vectors: FloatArray) -> FloatArray:
    """Turn vectors from the ecliptic of J2000 to the equator."""
    angle = np.radians(OBLIQUITY_ARCSEC / 3600.0)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vectors.T
    return np.stack([x, cos * y - sin * z, sin * y + cos * z], axis=1)
