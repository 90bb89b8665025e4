"""Subtract templates from calibrated exposures, and detect what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import luigi

from astra.tasks.batch import per_member
from astra.tasks.get_template import GetTemplate
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template_rule import DifferenceTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DiffIm(DifferenceTask):
    """Subtract the PSF-matched template from one calibrated detector, and measure what is left.

    Products: ``matchedTemplate`` (in the seeing of the detector), ``diffexp`` (the difference) [nJy],
    ``diaSrc`` (detections).
    """

    threshold_snr = luigi.FloatParameter(default=5.0, description="Detection limit: S/N of a point source.")

    step = "differencer"
    kinds: ClassVar[tuple[str, ...]] = ("matchedTemplate", "diffexp", "diaSrc")

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Calibrate the detector, and put the template on its pixels."""
        return {"calexp": self.require(ProcessCcd), "template": self.require(GetTemplate)}

    def run(self) -> None:
        """Read, subtract, detect and write each detector."""
        from astra.images.dia_detection_config import DiaDetectionConfig
        from astra.images.difference import DifferenceConfig, difference_images
        from astra.products.catalogs import write_catalog
        from astra.products.column_units import column_units
        from astra.products.exposures import read_exposure, write_exposure

        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                required = task.requires()
                science = read_exposure(required["calexp"].path("calexp"))
                template = read_exposure(required["template"].path("template"))
                detection = DiaDetectionConfig(threshold_snr=task.threshold_snr)
                config = DifferenceConfig(detection=detection)
                with task.timer("subtract"):
                    result = difference_images(science, template, config)
                write_exposure(task.path("matchedTemplate"), result.matched_template)
                write_exposure(task.path("diffexp"), result.difference)
                units = column_units(result.dia_sources.dtype.names or (), shapes="arcsec**2")
                write_catalog(task.path("diaSrc"), result.dia_sources, units=units)
                task.add_figures("subtract", result.metrics)

    def get_schema_catalogs(self) -> dict[str, NDArray[np.void]]:
        """Return the empty table of detections."""
        import numpy as np

        from astra.images.difference_measurement import DIA_SOURCE_DTYPE

        return {"diaSrc": np.zeros(0, dtype=DIA_SOURCE_DTYPE)}
