"""When a detection had better be a new object than one of those that are known near it.

A detection is of a known object, and scattered about it by the errors of both, or new, and anywhere. Which is
likelier depends on how far it is from the object in units of the error, on how many objects there are that it
could lie beside by chance, and on how many of all detections are new (Sutherland & Saunders 1992, MNRAS 259,
413). The last is learnt from the detections themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.sky.matching import Closeness, Pairs, worst_cost

FloatArray = NDArray[np.float64]

WRONG_ERRORS = 0.05  # share of the detections that lie anywhere within the radius, whatever their errors say
MAX_DETECTED = 0.98  # no object is so sure to be detected that a miss would tell more
_ROUNDS = 200
_TOLERANCE = 1e-6


def costs_alone(
    pairs: Pairs, near: Closeness, density: FloatArray, n_objects: int, radius_arcsec: float
) -> FloatArray:
    """Cost of each source that gets no object: that of a pair which is as likely as a new object.

    Parameters
    ----------
    pairs : Pairs
        All pairs of sources and objects within the radius.
    near : Closeness
        Their costs and the areas of their errors.
    density : float64 ndarray, shape (n_sources,)
        Density of objects round each source [arcsec**-2]; does not matter where there is no pair.
    n_objects : int
        Number of all objects.
    radius_arcsec : float
        Largest separation of a pair [arcsec].

    Returns
    -------
    cost : float64 ndarray, shape (n_sources,)
        Above that of any pair where even one at the radius is likelier than a new object; negative where
        not even a pair without any distance is.
    """
    beyond = worst_cost(radius_arcsec) + 1.0
    cost = np.full(len(density), beyond)
    if not len(pairs.first):
        return cost
    anywhere = WRONG_ERRORS / (np.pi * radius_arcsec**2)
    likelihood = (1.0 - WRONG_ERRORS) * np.exp(-near.cost) / near.area_arcsec2 + anywhere
    evidence = np.bincount(pairs.first, likelihood, len(density)) / density
    new = share_of_new(evidence)
    n_known = np.sum((1.0 - new) * evidence / ((1.0 - new) * evidence + new))
    missed = 1.0 - min(n_known / n_objects, MAX_DETECTED)
    rows, area = _areas_of_best(pairs, near)
    # What a pair must exceed to be likelier than that the source is new, and the object was missed.
    needed = new * density[rows] * missed / (1.0 - new) - anywhere
    with np.errstate(divide="ignore", invalid="ignore"):
        cost[rows] = np.where(needed > 0.0, np.log((1.0 - WRONG_ERRORS) / (area * needed)), beyond)
    return np.asarray(np.minimum(cost, beyond))


def share_of_new(evidence: FloatArray) -> float:
    """Learn which share of detections is new, by expectation maximisation.

    Parameters
    ----------
    evidence : float64 ndarray, shape (n,)
        How much likelier each detection lies where it does if it is of a known object, 0 or positive.

    Returns
    -------
    share : float
        Above 0 and below 1, as one more of either kind counts as seen.
    """
    share = 0.5
    for _ in range(_ROUNDS):
        before = share
        is_new = share / (share + (1.0 - share) * evidence)
        share = float((is_new.sum() + 1.0) / (len(evidence) + 2.0))
        if abs(share - before) < _TOLERANCE:
            break
    return share


def _areas_of_best(pairs: Pairs, near: Closeness) -> tuple[NDArray[np.int64], FloatArray]:
    """Find the sources that have pairs, and the area of the error of the cheapest of each."""
    starts = np.flatnonzero(np.diff(pairs.first, prepend=-1))  # pairs are ordered by source
    counts = np.diff(starts, append=len(pairs.first))
    least = np.repeat(np.minimum.reduceat(near.cost, starts), counts)
    areas = np.where(near.cost == least, near.area_arcsec2, np.inf)
    return pairs.first[starts], np.minimum.reduceat(areas, starts)
