"""Associate detections with objects: the only task that writes the survey's DiaObjects and DiaSources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import luigi

from astra.errors import ConflictingDefinitionError
from astra.tasks.batch import per_member
from astra.tasks.diffim import DiffIm
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template_rule import DifferenceTask

if TYPE_CHECKING:
    from astra.images.exposure import Exposure
    from astra.tasks.association_steps import AssociationResult, ForcedPhotometry


class Associate(DifferenceTask):
    """Associate the detections of one detector of one visit with objects, and measure all objects on it.

    Rows and their ``apdb_marker`` are written in one transaction. Luigi runs one at a time, and a batch goes
    through its members in order of time, so that objects are named by their first detection.
    """

    radius_arcsec = luigi.FloatParameter(default=1.0, description="Largest distance from an object [arcsec].")
    min_reliability = luigi.FloatParameter(
        default=0.0,
        description="Least reliability, 0 to 1, of a detection that is stored and alerted on; 0: all.",
    )

    step = "diaPipe"
    kinds: ClassVar[tuple[str, ...]] = ()
    resources: ClassVar[dict[str, int]] = {"apdb": 1}

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
        """Yield the members with the wanted ids in order of their time."""
        from astra.database.engine import reading
        from astra.database.survey import visit_system_id, visit_times

        members = list(super().members(wanted))
        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            times = visit_times(connection, self.instrument, {member.visit for member in members}, system)
        yield from sorted(members, key=lambda member: (times.get(member.visit, 0.0), member.visit))

    def run(self) -> None:
        """Read, associate and store each detector in a transaction of its own."""
        from astra.images.injection import refuse_injected
        from astra.products.catalogs import read_catalog
        from astra.products.exposures import read_exposure

        for task in self.pending_tasks():
            with task.recording():
                required = task.requires()
                difference = read_exposure(required["diffim"].path("diffexp"))
                science = read_exposure(required["calexp"].path("calexp"))
                dia_sources = read_catalog(required["diffim"].path("diaSrc"))
                refuse_injected(difference, science, detections=dia_sources)
                with task.timer("associate"):
                    result = task.store(dia_sources, difference, science)
                task.add_figures(
                    "associate",
                    {
                        "nDiaSources": len(result.dia_sources),
                        "nNewDiaObjects": result.n_new,
                        "nUpdatedDiaObjects": result.n_updated,
                        "nRejectedDiaSources": result.n_rejected,
                        "nUnreliableDiaSources": result.n_unreliable,
                        "nDiaForcedSources": len(result.forced),
                    },
                )

    def store(self, dia_sources: Any, difference: Exposure, science: Exposure) -> AssociationResult:
        """Associate the detections of a single task in one transaction.

        Raises
        ------
        ConflictingDefinitionError
            If another task has associated this visit and detector.
        """
        from astropy.time import Time

        from astra.database.apdb import load_marker
        from astra.database.engine import transaction
        from astra.instruments.registry import get_instrument
        from astra.tasks.association_steps import associate_visit

        packed = get_instrument(self.instrument).pack_visit_detector(self.visit, self.detector)
        with transaction(self.database_url) as connection:
            marker = load_marker(connection, self.instrument, self.visit, self.detector)
            if marker is not None and marker.task_id != self.task_id and not self.must_rerun:
                raise self._conflict(marker.task_id)
            return associate_visit(
                connection,
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
                packed_visit_detector=packed,
                radius_arcsec=self.radius_arcsec,
                min_reliability=self.min_reliability,
            )

    def _conflict(self, other: str) -> ConflictingDefinitionError:
        """Say that another task has associated this visit and detector."""
        message = (
            f"visit {self.visit} detector {self.detector} of {self.instrument} is associated already, "
            f"by {other} with other parameters; give --rerun to replace its rows"
        )
        return ConflictingDefinitionError(message, visit=self.visit, detector=self.detector, task_id=other)


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
