"""Association of detections with the objects known so far: who is whose, and who is new.

Pure functions on structured arrays with the columns of the Rubin data products; the tables live in
`astra.database.apdb`, the order of the steps in `astra.tasks.association_steps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.sky.assignment import assign
from astra.sky.matching import Closeness, Pairs, closeness, find_pairs
from astra.sky.new_object_odds import costs_alone
from astra.sky.position_index import PositionIndex, densities_around, index_positions
from astra.sky.proper_motion import DAYS_PER_YEAR, move_stars
from astra.sky.regions import positions, unit_vectors


@dataclass(frozen=True)
class Association:
    """What belongs to what.

    Parameters
    ----------
    object_index : int64 ndarray, shape (n_sources,)
        Row of each source's object; -1 if it has none.
    separation_arcsec : float64 ndarray, shape (n_sources,)
        Distance to it [arcsec]; NaN if it has none.
    """

    object_index: NDArray[np.int64]
    separation_arcsec: NDArray[np.float64]


def associate(
    sources: NDArray[Any],
    objects: NDArray[Any],
    *,
    radius_arcsec: float = 1.0,
    max_offset_sigma: float | None = None,
    index: PositionIndex | None = None,
) -> Association:
    """Give each source at most one object within a radius, and each object at most one source.

    Of all ways to pair, the one of the least total cost is taken: squared distances in units of their
    errors, see `astra.sky.matching.pair_costs`. To stay alone costs as much as the largest offset that is
    still believed: by default that at which the source is as likely a new object as one that is known, see
    `astra.sky.new_object_odds`. On an empty sky that is any within the radius, in a crowd some errors.

    Parameters
    ----------
    sources, objects : structured ndarray, shape (n,) and (m,)
        With ``ra``, ``dec`` [deg] and, if known, ``raErr`` (times cos(dec)), ``decErr`` [deg] and
        ``ra_dec_Cov`` [deg**2]. Objects that have ``pmRa`` (times cos(dec)), ``pmDec`` [mas/yr] and
        ``epochMjdTai`` [d] are moved to the mean ``midpointMjdTai`` of the sources [d] first.
    radius_arcsec : float, optional
        Largest separation [arcsec].
    max_offset_sigma : float, optional
        Largest offset in units of its error, in place of the likeliest; infinite for any within the radius.
    index : PositionIndex, optional
        The positions of the objects, moved, if they are sorted already.

    Raises
    ------
    ValueError
        If a limit is not positive.
    """
    objects = at_time_of(objects, sources)
    if index is None:
        index = index_positions(objects["ra"], objects["dec"])
    columns = sources["ra"], sources["dec"], objects["ra"], objects["dec"]
    pairs = find_pairs(*columns, radius_arcsec, index=index)
    near = closeness(pairs, sources, objects)
    if max_offset_sigma is None:
        density = _densities(sources, pairs, index)
        alone = costs_alone(pairs, near, density, len(objects), radius_arcsec)
    else:
        alone = np.full(len(sources), _cost_of_offset(near, max_offset_sigma))
    chosen = assign(pairs.first, pairs.second, near.cost, alone)
    chosen = chosen[chosen >= 0]
    found = np.full(len(sources), -1, dtype=np.int64)
    separation = np.full(len(sources), np.nan)
    found[pairs.first[chosen]] = pairs.second[chosen]
    separation[pairs.first[chosen]] = pairs.separation_arcsec[chosen]
    return Association(found, separation)


def _densities(sources: NDArray[Any], pairs: Pairs, index: PositionIndex) -> NDArray[np.float64]:
    """Density of objects round the sources that have any within the radius [arcsec**-2], elsewhere 1."""
    density = np.ones(len(sources))
    rows = np.flatnonzero(np.bincount(pairs.first, minlength=len(sources)))
    places = index_positions(sources["ra"][rows], sources["dec"][rows])
    density[rows[places.rows]] = densities_around(places, index)
    return density


def _cost_of_offset(near: Closeness, max_offset_sigma: float) -> float:
    """Cost of a source without object: that of an offset, or more than that of any pair."""
    if not max_offset_sigma > 0:
        message = f"the largest offset must be positive, found {max_offset_sigma} sigma"
        raise ValueError(message)
    return float(min(0.5 * max_offset_sigma**2, near.cost.max(initial=0.0) + 1.0))


def at_time_of(objects: NDArray[Any], sources: NDArray[Any]) -> NDArray[Any]:
    """Move objects with known proper motions to the mean time of sources.

    Parameters
    ----------
    objects : structured ndarray, shape (m,)
        With ``ra``, ``dec`` [deg] and, if known, ``pmRa``, ``pmDec`` [mas/yr] and ``epochMjdTai`` [d].
    sources : structured ndarray, shape (n,)
        With ``midpointMjdTai`` [d] if known.

    Returns
    -------
    moved : structured ndarray, shape (m,)
        The objects themselves if nothing is known of motions.
    """
    is_known = {"pmRa", "pmDec", "epochMjdTai"} <= set(objects.dtype.names or ())
    if not (is_known and len(sources) and "midpointMjdTai" in (sources.dtype.names or ())):
        return objects
    moved = objects.copy()
    interval = (float(sources["midpointMjdTai"].mean()) - objects["epochMjdTai"]) / DAYS_PER_YEAR
    motion = objects["pmRa"].astype(float), objects["pmDec"].astype(float)
    moved["ra"], moved["dec"] = move_stars(objects["ra"], objects["dec"], *motion, interval)
    return moved


def mean_positions(
    sources: NDArray[Any], object_index: NDArray[np.int64], n_objects: int
) -> dict[str, NDArray[np.float64]]:
    """Mean position of each object: the mean of its sources' unit vectors.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        With ``ra``, ``dec`` [deg] and, if known, ``raErr``, ``decErr`` [deg] and ``ra_dec_Cov`` [deg**2].
    object_index : int64 ndarray, shape (n,)
        Object of each source, from 0 to ``n_objects`` - 1.
    n_objects : int
        Number of objects.

    Returns
    -------
    columns : dict of ndarray, shape (n_objects,)
        ``ra``, ``dec``, ``raErr`` (times cos(dec)), ``decErr`` [deg] and ``ra_dec_Cov`` [deg**2]. Errors are
        propagated from the sources'; NaN if one of them has none.
    """
    vectors = unit_vectors(sources["ra"], sources["dec"])
    total: NDArray[np.float64] = np.column_stack(
        [np.bincount(object_index, v, n_objects).astype(float) for v in vectors.T]
    )
    count = np.bincount(object_index, minlength=n_objects)
    ra, dec = positions(total)

    def mean_of_variances(name: str, power: int) -> NDArray[np.float64]:
        if name not in (sources.dtype.names or ()):
            return np.full(n_objects, np.nan)
        values = sources[name].astype(float) ** power
        return np.asarray(np.bincount(object_index, values, n_objects) / count**2)

    return {
        "ra": ra,
        "dec": dec,
        "raErr": np.sqrt(mean_of_variances("raErr", 2)),
        "decErr": np.sqrt(mean_of_variances("decErr", 2)),
        "ra_dec_Cov": mean_of_variances("ra_dec_Cov", 1),
    }
