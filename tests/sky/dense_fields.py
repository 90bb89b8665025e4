"""Crowded fields with known truth, and the ordinary way to associate them."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from astra.sky.proper_motion import move_stars
from astra.sky.regions import positions, unit_vectors

ARCSEC_PER_DEG = 3600.0
EPOCH_MJD_TAI = 61000.0
POSITION = [("ra", "f8"), ("dec", "f8"), ("raErr", "f4"), ("decErr", "f4"), ("midpointMjdTai", "f8")]
MOTION = [("pmRa", "f8"), ("pmDec", "f8"), ("epochMjdTai", "f8")]


@dataclass(frozen=True)
class DenseField:
    """Detections, the objects known before, and which object each detection truly is (-1: a new one)."""

    sources: np.ndarray
    objects: np.ndarray
    truth: np.ndarray


def around(ra, dec, east_arcsec, north_arcsec):
    """Positions [deg] at offsets on the sky from a centre, the poles included."""
    east = np.array([-np.sin(np.radians(ra)), np.cos(np.radians(ra)), 0.0])
    centre = unit_vectors(ra, dec)[0]
    north = np.cross(centre, east)
    offsets = np.outer(east_arcsec, east) + np.outer(north_arcsec, north)
    return positions(centre + np.radians(offsets / ARCSEC_PER_DEG))


def perturbed(rng, ra, dec, error_arcsec):
    """Positions with Gaussian errors on the sky."""
    vectors = unit_vectors(ra, dec)
    noise = rng.normal(size=vectors.shape) * np.radians(error_arcsec / ARCSEC_PER_DEG)[:, None]
    return positions(vectors + noise)


def make_field(
    seed,
    ra,
    dec,
    *,
    density=0.2,
    side_arcsec=120.0,
    detected=0.9,
    new=0.02,
    errors_arcsec=(0.03, 0.3),
    motion_mas_yr=0.0,
    years=3.0,
):
    """Simulate a field: objects per square arcsecond, of which a fraction is detected, beside new ones."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(density * side_arcsec**2)
    true = around(ra, dec, *rng.uniform(-side_arcsec / 2, side_arcsec / 2, (2, n)))
    motion = rng.normal(0, motion_mas_yr, (2, n))
    objects = np.zeros(n, POSITION[:4] + MOTION)
    object_error = rng.uniform(*errors_arcsec, n) / 2
    objects["ra"], objects["dec"] = perturbed(rng, *true, object_error)
    objects["raErr"] = objects["decErr"] = object_error / ARCSEC_PER_DEG
    objects["pmRa"], objects["pmDec"], objects["epochMjdTai"] = *motion, EPOCH_MJD_TAI
    seen = np.flatnonzero(rng.uniform(size=n) < detected)
    n_new = round(new * len(seen))
    now = move_stars(*true, *motion, np.full(n, years))
    fresh = around(ra, dec, *rng.uniform(-side_arcsec / 2, side_arcsec / 2, (2, n_new)))
    sources = np.zeros(len(seen) + n_new, POSITION)
    error = rng.uniform(*errors_arcsec, len(sources))
    places = [np.append(now[axis][seen], fresh[axis]) for axis in (0, 1)]
    sources["ra"], sources["dec"] = perturbed(rng, *places, error)
    sources["raErr"] = sources["decErr"] = error / ARCSEC_PER_DEG
    sources["midpointMjdTai"] = EPOCH_MJD_TAI + 365.25 * years
    order = rng.permutation(len(sources))
    return DenseField(sources[order], objects, np.append(seen, np.full(n_new, -1))[order])


def nearest_neighbours(sources, objects, radius_arcsec=1.0):
    """Nearest object of each source by k-d tree, the closest pair first, each object once."""
    chord = 2 * np.sin(0.5 * np.radians(radius_arcsec / ARCSEC_PER_DEG))
    tree = cKDTree(unit_vectors(objects["ra"], objects["dec"]))
    distance, nearest = tree.query(unit_vectors(sources["ra"], sources["dec"]), distance_upper_bound=chord)
    found, taken = np.full(len(sources), -1), set()
    for source in np.argsort(distance, kind="stable"):
        if np.isfinite(distance[source]) and nearest[source] not in taken:
            found[source] = nearest[source]
            taken.add(nearest[source])
    return found
