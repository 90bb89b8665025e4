"""What one detector of one visit will write: whose its detections are, and forced measurements.

Nothing is written here; see `astra.tasks.association_steps`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.sphgeom import ConvexPolygon
from numpy.typing import NDArray

from astra.database import apdb
from astra.database.footprints import Member
from astra.database.models.apdb import dia_source
from astra.sky.association import associate
from astra.sky.detection_rules import DetectionRules, count_reasons, distrust_reasons, rejection_reasons
from astra.sky.dia_objects import make_dia_objects
from astra.sky.identifiers import VISIT_DETECTOR_BITS, IdParts
from astra.sky.light_curve_plugins import DEFAULT_PLUGINS, FURTHER_PLUGINS
from astra.sky.regions import contains, dilate, htm_ranges
from astra.tasks.association_rows import (
    ForcedPhotometry,
    forced_rows,
    forced_targets,
    is_reliable,
    source_ids,
    source_rows,
    stack,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOAD_MARGIN_ARCSEC = 20.0  # objects this far beyond the detector may still be the ones detected on it


@dataclass(frozen=True)
class AssociationOptions:
    """How detections are associated.

    Parameters
    ----------
    radius_arcsec : float, optional
        Largest distance of a detection from its object, or of a known body [arcsec].
    max_offset_sigma : float, optional
        The same in units of the error; by default there is no such limit.
    min_reliability : float, optional
        Detections of a lower ``reliability`` are neither associated nor stored; with 0 all are.
    rules : DetectionRules, optional
        Which detections are associated, and which may found an object.
    max_new_dia_objects : int, optional
        More new objects than this are an error; 0 for no limit.
    min_forced_detections : int, optional
        Objects with fewer detections get no forced photometry; Rubin asks for 2.
    pixel_scale_arcsec : float, optional
        Scale of ``bboxSize`` [arcsec/pixel], for the rule of trails that could not be fitted.
    plugins : tuple of str, optional
        Statistics of the objects, see `astra.sky.light_curve_plugins`; all but the periodograms.
    """

    radius_arcsec: float = 1.0
    max_offset_sigma: float | None = None
    min_reliability: float = 0.0
    rules: DetectionRules = field(default_factory=DetectionRules)
    max_new_dia_objects: int = 0
    min_forced_detections: int = 1
    pixel_scale_arcsec: float = np.nan
    plugins: tuple[str, ...] = (*DEFAULT_PLUGINS, *FURTHER_PLUGINS)


@dataclass(frozen=True)
class DetectorVisit:
    """One detector of one visit to associate; see `associate_visit`."""

    instrument: str
    visit: int
    detector: int
    band: str
    midpoint_mjd_tai: float
    region: ConvexPolygon
    dia_sources: NDArray[Any]
    forced_photometry: ForcedPhotometry
    time_processed_mjd_tai: float
    task_id: str
    packed_visit_detector: int
    release: int = 0
    bodies: NDArray[Any] | None = None
    options: AssociationOptions = field(default_factory=AssociationOptions)
    ccd_exposure_id_bits: int = VISIT_DETECTOR_BITS

    @property
    def member(self) -> Member:
        """Its place in the order of association."""
        return Member(self.midpoint_mjd_tai, self.visit, self.detector, self.task_id, self.region)

    @property
    def place(self) -> tuple[str, int, int]:
        """Camera, visit and detector."""
        return self.instrument, self.visit, self.detector

    @property
    def id_parts(self) -> IdParts:
        """What its identifiers are made of."""
        return IdParts(self.packed_visit_detector, self.release, self.ccd_exposure_id_bits)


@dataclass(frozen=True)
class Plan:
    """What one detector will write."""

    sources: NDArray[Any]
    forced: NDArray[Any]
    time: float
    n_unreliable: int
    reasons: dict[str, int]


def plan_detector(connection: Connection, this: DetectorVisit, without: list[Member] | None = None) -> Plan:
    """Find out whose the detections are, and measure; nothing is written.

    Detections of the members of ``without`` count as not made.

    Raises
    ------
    FormatError
        If a column is missing.
    """
    options = this.options
    around = dilate(this.region, LOAD_MARGIN_ARCSEC)
    objects = apdb.load_dia_objects(connection, htm_ranges(around))
    time = this.time_processed_mjd_tai
    if without:
        objects = _objects_without(connection, objects, without)
    objects = objects[contains(around, objects["ra"], objects["dec"])]
    common = {"visit": this.visit, "detector": this.detector, "timeProcessedMjdTai": time}
    defaults = {"midpointMjdTai": this.midpoint_mjd_tai, "band": this.band}

    reliable = is_reliable(this.dia_sources, options.min_reliability)
    scale = options.pixel_scale_arcsec
    reasons = rejection_reasons(this.dia_sources[reliable], options.rules, pixel_scale_arcsec=scale)
    usable = np.flatnonzero(reliable)[reasons == ""]
    ids = source_ids(this.dia_sources, this.id_parts)[usable]
    prepared = source_rows(this.dia_sources[usable], common, defaults | {"diaSourceId": ids})
    distrusted = distrust_reasons(this.dia_sources[usable], options.rules)
    is_kept = _name_owners(prepared, distrusted, objects, this.bodies, options)
    sources = prepared[is_kept]

    begin = sources["midpointMjdTai"].min(initial=this.midpoint_mjd_tai)
    known = _known_before(connection, objects, float(begin))
    known = known[contains(this.region, known["ra"], known["dec"])]
    end = sources["midpointMjdTai"].max(initial=this.midpoint_mjd_tai)
    detected = _detected(connection, sources[sources["diaObjectId"] != 0], float(end), without)
    targets = forced_targets(detected, known, options.min_forced_detections)
    forced = forced_rows(targets, this.forced_photometry, common, defaults, this.id_parts)
    untrusted = {f"new_{name}": n for name, n in count_reasons(distrusted[~is_kept]).items()}
    counts = count_reasons(reasons) | untrusted
    return Plan(sources, forced, time, int(np.sum(~reliable)), counts)


def _name_owners(
    sources: NDArray[Any],
    distrusted: NDArray[np.str_],
    objects: NDArray[Any],
    bodies: NDArray[Any] | None,
    options: AssociationOptions,
) -> NDArray[np.bool_]:
    """Fill in whose the detections are, known bodies first; say which are kept."""
    is_body = np.zeros(len(sources), dtype=bool)
    if bodies is not None and len(bodies):
        index = _partners(sources, bodies, options)
        is_body = index >= 0
        sources["ssObjectId"][is_body] = bodies["ssObjectId"][index[is_body]]
    rest = np.flatnonzero(~is_body)
    index = _partners(sources[rest], objects, options)
    is_known = index >= 0
    sources["diaObjectId"][rest] = sources["diaSourceId"][
        rest
    ]  # an object is named after its first detection
    sources["diaObjectId"][rest[is_known]] = objects["diaObjectId"][index[is_known]]
    keep: NDArray[np.bool_] = is_body | (distrusted == "")
    keep[rest[is_known]] = True
    return keep


def _detected(
    connection: Connection, sources: NDArray[Any], time: float, without: list[Member] | None
) -> NDArray[Any]:
    """Make the objects of detections as they are with them at a time, without what some detectors detected.

    Their history is read only for a visit that comes late: else running sums are kept of it.
    """
    if not without:
        return apdb.objects_with(connection, sources, time)
    history = _not_of(apdb.load_sources(connection, np.unique(sources["diaObjectId"])), without)
    everything = stack(history, sources)
    return make_dia_objects(everything[everything["midpointMjdTai"] <= time])


def _partners(sources: NDArray[Any], others: NDArray[Any], options: AssociationOptions) -> NDArray[np.int64]:
    """Rows of what the detections belong to; -1 for none."""
    limits = options.radius_arcsec, options.max_offset_sigma
    return associate(sources, others, radius_arcsec=limits[0], max_offset_sigma=limits[1]).object_index


def _not_of(rows: NDArray[Any], members: list[Member]) -> NDArray[Any]:
    """Rows of other detectors than some."""
    wrong = np.zeros(len(rows), dtype=bool)
    for member in members:
        wrong |= (rows["visit"] == member.visit) & (rows["detector"] == member.detector)
    return rows[~wrong]


def _objects_without(connection: Connection, objects: NDArray[Any], members: list[Member]) -> NDArray[Any]:
    """Make objects again from the detections that some detectors did not make."""
    sources = _not_of(apdb.load_sources(connection, objects["diaObjectId"]), members)
    made = make_dia_objects(sources)
    found = objects[np.isin(objects["diaObjectId"], made["diaObjectId"])].copy()
    for name in set(found.dtype.names or ()) & set(made.dtype.names or ()):
        found[name] = made[name]  # both ordered by diaObjectId
    return found


def _known_before(connection: Connection, objects: NDArray[Any], time: float) -> NDArray[Any]:
    """Take the objects that had been detected before a time [d, MJD TAI], at their mean position until then.

    Forced photometry is then the same in whatever order visits, and detectors of a visit, are processed.
    """
    known = objects[objects["firstDiaSourceMjdTai"] < time]
    is_later = known["lastDiaSourceMjdTai"] >= time
    in_time = dia_source.c.midpointMjdTai < time
    earlier = make_dia_objects(apdb.load_sources(connection, known["diaObjectId"][is_later], in_time))
    rows = np.flatnonzero(is_later)[np.isin(known["diaObjectId"][is_later], earlier["diaObjectId"])]
    for name in ("ra", "dec", "nDiaSources"):
        known[name][rows] = earlier[name]  # both ordered by diaObjectId
    return known
