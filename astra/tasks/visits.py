"""Define visits: one for each exposure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import luigi

from astra.errors import MissingDataError
from astra.tasks.exposures import IngestRaws
from astra.tasks.imaging import ImagingTask
from astra.tasks.parameters import IdParameter


class DefineVisits(ImagingTask):
    """Define the visit of an exposure, one to one: both have the same id."""

    exposure = IdParameter(description="Exposure id, or ids as in 1..62^70.")

    accepts_partial_batches = True  # it needs its own exposure, not every file that was named

    def requires(self) -> list[luigi.Task]:
        """Ingest the raws that were named; without any, the exposure must have been ingested before."""
        paths = tuple(path for path in self.raw.split(os.pathsep) if path)
        if not paths:
            return []
        path = paths if len(paths) > 1 else paths[0]
        return [self.require(IngestRaws, path=path)]

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose exposure has got raws of further detectors since."""
        from astra.database.engine import reading
        from astra.database.survey import incomplete_visits

        exposures = [kwargs["exposure"] for kwargs in self.get_batch_task_kwds(False)]
        with reading(self.database_url) as connection:
            incomplete = incomplete_visits(connection, self.instrument, exposures)
        ids = zip(self.member_ids(), exposures, strict=True)
        return {task_id for task_id, exposure in ids if exposure in incomplete}

    def input_files(self) -> list[str | Path]:
        """Return the raw frames of the exposure of a single task."""
        from astra.database.engine import reading
        from astra.database.survey import raws_of_exposure

        with reading(self.database_url) as connection:
            return [raw.path for raw in raws_of_exposure(connection, self.instrument, self.exposure)]

    def run(self) -> None:
        """Write each visit with its definition and regions in one transaction."""
        from astra.database.engine import transaction
        from astra.database.survey import define_visit, get_exposure, raws_of_exposure

        for task in self.pending_tasks():
            with task.recording(), transaction(task.database_url) as connection:
                exposure = get_exposure(connection, task.instrument, task.exposure)
                if exposure is None:
                    message = (
                        f"exposure {task.exposure} of instrument {task.instrument} is not ingested; "
                        f"run IngestRaws on it, or name its files with --raw"
                    )
                    raise MissingDataError(message, exposure=task.exposure, instrument=task.instrument)
                raws = raws_of_exposure(connection, task.instrument, task.exposure)
                regions = {raw.detector: raw.region for raw in raws}
                define_visit(
                    connection, _visit_row(exposure, list(regions.values())), [task.exposure], regions
                )


def _visit_row(exposure: Any, regions: Sequence[bytes]) -> dict[str, Any]:
    """Row of the visit of one exposure, with the hull of its detectors as region."""
    from astra.database.survey import ONE_TO_ONE
    from astra.sky.regions import decode, encode, hull_of_regions

    names = (
        "instrument day_obs seq_num band physical_filter begin_mjd_tai end_mjd_tai exposure_time_s "
        "target_name science_program observation_reason azimuth zenith_angle"
    )
    return {
        **{name: getattr(exposure, name) for name in names.split()},
        "visit_system": ONE_TO_ONE,
        "visit": exposure.exposure,
        "name": exposure.obs_id,
        "region": encode(hull_of_regions([decode(region) for region in regions])),
        "region_source": "raw-corners",
    }
