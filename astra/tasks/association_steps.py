"""Association of one visit and detector, from the catalogue of a difference image to the tables.

The steps in their order, on a connection of the caller: no files, no Luigi. The rules of matching are in
`astra.sky.association`, the tables in `astra.database.apdb`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.sphgeom import ConvexPolygon
from numpy.typing import NDArray

from astra.database import apdb
from astra.database.arrays import to_table
from astra.database.models.apdb import dia_forced_source, dia_source
from astra.errors import FormatError
from astra.sky.association import associate, is_measurement, may_found_object
from astra.sky.dia_objects import make_dia_objects
from astra.sky.identifiers import pack_source_ids
from astra.sky.regions import contains, dilate, htm_pixels, htm_ranges

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOAD_MARGIN_ARCSEC = 20.0  # objects this far beyond the detector may still be the ones detected on it

# Counts that may not be null, but that not every measurement makes.
_COUNTS = ("psfNdata", "trailNdata", "dipoleNdata", "bboxSize")
_REQUIRED = ("ra", "dec", "x", "y", "psfFlux", "psfFluxErr")

ForcedPhotometry = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[Any]]


@dataclass(frozen=True)
class AssociationResult:
    """What the association of one visit and detector wrote.

    Parameters
    ----------
    dia_sources : structured ndarray
        Stored detections, columns of DiaSource, each with ``diaSourceId`` and ``diaObjectId``.
    dia_objects : structured ndarray
        New versions of the objects that were detected; columns of DiaObject without validity.
    forced : structured ndarray
        Forced measurements, columns of DiaForcedSource.
    n_new, n_updated : int
        Objects that were first detected here, and objects that were known.
    n_rejected : int
        Detections that were not stored: no measurement, or not trusted to found an object.
    n_unreliable : int
        Detections below the least reliability, which were not stored either.
    time_processed_mjd_tai : float
        When the validity of the objects starts [d, MJD TAI].
    """

    dia_sources: NDArray[Any]
    dia_objects: NDArray[Any]
    forced: NDArray[Any]
    n_new: int
    n_updated: int
    n_rejected: int
    n_unreliable: int
    time_processed_mjd_tai: float


def associate_visit(
    connection: Connection,
    *,
    instrument: str,
    visit: int,
    detector: int,
    band: str,
    midpoint_mjd_tai: float,
    region: ConvexPolygon,
    dia_sources: NDArray[Any],
    forced_photometry: ForcedPhotometry,
    time_processed_mjd_tai: float,
    task_id: str,
    packed_visit_detector: int,
    release: int = 0,
    radius_arcsec: float = 1.0,
    min_reliability: float = 0.0,
) -> AssociationResult:
    """Associate the detections of one visit and detector, and store all of it in the caller's transaction.

    Run twice, it leaves the same tables as run once: what the visit and detector wrote before is withdrawn.

    Parameters
    ----------
    connection : Connection
        Transaction of the caller; on PostgreSQL others that associate wait for its end.
    instrument, visit, detector
        What is processed.
    band : str
        One of ``ugrizy``.
    midpoint_mjd_tai : float
        Middle of the exposure [d, MJD TAI].
    region : ConvexPolygon
        Where the detector looked.
    dia_sources : structured ndarray, shape (n,)
        Detections, columns as in DiaSource as far as they are measured: at least ``ra``, ``dec`` [deg],
        ``x``, ``y`` [pixel], ``psfFlux`` and ``psfFluxErr`` [nJy]. The number of a row goes into its
        ``diaSourceId``, unless it has one. ``midpointMjdTai`` may differ from row to row.
    forced_photometry : callable
        Takes ra and dec [deg], shape (m,), and returns a structured array, shape (m,), with ``psfFlux``,
        ``psfFluxErr`` and, if measured, ``scienceFlux``, ``scienceFluxErr`` [nJy] and ``midpointMjdTai``;
        NaN where nothing can be measured. It is called once, for every object that is detected now, and
        for every other in the region that had been detected before, at its position as known then (Rubin
        asks for two detections).
    time_processed_mjd_tai : float
        Now [d, MJD TAI]; moved later if the objects are of a later version already.
    task_id : str
        Task that does it, for the marker.
    packed_visit_detector : int
        See `astra.instruments.base.Instrument.pack_visit_detector`.
    release : int, optional
        Processing release, for the identifiers.
    radius_arcsec : float, optional
        Largest distance of a detection from its object [arcsec].
    min_reliability : float, optional
        Detections of a lower ``reliability`` are neither associated nor stored; with 0 all are.

    Raises
    ------
    ConflictingDefinitionError
        If another camera has used this visit and detector.
    FormatError
        If a column is missing.
    """
    reliable = is_reliable(dia_sources, min_reliability)
    apdb.lock(connection)
    vanished = apdb.withdraw_visit(connection, instrument, visit, detector)
    around = dilate(region, LOAD_MARGIN_ARCSEC)
    objects = apdb.load_dia_objects(connection, htm_ranges(around))
    objects = objects[contains(around, objects["ra"], objects["dec"])]
    time = _later_than(objects["validityStartMjdTai"], time_processed_mjd_tai)
    common = {"visit": visit, "detector": detector, "timeProcessedMjdTai": time}
    defaults = {"midpointMjdTai": midpoint_mjd_tai, "band": band}

    ids = _source_ids(dia_sources, packed_visit_detector, release)
    usable = is_measurement(dia_sources) & reliable
    prepared = _source_rows(dia_sources[usable], common, defaults | {"diaSourceId": ids[usable]})
    sources = _with_objects(prepared, objects, radius_arcsec)

    history = apdb.load_sources(connection, np.intersect1d(sources["diaObjectId"], objects["diaObjectId"]))
    everything = _stack(history, sources)
    begin = sources["midpointMjdTai"].min(initial=midpoint_mjd_tai)
    end = sources["midpointMjdTai"].max(initial=midpoint_mjd_tai)
    known = _known_before(connection, objects, float(begin))
    known = known[contains(region, known["ra"], known["dec"])]
    detected = make_dia_objects(everything[everything["midpointMjdTai"] <= end])
    targets = _forced_targets(detected, known)
    packed = packed_visit_detector, release
    forced = _forced_rows(targets, forced_photometry, common, defaults, packed)
    past = apdb.load_forced(connection, detected["diaObjectId"])
    updated = make_dia_objects(everything, _stack(past, forced))

    n_new = int(np.isin(updated["diaObjectId"], sources["diaSourceId"]).sum())  # named after these detections
    counts = len(sources), n_new, len(updated) - n_new, len(forced)
    marker = apdb.Marker(instrument, visit, detector, task_id, band, midpoint_mjd_tai, time, *counts)
    apdb.store_visit(connection, marker, sources, updated, forced)
    apdb.delete_orphans(connection, vanished)
    n_unreliable = int(np.sum(~reliable))
    n_rejected = len(dia_sources) - len(sources) - n_unreliable
    n_updated = len(updated) - n_new
    return AssociationResult(sources, updated, forced, n_new, n_updated, n_rejected, n_unreliable, time)


def is_reliable(sources: NDArray[Any], min_reliability: float) -> NDArray[np.bool_]:
    """Whether detections have at least a reliability, shape (n,); one without a score has none.

    Raises
    ------
    FormatError
        If a reliability is asked for, and the detections have no such column.
    """
    if min_reliability <= 0.0:
        return np.ones(len(sources), dtype=bool)
    if "reliability" not in (sources.dtype.names or ()):
        message = (
            f"a least reliability of {min_reliability:g} is asked for, but the detections have no column "
            f"reliability; subtract with a reliability model, or set min_reliability to 0"
        )
        raise FormatError(message, min_reliability=min_reliability)
    enough: NDArray[np.bool_] = sources["reliability"] >= np.float32(min_reliability)
    return enough


def _later_than(starts: NDArray[np.float64], time: float) -> float:
    """Time after all of some others: a version may not start before the one that it replaces."""
    return float(max(time, np.nextafter(starts.max(), np.inf))) if len(starts) else time


def _source_ids(sources: NDArray[Any], packed: int, release: int) -> NDArray[np.int64]:
    """Give detections their own identifiers, or their numbers in the catalogue, from 1."""
    if "diaSourceId" in (sources.dtype.names or ()):
        return sources["diaSourceId"].astype(np.int64)
    return pack_source_ids(packed, np.arange(1, len(sources) + 1), release=release)


def _source_rows(sources: NDArray[Any], common: dict[str, Any], defaults: dict[str, Any]) -> NDArray[Any]:
    """Rows of DiaSource, not yet of any object."""
    present = set(sources.dtype.names or ())
    missing = [name for name in _REQUIRED if name not in present]
    if missing:
        message = f"a catalogue of detections needs the columns {', '.join(missing)}"
        raise FormatError(message, missing=missing)
    absent = {name: value for name, value in defaults.items() if name not in present}
    absent |= {name: 0 for name in _COUNTS if name not in present}
    absent |= {"diaObjectId": 0, "pixelId": htm_pixels(sources["ra"], sources["dec"])}
    return to_table(dia_source, sources, **common, **absent)


def _with_objects(sources: NDArray[Any], objects: NDArray[Any], radius_arcsec: float) -> NDArray[Any]:
    """Give each detection its object; leave out those that have none and may not found one."""
    index = associate(sources, objects, radius_arcsec=radius_arcsec).object_index
    is_known = index >= 0
    rows = sources.copy()
    rows["diaObjectId"] = rows["diaSourceId"]  # an object is named after its first detection
    rows["diaObjectId"][is_known] = objects["diaObjectId"][index[is_known]]
    return rows[is_known | may_found_object(sources)]


def _stack(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Rows of two arrays, with the columns of the first; those that the second lacks are NaN."""
    rows = np.zeros(len(second), dtype=first.dtype)
    for name in first.dtype.names or ():
        if name in (second.dtype.names or ()):
            rows[name] = second[name]
        elif rows[name].dtype.kind == "f":
            rows[name] = np.nan
    return np.concatenate([first, rows])


