"""Calibrate detectors: from a raw frame to a calibrated exposure and its sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import ConfigError, MissingDataError
from astra.tasks.batch import per_member
from astra.tasks.imaging import DetectorTask
from astra.tasks.visits import DefineVisits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.images.exposure import Exposure


class ProcessCcd(DetectorTask):
    """Calibrate one detector of one visit: sky, sources, PSF, astrometry and photometry.

    Products: ``calexp`` [nJy], ``src`` (sources), ``bkgd`` (the sky that was subtracted) [nJy].
    """

    step = "ccdProcessor"
    kinds: ClassVar[tuple[str, ...]] = ("calexp", "src", "bkgd")

    @per_member
    def requires(self) -> list[luigi.Task]:
        """Define the visit; one to one, its exposure has its id."""
        return [self.require(DefineVisits, exposure=self.visit)]

    def input_files(self) -> list[str | Path]:
        """Return the raw frame and the reference catalogue of a single task."""
        return [*(raw.path for raw in self._raws()), *filter(None, [self.reference_catalog])]

    def run(self) -> None:
        """Load, calibrate and write each detector.

        What cannot be fitted is missing in the products, whose header says why; then the task fails with
        that reason.
        """
        from astra.images.failures import raise_first
        from astra.images.process_ccd import process_ccd

        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                exposure = task.load_raw()
                reference = task.load_reference(exposure.info.band)
                with task.timer("calibrate"):
                    result = process_ccd(exposure, reference)
                write_calibrated(
                    {kind: task.path(kind) for kind in self.kinds},
                    result.calexp,
                    result.sources,
                    result.background,
                )
                task.add_figures("calibrate", result.metrics)
                raise_first(result.failures)

    def get_schema_catalogs(self) -> dict[str, NDArray[np.void]]:
        """Return the empty table of sources."""
        import numpy as np

        from astra.images.measurement import source_dtype
        from astra.images.process_ccd_config import ProcessCcdConfig

        return {"src": np.zeros(0, dtype=source_dtype(ProcessCcdConfig().measurement))}

    def load_raw(self) -> Exposure:
        """Read the raw of this detector of this visit and remove the instrument's signature.

        Raises
        ------
        MissingDataError
            If no raw of it is ingested, or its file is gone.
        """
        from astra.instruments.registry import get_instrument

        raws = self._raws()
        if not raws:
            message = (
                f"no raw of visit {self.visit} detector {self.detector} of {self.instrument} is ingested"
            )
            raise MissingDataError(message, visit=self.visit, detector=self.detector)
        return get_instrument(self.instrument).load(Path(raws[0].path), self.detector)

    def _raws(self) -> list[Any]:
        from astra.database.engine import reading
        from astra.database.survey import raws_of_visit

        with reading(self.database_url) as connection:
            return list(raws_of_visit(connection, self.instrument, self.visit, self.detector))

    def load_reference(self, band: str) -> NDArray[np.void]:
        """Read the standards of a band.

        Raises
        ------
        ConfigError
            If no reference catalogue is named.
        """
        from astra.products.reference_catalog import read_reference_catalog

        if not self.reference_catalog:
            message = (
                "ProcessCcd needs a reference catalogue, and none is named; "
                "give --reference-catalog, or reference_catalog in [astra] of luigi.cfg"
            )
            raise ConfigError(message)
        return read_reference_catalog(Path(self.reference_catalog), band)


def write_calibrated(
    paths: Mapping[str, Path], calexp: Exposure, sources: NDArray[Any], background: NDArray[np.float32]
) -> None:
    """Write the products of a calibrated detector, each whole or not at all."""
    from astra.products.backgrounds import write_background
    from astra.products.catalogs import write_catalog
    from astra.products.column_units import column_units
    from astra.products.exposures import write_exposure

    write_background(paths["bkgd"], background, unit=calexp.unit)
    units = column_units(sources.dtype.names or ())
    write_catalog(paths["src"], sources, units=units, metadata=calexp.metadata)
    write_exposure(paths["calexp"], calexp)
