"""What was injected beside what was detected: which detection is whose, and which are false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.images.exposure import NJY_AB_ZERO_POINT_MAG

MATCH_RADIUS_PIXEL = 3.0
KNOWN_RADIUS_ARCSEC = 1.0

DETECTION_DTYPE = np.dtype(
    [
        *((name, "f8") for name in ("x", "xErr", "y", "yErr", "ra", "dec", "psfFlux", "psfFluxErr", "snr")),
        *((name, "?") for name in ("isNegative", "isFalse", "isNew")),
    ]
)
_JUDGED = ("isFalse", "isNew")


def match_injections(
    injections: NDArray[np.void], dia_sources: NDArray[np.void], radius_pixel: float = MATCH_RADIUS_PIXEL
) -> NDArray[np.int64]:
    """Find the detection of every injected source.

    Parameters
    ----------
    injections : structured ndarray, shape (n,), dtype `astra.images.injection.INJECTION_DTYPE`
    dia_sources : structured ndarray, shape (m,)
        Detections with ``x``, ``y`` [pixel] and ``isNegative``.
    radius_pixel : float, optional
        Largest distance [pixel], from the nearest point of a trail.

    Returns
    -------
    row : int64 ndarray, shape (n,)
        Row of the detection, -1 where there is none. Of the right sign; each serves one injection, the
        nearest pairs first.
    """
    row = np.full(len(injections), -1, dtype=np.int64)
    first, second, distance = _pairs(injections, dia_sources, radius_pixel)
    taken = np.zeros(len(dia_sources), dtype=bool)
    for k in np.argsort(distance, kind="stable"):
        if row[first[k]] < 0 and not taken[second[k]]:
            row[first[k]], taken[second[k]] = second[k], True
    return row


def _pairs(
    injections: NDArray[np.void], dia_sources: NDArray[np.void], radius_pixel: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows of injections and detections of one sign that lie together, and how far apart [pixel]."""
    usable = np.flatnonzero(_has_place(dia_sources))
    if len(injections) == 0 or len(usable) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    places = np.stack([dia_sources["x"], dia_sources["y"]], axis=-1)
    reach = radius_pixel + 0.5 * np.nan_to_num(injections["trailLength"])
    centres = np.stack([injections["x"], injections["y"]], axis=-1)
    near = cKDTree(places[usable]).query_ball_point(centres, reach)
    first = np.repeat(np.arange(len(injections)), [len(part) for part in near])
    second = usable[np.concatenate([np.asarray(part, dtype=np.int64) for part in near])]
    distance = _distance(injections[first], places[second])
    good = distance < radius_pixel
    good &= dia_sources["isNegative"][second] == injections["isNegative"][first]
    return first[good], second[good], distance[good]


