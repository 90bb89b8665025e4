"""Put the regions of visits where the calibrated exposures are."""

from __future__ import annotations

import luigi

from astra.tasks.batch import per_member
from astra.tasks.imaging import DetectorTask
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.visits import PADDING_PIXEL


class RefineVisitRegions(DetectorTask):
    """Replace the region of one detector of a visit by that of its fitted WCS, and enlarge the visit's to it.

    Detectors that are not calibrated keep the region that was predicted.
    """

    padding_pixel = luigi.IntParameter(
        default=PADDING_PIXEL, description="Margin by which each detector's region is dilated [pixel]."
    )

    @per_member
    def requires(self) -> list[luigi.Task]:
        """Calibrate the detector."""
        return [self.require(ProcessCcd)]

    def run(self) -> None:
        """Read the WCS of each calibrated exposure, and write its region."""
        from astra.database.engine import reading
        from astra.database.refine import VisitGeometry, refine_visit_regions
        from astra.database.survey import visit_system_id
        from astra.products.exposures import read_exposure_wcs
        from astra.sky.visit_regions import calibrated_regions

        for task in self.pending_tasks():
            with task.recording():
                [calibrated] = task.requires()
                wcs, shape = read_exposure_wcs(calibrated.path("calexp"))
                number = task.detector
                regions = calibrated_regions({number: wcs}, {number: shape}, task.padding_pixel)
                geometry = VisitGeometry(task.visit, regions)
                with reading(task.database_url) as connection:
                    system = visit_system_id(connection, task.visit_system)
                n_refined = refine_visit_regions(task.database_url, task.instrument, [geometry], system)
                task.add_figures("refine", {"nRefined": n_refined})
