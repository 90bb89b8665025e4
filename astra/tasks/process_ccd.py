"""Calibrate detectors: from a raw frame to a calibrated exposure and its sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra import config
from astra.errors import ConfigError, MissingDataError
from astra.tasks.batch import merge_tasks
from astra.tasks.calibration_files import (
    load_rows,
    read_kinds,
    require_kinds,
    stale_by_calibrations,
)
from astra.tasks.heap import keep_freed_memory
from astra.tasks.imaging import DetectorTask
from astra.tasks.options import OptionsParameter, read_options, with_options
from astra.tasks.visits import one_to_one_visits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.images.exposure import Exposure
    from astra.images.isr_config import IsrConfig
    from astra.images.photometry import ColorTerm
    from astra.images.process_ccd_config import ProcessCcdConfig
    from astra.instruments.base import Instrument

ONE_TO_ONE_NAME = "one-to-one"


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
    color_terms = OptionsParameter(
        default="",
        description="Colour terms as band=reference:blue:red:c0:c1..., e.g. r=r:g:r:0.01:-0.03 [mag]: "
        "the camera's magnitude is that of the reference band + c0 + c1 (blue - red) + ...",
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

    def requires(self) -> list[luigi.Task]:
        """Define the visit; one to one, its exposure has its id. Those of other systems are there already."""
        if self.visit_system != ONE_TO_ONE_NAME:
            return []
        return merge_tasks(one_to_one_visits(self, [member.visit for member in self.get_batch_tasks()]))

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
        from astra.products.exposures import write_exposure

        keep_freed_memory()
        options = self.ccd_config()
        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                exposure = task.load_raw()
                reference = task.load_reference(exposure)
                paths = {kind: task.path(kind) for kind in task.kinds}
                if task.write_post_isr:
                    write_exposure(paths["postISR"], exposure)
                with task.timer("calibrate"):
                    result = process_ccd(exposure, reference, options, overwrite=True)
                write_calibrated(paths, result)
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
        """Return the configuration that ``options`` and ``color_terms`` give.

        Raises
        ------
        ConfigError
            If an option is unknown or not of its type.
        """
        from astra.images.process_ccd_config import ProcessCcdConfig
        from astra.images.summary import SummaryConfig
        from astra.instruments.registry import get_instrument

        fiducials = get_instrument(self.instrument).fiducials
        config = ProcessCcdConfig(
            color_terms=read_color_terms(self.color_terms), summary=SummaryConfig(fiducials=fiducials)
        )
        return replace(with_options(config, self.options), keep_first_pass=self.write_first_pass)

    def load_raw(self) -> Exposure:
        """Read this detector of this visit and remove the instrument's signature; add up its exposures.

        Raises
        ------
        ConfigError
            If an option of the signature removal is unknown, or the camera has corrected frames alone.
        MissingDataError
            If no raw of it is ingested, its file is gone, or a calibration that is required is not valid.
        DataError
            If the exposures of the visit do not lie on the same pixels.
        """
        from astra.images.isr_config import IsrConfig
        from astra.images.snaps import combine_snaps
        from astra.instruments.registry import get_instrument

        what = f"visit {self.visit}, detector {self.detector} of {self.instrument}"
        raws, rows = self._raws(), self._calibration_rows()
        if not raws:
            message = f"no raw of {what} is ingested, or the visit is not defined ({self.visit_system})"
            raise MissingDataError(message, visit=self.visit, detector=self.detector)
        require_kinds(rows, read_kinds(self.require_calibrations), what)
        camera, isr = get_instrument(self.instrument), with_options(IsrConfig(), self.isr)
        paths = [Path(raw.path) for raw in raws]
        exposures = load_corrected(camera, paths, self.detector, rows=rows, isr=isr if self.isr else None)
        exposure = combine_snaps(exposures, visit=self.visit)
        return exposure.replace(info=replace(exposure.info, zenith_distance_deg=self._zenith_distance_deg()))

    def _zenith_distance_deg(self) -> float | None:
        from astra.database.survey import get_visit

        row = self._ask(get_visit, self.visit)
        return None if row is None else row.zenith_angle

    def _calibration_rows(self) -> dict[str, Any]:
        from astra.database.calibrations import calibrations_of_visits

        pair = (self.visit, self.detector)
        found: dict[str, Any] = self._ask(calibrations_of_visits, [pair]).get(pair, {})
        return found

    def _raws(self) -> list[Any]:
        from astra.database.survey import raws_of_visit

        return list(self._ask(raws_of_visit, self.visit, self.detector))

    def _ask(self, question: Callable[..., Any], *about: Any) -> Any:
        """Ask the database something of this camera, in this task's system of visits."""
        from astra.database.engine import reading
        from astra.database.survey import visit_system_id

        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            return question(connection, self.instrument, *about, visit_system=system)

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


def load_corrected(
    camera: Instrument,
    paths: Sequence[Path],
    detector: int,
    *,
    rows: Mapping[str, Any],
    isr: IsrConfig | None,
) -> list[Exposure]:
    """Read one detector of raw files and remove the signature of the instrument.

    A camera whose frames come corrected is asked for them, if neither calibrations nor options say otherwise.
    """
    from astra.images.isr import correct_raw

    if not rows and isr is None:
        return [camera.load(path, detector) for path in paths]
    calibrations = load_rows(rows, with_variance=False)
    return [correct_raw(camera.read_raw(path, detector), calibrations, isr) for path in paths]


def read_color_terms(text: str) -> dict[str, ColorTerm]:
    """Read colour terms by band, as in ``r=r:g:r:0.01:-0.03``.

    Raises
    ------
    ConfigError
        If one has another form.
    """
    from astra.images.photometry import ColorTerm

    terms = {}
    for band, value in read_options(text).items():
        names, numbers = value.split(":")[:3], value.split(":")[3:]
        try:
            coefficients = tuple(map(float, numbers))
        except ValueError:
            coefficients = ()
        if len(names) < 3 or not coefficients:
            message = f"a colour term is given as band=reference:blue:red:c0:c1..., found {band}={value}"
            raise ConfigError(message, band=band)
        terms[band] = ColorTerm(names[0], names[1], names[2], coefficients)
    return terms
