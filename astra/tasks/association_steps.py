"""Association of one visit and detector, from the catalogue of a difference image to the tables.

The steps in their order, on a connection of the caller: no files, no Luigi. The rules of matching are in
`astra.sky.association`, the tables in `astra.database.apdb`; `astra.tasks.association_plan` finds out what a
detector will write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from lsst.sphgeom import ConvexPolygon
from numpy.typing import NDArray

from astra.database import apdb
from astra.database.apdb_facts import facts_in, objects_of
from astra.database.footprints import Member, hand_over, holds_rows, later_members, note_footprint
from astra.errors import ConflictingDefinitionError, TooManyObjectsError
from astra.tasks.association_plan import AssociationOptions, DetectorVisit, Plan, plan_detector
from astra.tasks.association_rows import ForcedPhotometry

if TYPE_CHECKING:
    from sqlalchemy import Connection

OVERLAP_MARGIN_ARCSEC = 0.1  # for rounding, beyond the radius of either detector


@dataclass(frozen=True)
class AssociationResult:
    """What the association of one visit and detector wrote.

    Parameters
    ----------
    dia_sources : structured ndarray
        Stored detections, columns of DiaSource, each with ``diaSourceId`` and ``diaObjectId`` or, if it is
        a known body, ``ssObjectId``.
    forced : structured ndarray
        Forced measurements, columns of DiaForcedSource.
    n_new, n_updated : int
        Objects that were first detected here, and objects that were known.
    n_rejected : int
        Detections that were not stored: no measurement, or not trusted to found an object.
    n_unreliable : int
        Detections below the least reliability, which were not stored either.
    time_processed_mjd_tai : float
        When it was done [d, MJD TAI].
    reasons : dict
        Counts of the rejected by reason, those that were not trusted to found an object as ``new_...``.
    n_solar_system : int
        Detections of known bodies.
    redone : tuple of Member
        Later detectors that overlap, which were associated again after this one.
    """

    dia_sources: NDArray[Any]
    forced: NDArray[Any]
    n_new: int
    n_updated: int
    n_rejected: int
    n_unreliable: int
    time_processed_mjd_tai: float
    reasons: dict[str, int] = field(default_factory=dict)
    n_solar_system: int = 0
    redone: tuple[Member, ...] = ()


Redo = Callable[[Member], DetectorVisit]


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
    options: AssociationOptions | None = None,
    bodies: NDArray[Any] | None = None,
    redo: Redo | None = None,
) -> AssociationResult:
    """Associate the detections of one visit and detector, and store all of it in the caller's transaction.

    Run twice, it leaves the same tables as run once: what the visit and detector wrote before is withdrawn.
    The tables are those of detectors in the order of their midpoints (then of visit and detector): one that
    comes late is associated with what was known by its time, and if it finds anything that was not in the
    tables yet, those after it that look at the same sky are associated again. Corrections of what is
    associated again are made again after it.

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
        NaN where nothing can be measured. It is called for every object that is detected now, and for every
        other in the region that had been detected before, at its position as known then.
    time_processed_mjd_tai : float
        Now [d, MJD TAI].
    task_id : str
        Task that does it, for the marker.
    packed_visit_detector : int
        See `astra.instruments.base.Instrument.pack_visit_detector`.
    release : int, optional
        Processing release, for the identifiers.
    radius_arcsec, min_reliability : float, optional
        See `AssociationOptions`; not used if there are ``options``.
    options : AssociationOptions, optional
        How detections are associated.
    bodies : structured ndarray, optional
        Where known bodies of the solar system are expected: ``ssObjectId``, ``ra``, ``dec`` [deg] and, if
        known, errors; their detections belong to no object.
    redo : callable, optional
        Returns what a later detector is associated with again.

    Raises
    ------
    ConflictingDefinitionError
        If another camera has used this visit and detector, or it comes late and there is no ``redo``.
    FormatError
        If a column is missing.
    TooManyObjectsError
        If there are more new objects than allowed.
    """
    options = options or AssociationOptions(radius_arcsec, min_reliability=min_reliability)
    this = DetectorVisit(
        instrument, visit, detector, band, midpoint_mjd_tai, region, dia_sources, forced_photometry,
        time_processed_mjd_tai, task_id, packed_visit_detector, release, bodies, options,
    )  # fmt: skip
    return associate_in_order(connection, this, redo)


def associate_in_order(
    connection: Connection, this: DetectorVisit, redo: Redo | None = None
) -> AssociationResult:
    """Associate a detector as `associate_visit` does, which takes the parts of it one by one."""
    apdb.lock(connection)
    margin = 2.0 * this.options.radius_arcsec + OVERLAP_MARGIN_ARCSEC
    later = later_members(connection, this.instrument, this.member, margin)
    is_again = bool(later) or apdb.load_marker(connection, *this.place) is not None
    regions = [one.region for one in (this.member, *later)]
    how: dict[str, Any] = {
        "time_mjd_tai": this.time_processed_mjd_tai,
        "plugins": this.options.plugins,
    }
    before = (
        _snapshot(connection, this, later) if is_again or apdb.is_there(connection, *this.place[1:]) else None
    )
    facts = apdb.take_back_in(connection, regions, this.visit, this.detector, is_again=is_again, **how)
    if before is not None:
        apdb.clear_remains(connection, before)
    result = _insert_before(connection, this, later, redo) if later else _append_again(connection, this)
    apdb.make_again(connection, facts, **how)
    if before is not None:
        apdb.follow(connection, before, this.time_processed_mjd_tai)
    return result


def _snapshot(connection: Connection, this: DetectorVisit, later: list[Member]) -> apdb.Snapshot:
    """Read what is there of all that is associated again, and of the corrections of it."""
    members = [this.member, *later]
    facts = facts_in(connection, [member.region for member in members])
    places = [(member.visit, member.detector) for member in members]
    return apdb.take_snapshot(connection, places, this.midpoint_mjd_tai, objects_of(facts))


def _append_again(connection: Connection, this: DetectorVisit) -> AssociationResult:
    """Associate a detector that is the last of those which overlap with it, in place of what it wrote."""
    vanished = _withdraw(connection, this, this.member)
    result = _append(connection, this)
    apdb.delete_orphans(connection, vanished)
    return result


def _insert_before(
    connection: Connection,
    this: DetectorVisit,
    later: list[Member],
    redo: Redo | None,
) -> AssociationResult:
    """Associate a detector that others come after which are associated; these are associated again."""
    plan = plan_detector(connection, this, [this.member, *later])
    if apdb.load_marker(connection, *this.place) and holds_rows(
        connection, this.visit, this.detector, plan.sources, plan.forced
    ):
        hand_over(connection, this.instrument, this.visit, this.detector, this.task_id)
        ids = np.unique(plan.sources["diaObjectId"])
        apdb.remake_statistics(connection, ids, this.midpoint_mjd_tai, this.options.plugins)
        return _result(plan)
    if redo is None:
        raise _refusal(this, later[0])
    inputs = [redo(member) for member in later]  # before anything is changed: their files may be gone
    vanished = [_withdraw(connection, this, member) for member in [*reversed(later), this.member]]
    result = _append(connection, this)
    for one in inputs:
        _append(connection, one)
    apdb.delete_orphans(connection, np.unique(np.concatenate(vanished)))
    return AssociationResult(**{**vars(result), "redone": tuple(later)})


def _withdraw(connection: Connection, this: DetectorVisit, member: Member) -> NDArray[np.int64]:
    """Withdraw a detector, to associate it again; return the objects that it leaves without detections."""
    place = this.instrument, member.visit, member.detector
    return apdb.withdraw_visit(connection, *place, plugins=this.options.plugins)


def _refusal(this: DetectorVisit, later: Member) -> ConflictingDefinitionError:
    """Say that a detector comes late."""
    message = (
        f"visit {this.visit} detector {this.detector} of {this.instrument} cannot be associated after visit "
        f"{later.visit} detector {later.detector}, which overlaps it and is "
        f"{(later.midpoint_mjd_tai - this.midpoint_mjd_tai) * 86400.0:.1f} s later: associate that again too"
    )
    return ConflictingDefinitionError(message, visit=this.visit, detector=this.detector, later=later.visit)


def _append(connection: Connection, this: DetectorVisit) -> AssociationResult:
    """Associate a detector that is the last of those which overlap with it, and store it."""
    plan = plan_detector(connection, this)
    result = _result(plan)
    limit = this.options.max_new_dia_objects
    if 0 < limit < result.n_new:
        message = (
            f"visit {this.visit} detector {this.detector} of {this.instrument} would found {result.n_new} "
            f"objects, but max_new_dia_objects is {limit}; look at its difference image"
        )
        raise TooManyObjectsError(message, n_new=result.n_new, limit=limit)
    counts = len(plan.sources), result.n_new, result.n_updated, len(plan.forced)
    marker = apdb.Marker(
        this.instrument, this.visit, this.detector, this.task_id, this.band, this.midpoint_mjd_tai, plan.time,
        *counts,
    )  # fmt: skip
    apdb.store_visit(connection, marker, plan.sources, None, plan.forced, plugins=this.options.plugins)
    note_footprint(connection, this.instrument, this.member)
    return result


def _result(plan: Plan) -> AssociationResult:
    """Count what a plan writes."""
    ids = plan.sources["diaObjectId"]
    objects = np.unique(ids[ids != 0])
    n_new = int(np.isin(objects, plan.sources["diaSourceId"]).sum())  # named after these
    return AssociationResult(
        plan.sources,
        plan.forced,
        n_new,
        len(objects) - n_new,
        sum(plan.reasons.values()),
        plan.n_unreliable,
        plan.time,
        plan.reasons,
        int((plan.sources["ssObjectId"] != 0).sum()),
    )
