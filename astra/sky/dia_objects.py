"""Rows of DiaObject from the detections and forced measurements that belong to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.sky.light_curve_sums import (
    Chain,
    FloatArray,
    add_detections,
    add_forced,
    band_columns,
    empty_forced_sums,
    empty_sums,
    object_columns,
)
from astra.sky.light_curves import statistics_dtype
from astra.sky.matching import find_pairs
from astra.sky.regions import htm_pixels

_OWN_FIELDS = [
    *[("diaObjectId", "i8"), ("ra", "f8"), ("raErr", "f8"), ("dec", "f8"), ("decErr", "f8")],
    *[("ra_dec_Cov", "f8"), ("firstDiaSourceMjdTai", "f8"), ("lastDiaSourceMjdTai", "f8")],
    *[("nDiaSources", "i4"), ("pixelId", "i8")],
]


def dia_object_dtype() -> np.dtype[Any]:
    """Columns of `make_dia_objects`: all of DiaObject but the validity."""
    statistics = statistics_dtype()
    return np.dtype([*_OWN_FIELDS, *((name, statistics[name]) for name in statistics.names or ())])


def make_dia_objects(sources: NDArray[Any], forced: NDArray[Any] | None = None) -> NDArray[Any]:
    """Make one row for each object that has a detection.

    The result does not depend on the order of the rows, to the last bit.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        All detections of the objects: ``diaObjectId``, ``diaSourceId``, position, ``midpointMjdTai``,
        ``band`` and fluxes, as `astra.sky.light_curve_sums.add_detections` needs them.
    forced : structured ndarray, shape (m,), optional
        Their forced measurements, with ``diaObjectId``; those of other objects do not count.

    Returns
    -------
    objects : structured ndarray, shape (n_objects,)
        Ordered by ``diaObjectId``, columns of `dia_object_dtype`.
    """
    ids = np.unique(sources["diaObjectId"])
    chain = Chain(ids, np.full(len(ids), np.inf))
    forced_states = empty_forced_sums(len(ids))
    if forced is not None:
        forced_states = add_forced(chain, forced_states, forced)
    return objects_of_states(ids, add_detections(chain, empty_sums(len(ids)), sources), forced_states)


def objects_of_states(
    object_ids: NDArray[np.int64], states: FloatArray, forced_states: FloatArray
) -> NDArray[Any]:
    """Rows of DiaObject from the running sums of objects.

    Parameters
    ----------
    object_ids : int64 ndarray, shape (n,)
        Their ids.
    states : float64 ndarray, shape (n, N_SUMS)
        Sums of their detections, at least one each; see `astra.sky.light_curve_sums`.
    forced_states : float64 ndarray, shape (n, N_FORCED_SUMS)
        Sums of their forced measurements.

    Returns
    -------
    objects : structured ndarray, shape (n,)
        Columns of `dia_object_dtype`.
    """
    objects = np.zeros(len(object_ids), dtype=dia_object_dtype())
    objects["diaObjectId"] = object_ids
    for name, values in (object_columns(states) | band_columns(states, forced_states)).items():
        objects[name] = values
    objects["pixelId"] = htm_pixels(objects["ra"], objects["dec"])
    return objects


def find_duplicates(
    objects: NDArray[Any], sources: NDArray[Any], radius_arcsec: float = 1.0
) -> dict[int, int]:
    """Find objects that are one thing on the sky: near each other, and never detected by the same visit.

    The closest pairs are taken first. Of a pair the object that was detected first stays; it does not go in
    another pair, and the one that goes is in no other.

    Parameters
    ----------
    objects : structured ndarray, shape (n,)
        ``diaObjectId``, ``ra``, ``dec`` [deg] and ``firstDiaSourceMjdTai``.
    sources : structured ndarray, shape (m,)
        Their detections: ``diaObjectId`` and ``visit``.
    radius_arcsec : float, optional
        Largest separation [arcsec].

    Returns
    -------
    merged : dict of int to int
        ``diaObjectId`` of each object that goes, and of the one that stays.
    """
    place = objects["ra"], objects["dec"]
    pairs = find_pairs(*place, *place, radius_arcsec)
    rows_of_pairs = np.flatnonzero(pairs.first < pairs.second)
    rows_of_pairs = rows_of_pairs[np.argsort(pairs.separation_arcsec[rows_of_pairs], kind="stable")]
    first, second = pairs.first[rows_of_pairs], pairs.second[rows_of_pairs]
    near = np.isin(sources["diaObjectId"], objects["diaObjectId"][np.union1d(first, second)])
    visits: dict[int, set[int]] = {}
    for object_id, visit in zip(
        sources["diaObjectId"][near].tolist(), sources["visit"][near].tolist(), strict=True
    ):
        visits.setdefault(object_id, set()).add(visit)
    age = [objects["firstDiaSourceMjdTai"].tolist(), objects["diaObjectId"].tolist()]
    merged: dict[int, int] = {}
    for rows in zip(first.tolist(), second.tolist(), strict=True):
        stays, goes = (age[1][row] for row in sorted(rows, key=lambda row: (age[0][row], age[1][row])))
        own, others = visits.setdefault(stays, set()), visits.setdefault(goes, set())
        if goes not in merged and stays not in merged and goes not in merged.values() and not own & others:
            merged[goes] = stays
            own |= others
    return merged
