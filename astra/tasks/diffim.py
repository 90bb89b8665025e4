"""Subtract templates from calibrated exposures, and detect what has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import ConfigError
from astra.tasks.batch import per_member
from astra.tasks.get_template import GetTemplate
from astra.tasks.heap import keep_freed_memory
from astra.tasks.options import OptionsParameter, with_options
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template_rule import DifferenceTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.images.difference import DifferenceConfig, DifferenceResult

WITH_KERNEL = "alard-lupton"
NO_MODEL = "none"


class DiffIm(DifferenceTask):
    """Subtract the PSF-matched template from one calibrated detector, and measure what is left.

    Products: ``matchedTemplate`` (what was subtracted), ``diffexp`` (the difference) [nJy], ``diaSrc``
    (detections, with their reliability), ``skySrc`` (fluxes without a source), ``spatialMetrics`` (the
    quality at places all over the frame), ``kernel`` (of the method alard-lupton). A difference that is not
    good enough is written too, and why in its header as ``NODIFF``, but not searched; the task fails then.
    """

    threshold_snr = luigi.FloatParameter(default=5.0, description="Detection limit: S/N of a point source.")
    method = luigi.Parameter(
        default=WITH_KERNEL, description="Method of subtraction: alard-lupton, zogy, or a plug-in's."
    )
    mode = luigi.Parameter(
        default="auto",
        description="Which image alard-lupton convolves: convolve_template, convolve_science, preconvolve "
        "(correlate the science image with its PSF first), or auto by the PSFs.",
    )
    difference_options = OptionsParameter(
        default="",
        description="Options of the subtraction as name=value,..., e.g. matching.kernel_order=1,"
        "detection.merge_distance_pixel=3; an unknown name lists all.",
    )
    reliability_model = luigi.Parameter(
        default="",
        description="File of the model that gives detections their reliability; the one that comes with "
        "astra if empty, none for no reliability.",
    )

    step = "differencer"

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """Products of a single task."""
        kinds = ("matchedTemplate", "diffexp", "diaSrc", "skySrc", "spatialMetrics")
        return (*kinds, "kernel") if self.method == WITH_KERNEL else kinds

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Calibrate the detector, and put the template on its pixels."""
        return {"calexp": self.require(ProcessCcd), "template": self.require(GetTemplate)}

    def input_files(self) -> list[str | Path]:
        """Return the model of the reliability, if one is named."""
        return [Path(self.reliability_model)] if self.reliability_model not in {"", NO_MODEL} else []

    def difference_config(self) -> DifferenceConfig:
        """Return how images are subtracted.

        Raises
        ------
        ConfigError
            If an option is unknown or impossible.
        """
        from astra.images.difference import DifferenceConfig

        try:
            config = DifferenceConfig(method=self.method, mode=self.mode)
        except ValueError as exc:
            raise ConfigError(str(exc), mode=self.mode) from exc
        detection = replace(config.detection, threshold_snr=self.threshold_snr)
        return with_options(replace(config, detection=detection), self.difference_options)

    def run(self) -> None:
        """Read, subtract, detect and write each detector."""
        from astra.images.difference import difference_images
        from astra.products.exposures import read_exposure

        keep_freed_memory()
        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                config = task.difference_config()
                required = task.requires()
                calexp, template = required["calexp"].path("calexp"), required["template"].path("template")
                with task.timer("subtract"):
                    # Neither image is held here, so that its memory serves again.
                    result = difference_images(
                        read_exposure(calexp), read_exposure(template), config, keep_bad=True
                    )
                task.write(result)
                del result

    def write(self, result: DifferenceResult) -> None:
        """Write the products of a single task; fail if the difference is not good enough."""
        from astra.products.catalogs import write_catalog
        from astra.products.column_units import column_units
        from astra.products.exposures import write_exposure
        from astra.products.kernels import write_kernel

        difference, failure = result.difference, result.failure
        if failure is not None:
            difference = difference.replace(metadata={**difference.metadata, "NODIFF": str(failure)})
        write_exposure(self.path("matchedTemplate"), result.matched_template)
        write_exposure(self.path("diffexp"), difference)
        if result.kernel is not None and "kernel" in self.kinds:
            write_kernel(self.path("kernel"), result.kernel, metadata=result.metrics)
        self.add_figures("subtract", result.metrics)
        if failure is not None:
            raise failure
        tables = {"skySrc": result.sky_sources, "spatialMetrics": result.samples}
        tables["diaSrc"] = self.score(result)
        for kind, table in tables.items():
            if table is not None:
                units = column_units(table.dtype.names or (), shapes="arcsec**2")
                write_catalog(self.path(kind), table, units=units)

    def score(self, result: DifferenceResult) -> NDArray[Any]:
        """Return the detections of a single task with their reliability, if there is a model."""
        from astra.images.reliability import score_dia_sources
        from astra.products.reliability_model import load_reliability_model

        model, science = load_reliability_model(self.reliability_model), result.science
        if model is None or science is None:
            return result.dia_sources
        with self.timer("reliability"):
            return score_dia_sources(
                result.dia_sources, result.difference, science, result.matched_template, model
            )

    def get_schema_catalogs(self) -> dict[str, NDArray[np.void]]:
        """Return the empty table of detections."""
        import numpy as np

        from astra.images.dia_source_columns import DIA_SOURCE_DTYPE
        from astra.images.reliability import with_reliability

        nothing = np.zeros(0, dtype=DIA_SOURCE_DTYPE)
        if self.reliability_model != NO_MODEL:
            nothing = with_reliability(nothing, np.zeros(0, dtype=np.float32), "")
        return {"diaSrc": nothing}
