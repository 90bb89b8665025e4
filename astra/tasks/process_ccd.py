"""Calibrate detectors: from a raw frame to a calibrated exposure and its sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra import config
from astra.errors import ConfigError, MissingDataError
from astra.tasks.batch import per_member
from astra.tasks.calibration_files import (
    load_rows,
    read_kinds,
    require_kinds,
    stale_by_calibrations,
)
from astra.tasks.imaging import DetectorTask
from astra.tasks.options import OptionsParameter, with_options
from astra.tasks.visits import DefineVisits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.images.exposure import Exposure
    from astra.images.process_ccd_config import ProcessCcdConfig


class ProcessCcd(DetectorTask):
    """Calibrate one detector of one visit: sky, sources, PSF, astrometry and photometry.

    Products: ``calexp`` [nJy], ``src`` (sources), ``bkgd`` (the sky that was subtracted) [nJy], ``srcMatch``
    (sources and standards), ``qa`` (a picture of the calibration); if asked for, ``postISR``, ``icExp`` and
    ``icSrc``.
    """

    options = OptionsParameter(
        default="",
        description="Options as name=value,..., e.g. threshold=6,psf.order=1; an unknown name lists all.",
    )
    isr = OptionsParameter(
        default="",
        description="Options of the signature removal as name=value,..., e.g. crosstalk=off,"
        "overscan_fit.method=median; an unknown name lists all.",
    )
    require_calibrations = luigi.Parameter(
        default="",
        description="Kinds of calibrations that must be there, separated by commas, e.g. bias,flat; "
        "those that are valid are used anyway.",
    )
    quality_pictures = luigi.BoolParameter(
        default=True,
        significant=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Whether to draw a picture of the calibration of each detector.",
    )
    write_post_isr = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Whether to keep the image without instrument signature.",
    )
    write_first_pass = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Whether to keep exposure and sources of the first pass.",
    )

    step = "ccdProcessor"

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """Products of a single task."""
        return (
            *("calexp", "src", "bkgd", "srcMatch"),
            *(["qa"] if self.quality_pictures else []),
            *(["postISR"] if self.write_post_isr else []),
            *(["icExp", "icSrc"] if self.write_first_pass else []),
        )

    @per_member
    def requires(self) -> list[luigi.Task]:
        """Define the visit; one to one, its exposure has its id."""
        return [self.require(DefineVisits, exposure=self.visit)]

    def input_files(self) -> list[str | Path]:
        """Return the raws, the calibrations and the reference catalogue (of shards its manifest)."""
        from astra.products.reference_catalog import catalog_files

        return [
            *(raw.path for raw in self._raws()),
            *(row.path for row in self._calibration_rows().values()),
            *(catalog_files(self.reference_catalog) if self.reference_catalog else []),
        ]

    def stale_ids(self) -> set[str]:
        """Return the ids of members for which other calibrations are valid now than they have read."""
        if not config.option("check_inputs"):
            return set()
        return stale_by_calibrations(self)

    def run(self) -> None:
        """Load, calibrate and write each detector.

        What cannot be fitted is missing in the products, whose header says why; then the task fails with
        that reason.
        """
        from astra.images.failures import raise_first
        from astra.images.process_ccd import process_ccd
        from astra.images.summary import why_missing
        from astra.products.calibrated import write_calibrated

        options = self.ccd_config()
        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                exposure = task.load_raw()
                reference = task.load_reference(exposure)
                with task.timer("calibrate"):
                    result = process_ccd(exposure, reference, options)
                paths = {kind: task.path(kind) for kind in task.kinds}
                write_calibrated(paths, result, post_isr=exposure)
                task.add_figures("calibrate", result.metrics)
                task.add_figures("summary", {**result.summary, "missing": why_missing(result.summary)})
                raise_first(result.failures)

    def get_schema_catalogs(self) -> dict[str, NDArray[np.void]]:
        """Return the empty tables of sources and of their pairs with standards."""
        import numpy as np

        from astra.images.calibrate import MATCH_DTYPE
        from astra.images.measurement import source_dtype

        return {
            "src": np.zeros(0, dtype=source_dtype(self.ccd_config().measurement)),
            "srcMatch": np.zeros(0, dtype=MATCH_DTYPE),
        }

    def ccd_config(self) -> ProcessCcdConfig:
        """Return the configuration that ``options`` gives.

        Raises
        ------
        ConfigError
            If an option is unknown or not of its type.
        """
        from astra.images.process_ccd_config import ProcessCcdConfig

        return with_options(ProcessCcdConfig(), self.options)

    def load_raw(self) -> Exposure:
        """Read the raw of this detector of this visit and remove the instrument's signature.

        Raises
        ------
        ConfigError
            If an option of the signature removal is unknown, or the camera has corrected frames alone.
        MissingDataError
            If no raw of it is ingested, its file is gone, or a calibration that is required is not valid.
        """
        from astra.images.isr import correct_raw
        from astra.images.isr_config import IsrConfig
        from astra.instruments.registry import get_instrument

        raws = self._raws()
        if not raws:
            message = (
                f"no raw of visit {self.visit} detector {self.detector} of {self.instrument} is ingested"
            )
            raise MissingDataError(message, visit=self.visit, detector=self.detector)
        camera, path, rows = get_instrument(self.instrument), Path(raws[0].path), self._calibration_rows()
        what = f"visit {self.visit}, detector {self.detector} of {self.instrument}"
        require_kinds(rows, read_kinds(self.require_calibrations), what)
        if not rows and not self.isr:
            return camera.load(path, self.detector)
        isr = with_options(IsrConfig(), self.isr)
        return correct_raw(camera.read_raw(path, self.detector), load_rows(rows), isr)

    def _calibration_rows(self) -> dict[str, Any]:
        from astra.database.calibrations import calibrations_of_visits
        from astra.database.engine import reading

        pair = (self.visit, self.detector)
        with reading(self.database_url) as connection:
            return calibrations_of_visits(connection, self.instrument, [pair]).get(pair, {})

    def _raws(self) -> list[Any]:
        from astra.database.engine import reading
        from astra.database.survey import raws_of_visit

        with reading(self.database_url) as connection:
            return list(raws_of_visit(connection, self.instrument, self.visit, self.detector))

    def load_reference(self, exposure: Exposure) -> NDArray[np.void]:
        """Read the standards on an exposure and round it, at its epoch.

        Raises
        ------
        ConfigError
            If no reference catalogue is named.
        """
        from astra.products.reference_catalog import image_region, read_reference_catalog

        if not self.reference_catalog:
            message = (
                "ProcessCcd needs a reference catalogue, and none is named; "
                "give --reference-catalog, or reference_catalog in [astra] of luigi.cfg"
            )
            raise ConfigError(message)
        options, region = self.ccd_config(), None
        if exposure.wcs is not None:  # without one there is nothing to calibrate, which process_ccd says
            margin = options.astrometry.margin_arcsec(exposure.wcs, exposure.shape)
            region = image_region(exposure.wcs, exposure.shape, margin)
        return read_reference_catalog(
            self.reference_catalog,
            exposure.info.band,
            region=region,
            epoch_mjd_tai=exposure.info.midpoint_mjd_tai,
            color_term=options.color_terms.get(exposure.info.band),
        )
