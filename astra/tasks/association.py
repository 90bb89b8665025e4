"""Associate detections with objects: the only task that writes the survey's DiaObjects and DiaSources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import luigi

from astra.errors import AstraError, ConflictingDefinitionError, MissingDataError
from astra.tasks.associated import AssociatedTask, chosen_plugins
from astra.tasks.batch import per_member
from astra.tasks.diffim import DiffIm
from astra.tasks.options import OptionsParameter, with_options
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.reopened_alerts import reopen_alerts
from astra.tasks.sky_cells import sky_resources
from astra.tasks.solar_system import expected_bodies

if TYPE_CHECKING:
    from astra.database.footprints import Member
    from astra.images.exposure import Exposure
    from astra.tasks.association_plan import AssociationOptions, DetectorVisit
    from astra.tasks.association_rows import ForcedPhotometry
    from astra.tasks.association_steps import AssociationResult


class Associate(AssociatedTask):
    """Associate the detections of one detector of one visit with objects, and measure all objects on it.

    Rows and their ``apdb_marker`` are written in one transaction. Of those that look at the same sky Luigi
    runs one at a time, and a batch goes through its members in order of time, so that objects are named by
    their first detection. A visit that
    comes late, after others that look at the same sky, is put in its place: if it finds anything new, those
    are associated again in the same transaction, and their alerts are packaged again.
    """

    radius_arcsec = luigi.FloatParameter(default=1.0, description="Largest distance from an object [arcsec].")
    max_offset_sigma = luigi.OptionalFloatParameter(
        default=None,
        description="Largest distance from an object in units of its error; by default there is no limit.",
    )
    min_reliability = luigi.FloatParameter(
        default=0.0,
        description="Least reliability, 0 to 1, of a detection that is stored and alerted on; 0: all.",
    )
    detection_rules = OptionsParameter(
        default="",
        description="Which detections are associated, and which may found an object, as name=value,..., e.g. "
        "max_trail_deg_per_day=10,min_science_snr=-2,min_new_reliability=0.1; an unknown name lists all.",
    )
    max_new_dia_objects = luigi.IntParameter(
        default=0, description="Largest number of new objects of a detector; more are an error; 0: no limit."
    )
    min_forced_detections = luigi.IntParameter(
        default=1,
        description="Least number of detections of an object for forced photometry; Rubin's is 2.",
    )
    release = luigi.IntParameter(
        default=0, description="Processing release, 0 to 63, in the identifiers; 0 is for development."
    )

    step = "diaPipe"
    kinds: ClassVar[tuple[str, ...]] = ()

    @property
    def resources(self) -> dict[str, int]:
        """The cells of the sky where it looks: who looks at the same waits; a batch uses those of all."""
        pairs = ((kwargs["visit"], kwargs["detector"]) for kwargs in self.get_batch_task_kwds(False))
        return sky_resources(self.database_url, self.instrument, self.visit_system, pairs)

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Detect on the difference; the calibrated exposure serves forced photometry."""
        return {"diffim": self.require(DiffIm), "calexp": self.require(ProcessCcd)}

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose rows another task has replaced since."""
        return {task_id for task_id, owner in self.owners().items() if owner != task_id}

    def owners(self) -> dict[str, str]:
        """Return which task's rows are in the tables now, by the ids of the members that have any."""
        from astra.database.engine import reading
        from astra.database.markers import marker_tasks

        pairs = [(kwargs["visit"], kwargs["detector"]) for kwargs in self.get_batch_task_kwds(False)]
        with reading(self.database_url) as connection:
            owners = marker_tasks(connection, self.instrument, {visit for visit, _ in pairs})
        ids = zip(self.member_ids(), pairs, strict=True)
        return {task_id: owners[pair] for task_id, pair in ids if pair in owners}

    def members(self, wanted: set[str]) -> Iterator[Self]:
        """Yield the members with the wanted ids in order of their time, as far as it is known yet."""
        from astra.database.engine import reading
        from astra.database.survey import visit_midpoints, visit_system_id

        members = list(super().members(wanted))
        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            times = visit_midpoints(connection, self.instrument, {member.visit for member in members}, system)
        yield from sorted(members, key=lambda m: (times.get(m.visit, 0.0), m.visit, m.detector))

    def options(self) -> AssociationOptions:
        """Return how a single task associates.

        Raises
        ------
        ConfigError
            If a rule is unknown or impossible, or there is no such statistic.
        """
        from astra.instruments.registry import get_instrument
        from astra.sky.detection_rules import DetectionRules
        from astra.tasks.association_plan import AssociationOptions

        return AssociationOptions(
            self.radius_arcsec,
            self.max_offset_sigma,
            self.min_reliability,
            with_options(DetectionRules(), self.detection_rules),
            self.max_new_dia_objects,
            self.min_forced_detections,
            float(get_instrument(self.instrument).pixel_scale_arcsec),
            chosen_plugins(self.statistics),
        )

    def run(self) -> None:
        """Read, associate and store each detector in a transaction of its own."""
        for task in self.pending_tasks():
            with task.recording():
                this = task.detector_visit()
                with task.timer("associate"):
                    result = task.store(this)
                task.add_figures("associate", _figures(result))

    def detector_visit(self) -> DetectorVisit:
        """Read what a single task associates.

        Raises
        ------
        DataError
            If the images have injected sources.
        """
        from astropy.time import Time

        from astra.images.injection import refuse_injected
        from astra.instruments.registry import get_instrument
        from astra.products.catalogs import read_catalog
        from astra.products.exposures import read_exposure
        from astra.tasks.association_plan import DetectorVisit

        required = self.requires()
        difference = read_exposure(required["diffim"].path("diffexp"))
        science = read_exposure(required["calexp"].path("calexp"))
        dia_sources = read_catalog(required["diffim"].path("diaSrc"))
        refuse_injected(difference, science, detections=dia_sources)
        instrument = get_instrument(self.instrument)
        return DetectorVisit(
            instrument=self.instrument,
            visit=self.visit,
            detector=self.detector,
            band=science.info.band,
            midpoint_mjd_tai=science.info.midpoint_mjd_tai,
            region=_region(science),
            dia_sources=dia_sources,
            forced_photometry=_forced_photometry(difference, science),
            time_processed_mjd_tai=float(Time.now().tai.mjd),
            task_id=self.task_id,
            packed_visit_detector=instrument.pack_visit_detector(self.visit, self.detector),
            ccd_exposure_id_bits=instrument.ccd_exposure_id_bits,
            release=self.release,
            options=self.options(),
            bodies=expected_bodies(
                self.instrument, self.visit, science.info.midpoint_mjd_tai, self.ephemeris, self.orbits
            ),
        )

    def store(self, this: DetectorVisit) -> AssociationResult:
        """Associate the detections of a single task in one transaction.

        Raises
        ------
        ConflictingDefinitionError
            If another task has associated this visit and detector.
        """
        from astra.database.apdb import load_marker
        from astra.database.engine import transaction
        from astra.tasks.association_steps import associate_in_order

        with transaction(self.database_url) as connection:
            marker = load_marker(connection, self.instrument, self.visit, self.detector)
            if marker is not None and marker.task_id != self.task_id and not self.must_rerun:
                raise self._conflict(marker.task_id)
            result = associate_in_order(connection, this, self.redo)
            reopen_alerts(connection, map(self._task_of, result.redone))
            return result

    def redo(self, member: Member) -> DetectorVisit:
        """Return what a later detector is associated with again, by the task that has associated it.

        Raises
        ------
        ConflictingDefinitionError
            If its task, or what it read, is not there any more.
        """
        try:
            return self._task_of(member).detector_visit()
        except (AstraError, OSError) as exc:
            message = (
                f"visit {self.visit} detector {self.detector} of {self.instrument} cannot be associated "
                f"after visit {member.visit} detector {member.detector}, which is later and overlaps it, as "
                f"that cannot be associated again: {exc}"
            )
            raise ConflictingDefinitionError(message, visit=self.visit, later=member.visit) from exc

    def _task_of(self, member: Member) -> Associate:
        """Return the task that has associated a detector."""
        from astra.database.engine import reading
        from astra.database.stored import find_stored_task

        with reading(self.database_url) as connection:
            stored = find_stored_task(connection, member.task_id)
        if stored is None:
            message = f"its task {member.task_id} is forgotten"
            raise MissingDataError(message, task_id=member.task_id)
        return Associate.from_str_params(stored.parameters)

    def _conflict(self, other: str) -> ConflictingDefinitionError:
        """Say that another task has associated this visit and detector."""
        message = (
            f"visit {self.visit} detector {self.detector} of {self.instrument} is associated already, "
            f"by {other} with other parameters; give --rerun to replace its rows"
        )
        return ConflictingDefinitionError(message, visit=self.visit, detector=self.detector, task_id=other)


