"""Rows of DiaObject from the detections and forced measurements that belong to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.sky.association import mean_positions
from astra.sky.light_curves import statistics_dtype, summarize
from astra.sky.regions import htm_pixels

_OWN_FIELDS = [
    *[("diaObjectId", "i8"), ("ra", "f8"), ("raErr", "f4"), ("dec", "f8"), ("decErr", "f4")],
    *[("ra_dec_Cov", "f4"), ("firstDiaSourceMjdTai", "f8"), ("lastDiaSourceMjdTai", "f8")],
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
        ``band`` and fluxes, as `astra.sky.light_curves.summarize` needs them.
    forced : structured ndarray, shape (m,), optional
        Their forced measurements, with ``diaObjectId``; those of other objects do not count.

    Returns
    -------
    objects : structured ndarray, shape (n_objects,)
        Ordered by ``diaObjectId``, columns of `dia_object_dtype`.
    """
    rows = sources[np.lexsort([sources["diaSourceId"], sources["midpointMjdTai"], sources["diaObjectId"]])]
    ids, start, index, count = np.unique(
        rows["diaObjectId"], return_index=True, return_inverse=True, return_counts=True
    )
    objects = np.zeros(len(ids), dtype=dia_object_dtype())
    if not len(ids):
        return objects
    forced_rows, forced_index = _of_objects(forced, ids)
    statistics = summarize(rows, index, len(ids), forced=forced_rows, forced_index=forced_index)
    for name in statistics.dtype.names or ():
        objects[name] = statistics[name]
    for name, values in mean_positions(rows, index, len(ids)).items():
        objects[name] = values
    objects["diaObjectId"], objects["nDiaSources"] = ids, count
    objects["firstDiaSourceMjdTai"] = rows["midpointMjdTai"][start]
    objects["lastDiaSourceMjdTai"] = rows["midpointMjdTai"][start + count - 1]
    objects["pixelId"] = htm_pixels(objects["ra"], objects["dec"])
    return objects


def _of_objects(
    forced: NDArray[Any] | None, ids: NDArray[np.int64]
) -> tuple[NDArray[Any] | None, NDArray[np.int64] | None]:
    """Choose the forced measurements of some objects (ids sorted), with the row of each one's object."""
    if forced is None:
        return None, None
    index = np.minimum(np.searchsorted(ids, forced["diaObjectId"]), len(ids) - 1)
    belongs = ids[index] == forced["diaObjectId"]
    return forced[belongs], index[belongs]