def _distance(injections: NDArray[np.void], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of places from injections or, for trails, from the nearest point of their line [pixel]."""
    dx, dy = places[:, 0] - injections["x"], places[:, 1] - injections["y"]
    angle = np.radians(np.nan_to_num(injections["trailAngle"]))
    half = 0.5 * np.nan_to_num(injections["trailLength"])
    along = dx * np.cos(angle) + dy * np.sin(angle)
    beyond = along - np.clip(along, -half, half)
    distance: NDArray[np.float64] = np.hypot(beyond, -dx * np.sin(angle) + dy * np.cos(angle))
    return distance


@dataclass(frozen=True)
class Search:
    """What was injected and what was found.

    Parameters
    ----------
    matches : structured ndarray, shape (n,)
        Columns of `astra.images.injection.INJECTION_DTYPE`, and ``detection``: row of ``detections``, -1 if
        it was not found.
    detections : structured ndarray, shape (m,), dtype `DETECTION_DTYPE`
        What was detected; ``isFalse`` if it is neither injected nor known to be real, ``isNew`` if it is not
        on the difference without injected sources as well.
    """

    matches: NDArray[np.void]
    detections: NDArray[np.void]

    @property
    def magnitude(self) -> NDArray[np.float64]:
        """AB magnitudes of what was injected."""
        return magnitudes_ab(self.matches["flux"])

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether each injected source was found."""
        found: NDArray[np.bool_] = self.matches["detection"] >= 0
        return found


def search_for(
    injections: NDArray[np.void],
    dia_sources: NDArray[np.void],
    known: NDArray[np.void] | None = None,
    *,
    uninjected: NDArray[np.void] | None = None,
) -> Search:
    """Compare the detections on a difference with what was injected.

    Parameters
    ----------
    injections : structured ndarray, shape (n,), dtype `astra.images.injection.INJECTION_DTYPE`
    dia_sources : structured ndarray, shape (m,)
    known : structured ndarray, optional
        ``ra``, ``dec`` [deg] of what really varies: a detection within an arcsecond of it is not false.
    uninjected : structured ndarray, optional
        Detections on the same difference without injected sources: what is there too, of the same sign within
        3 pixels, is not new. Without it all are.

    Returns
    -------
    search : Search
    """
    row = match_injections(injections, dia_sources)
    matches = np.zeros(len(injections), dtype=[*injections.dtype.descr, ("detection", "i8")])
    for name in injections.dtype.names or ():
        matches[name] = injections[name]
    matches["detection"] = row
    detections = np.zeros(len(dia_sources), dtype=DETECTION_DTYPE)
    for name in DETECTION_DTYPE.names or ():
        if name not in _JUDGED:
            detections[name] = dia_sources[name]
    detections["isFalse"] = True
    # A trail falls into several detections: none of them is false.
    detections["isFalse"][_pairs(injections, dia_sources, MATCH_RADIUS_PIXEL)[1]] = False
    if known is not None and len(known) and len(detections):
        detections["isFalse"] &= ~_is_near(detections, known)
    detections["isNew"] = True if uninjected is None else ~_is_on(detections, uninjected)
    return Search(matches, detections)


def _is_on(detections: NDArray[np.void], others: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which detections have one of the same sign among others, at their place."""
    there = np.zeros(len(detections), dtype=bool)
    for sign in (False, True):
        rows = np.flatnonzero((detections["isNegative"] == sign) & _has_place(detections))
        same = others[(others["isNegative"] == sign) & _has_place(others)]
        if len(rows) and len(same):
            places, same_places = (np.stack([t["x"], t["y"]], axis=-1) for t in (detections[rows], same))
            there[rows] = cKDTree(same_places).query(places)[0] < MATCH_RADIUS_PIXEL
    return there


def _has_place(table: NDArray[np.void]) -> NDArray[np.bool_]:
    place: NDArray[np.bool_] = np.isfinite(table["x"]) & np.isfinite(table["y"])
    return place


def _is_near(detections: NDArray[np.void], known: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which detections lie within an arcsecond of a known source."""
    found, real = (_unit_vectors(table["ra"], table["dec"]) for table in (detections, known))
    usable = np.isfinite(found).all(axis=1)
    near = np.zeros(len(found), dtype=bool)
    limit = np.radians(KNOWN_RADIUS_ARCSEC / 3600.0)
    near[usable] = cKDTree(real).query(found[usable])[0] < limit
    return near


def _unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    alpha, delta = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1)


def pool_searches(searches: Sequence[Search]) -> Search:
    """Put several searches together."""
    offsets = np.cumsum([0, *(len(search.detections) for search in searches)])
    matches = [search.matches.copy() for search in searches]
    for part, offset in zip(matches, offsets, strict=False):
        part["detection"][part["detection"] >= 0] += offset
    return Search(np.concatenate(matches), np.concatenate([search.detections for search in searches]))


def magnitudes_ab(flux: NDArray[np.float64]) -> NDArray[np.float64]:
    """AB magnitudes of fluxes [nJy]; faint ones of nothing."""
    magnitude: NDArray[np.float64] = NJY_AB_ZERO_POINT_MAG - 2.5 * np.log10(np.maximum(flux, 1e-9))
    return magnitude