def _figures(result: AssociationResult) -> dict[str, Any]:
    """Figures of an association."""
    return {
        "nDiaSources": len(result.dia_sources),
        "nNewDiaObjects": result.n_new,
        "nUpdatedDiaObjects": result.n_updated,
        "nSolarSystemSources": result.n_solar_system,
        "nRejectedDiaSources": result.n_rejected,
        "nUnreliableDiaSources": result.n_unreliable,
        "nDiaForcedSources": len(result.forced),
        "nAssociatedAgain": len(result.redone),
        **{f"nRejected_{reason}": count for reason, count in result.reasons.items()},
    }


def _region(exposure: Exposure) -> Any:
    """Return where an exposure looked, from its WCS."""
    from astra.sky.regions import convex_hull

    ny, nx = exposure.shape
    x, y = [-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5]
    wcs: Any = exposure.wcs
    ra, dec = wcs.all_pix2world(x, y, 0)
    return convex_hull(ra, dec)


def _forced_photometry(difference: Exposure, science: Exposure) -> ForcedPhotometry:
    """Return a function that measures positions on the difference and on the science image."""
    import numpy as np

    from astra.images.forced import forced_photometry

    def measure(ra: Any, dec: Any) -> Any:
        wcs: Any = difference.wcs
        x, y = (np.atleast_1d(axis) for axis in wcs.all_world2pix(ra, dec, 0))
        on_difference = forced_photometry(difference, x, y)
        on_science = forced_photometry(science, x, y)
        columns = {
            "psfFlux": on_difference["psfFlux"],
            "psfFluxErr": on_difference["psfFluxErr"],
            "scienceFlux": on_science["psfFlux"],
            "scienceFluxErr": on_science["psfFluxErr"],
            "midpointMjdTai": np.broadcast_to(difference.midpoint_mjd_tai_at(y), x.shape),
        }
        rows = np.empty(len(x), dtype=[(name, "f8") for name in columns])
        for name, column in columns.items():
            rows[name] = column
        return rows

    return measure