def _known_before(connection: Connection, objects: NDArray[Any], time: float) -> NDArray[Any]:
    """Take the objects that had been detected before a time [d, MJD TAI], at their mean position until then.

    Forced photometry is then the same in whatever order visits, and detectors of a visit, are processed.
    """
    known = objects[objects["firstDiaSourceMjdTai"] < time]
    is_later = known["lastDiaSourceMjdTai"] >= time
    in_time = dia_source.c.midpointMjdTai < time
    earlier = make_dia_objects(apdb.load_sources(connection, known["diaObjectId"][is_later], in_time))
    rows = np.flatnonzero(is_later)[np.isin(known["diaObjectId"][is_later], earlier["diaObjectId"])]
    for name in ("ra", "dec"):
        known[name][rows] = earlier[name]  # both ordered by diaObjectId
    return known


def _forced_targets(detected: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    """Positions to measure, by object: those detected now, and the others that were known."""
    names = ["diaObjectId", "ra", "dec"]
    others = known[~np.isin(known["diaObjectId"], detected["diaObjectId"])]
    targets = np.zeros(len(detected) + len(others), dtype=[(name, detected.dtype[name]) for name in names])
    for name in names:
        targets[name] = np.concatenate([detected[name], others[name]])
    return np.sort(targets, order="diaObjectId")


def _forced_rows(
    targets: NDArray[Any],
    forced_photometry: ForcedPhotometry,
    common: dict[str, Any],
    defaults: dict[str, Any],
    packed: tuple[int, int],
) -> NDArray[Any]:
    """Rows of DiaForcedSource of all targets where something could be measured."""
    fluxes = forced_photometry(targets["ra"], targets["dec"])
    names = [name for name in fluxes.dtype.names or () if name.endswith(("Flux", "FluxErr"))]
    measured = np.zeros(len(targets), dtype=bool)
    for name in names:
        measured |= np.isfinite(fluxes[name])
    absent = {name: value for name, value in defaults.items() if name not in (fluxes.dtype.names or ())}
    own = {name: targets[name][measured] for name in ("diaObjectId", "ra", "dec")}
    counters = np.arange(1, int(measured.sum()) + 1)
    ids = pack_source_ids(packed[0], counters, release=packed[1])
    return to_table(dia_forced_source, fluxes[measured], diaForcedSourceId=ids, **own, **absent, **common)
