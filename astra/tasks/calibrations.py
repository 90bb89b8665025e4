"""Make calibrations of detectors: biases, darks, flats, defects and photon transfer."""

from __future__ import annotations

import abc
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import DataError, MissingDataError
from astra.tasks.calibration_files import (
    load_rows,
    read_kinds,
    read_mjd_tai,
    register_calibration,
    require_kinds,
)
from astra.tasks.exposures import IngestRaws
from astra.tasks.imaging import ImagingTask
from astra.tasks.options import OptionsParameter, with_options
from astra.tasks.parameters import IdParameter, IdsParameter

if TYPE_CHECKING:
    from astra.images.calibration import Calibration, Calibrations
    from astra.images.isr_config import IsrConfig
    from astra.images.raw_image import RawImage
    from astra.products.calibrations import CalibrationInfo


class CalibrationTask(ImagingTask):
    """A task that makes one calibration of a detector, or of many, and says for which time it holds."""

    detector = IdParameter(description="Detector id, or ids as in 1..62^70.")
    valid_begin = luigi.Parameter(
        default="",
        description="When it begins to hold: a date as in 2026-11-20, or MJD [d, TAI]; always if empty.",
    )
    valid_end = luigi.Parameter(
        default="",
        description="When it ceases to hold: a date as in 2026-11-20, or MJD [d, TAI]; never if empty.",
    )
    require_calibrations = luigi.Parameter(
        default="",
        description="Kinds of calibrations that must be there, separated by commas, e.g. bias,dark.",
    )

    kind: ClassVar[str] = ""

    @property
    def path(self) -> Path:
        """Path of the calibration of a single task."""
        from astra.products.layout import calibration_path

        return calibration_path(self.root, self.instrument, self.detector, self.task_id, kind=self.kind)

    def output(self) -> Any:
        """Return the calibration; for a batch, that of each member."""
        if self.is_batch_mode:
            return [member.output() for member in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.path))

    def sweep(self) -> None:
        """Remove what a killed run of this task left behind."""
        from astra.products.atomic import sweep_leftovers

        if self.path.parent.is_dir():
            sweep_leftovers(self.path.parent)

    def run(self) -> None:
        """Make the calibration of each detector, write it, and note for which time it holds."""
        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                begin, end = read_mjd_tai(task.valid_begin), read_mjd_tai(task.valid_end)
                with task.timer("make"):
                    info = task.make()
                task.register(info, begin, end)
                task.add_figures("make", dict(info.statistics))

    @abc.abstractmethod
    def make(self) -> CalibrationInfo:
        """Make and write the calibration of a single task; return what it is of."""

    def register(self, info: CalibrationInfo, begin: float | None, end: float | None) -> None:
        """Note the file of a single task, and that it holds from one time to another [d, MJD TAI]."""
        register_calibration(self.database_url, self.path, info, (begin, end), self.task_id)


class FramesTask(CalibrationTask):
    """A calibration made of exposures."""

    exposures = IdsParameter(batch_method=tuple, description="Exposures to use, e.g. 12 or 12^15^20..22.")
    isr = OptionsParameter(
        default="",
        description="Options of the signature removal as name=value,..., e.g. overscan_fit.method=median.",
    )

    needs: ClassVar[tuple[str, ...]] = ()

    def requires(self) -> list[luigi.Task]:
        """Ingest the raws that were named; without any, the exposures must have been ingested before."""
        paths = tuple(path for path in self.raw.split(os.pathsep) if path)
        return [self.require(IngestRaws, path=paths if len(paths) > 1 else paths[0])] if paths else []

    def input_files(self) -> list[str | Path]:
        """Return the raw frames of a single task, and the calibrations that hold for them."""
        return [*self._raws().values(), *(row.path for row in self._rows().values())]

    @property
    def ids(self) -> list[int]:
        """The exposures of a single task."""
        return IdsParameter.ids(self.exposures)

    def isr_config(self) -> IsrConfig:
        """Return the configuration that ``isr`` gives; ConfigError if an option is unknown."""
        from astra.images.isr_config import IsrConfig

        return with_options(IsrConfig(), self.isr)

    def frames(self) -> list[Callable[[], RawImage]]:
        """Return what reads the frames of a single task, in order of exposure.

        Raises
        ------
        MissingDataError
            If one is not ingested.
        """
        from astra.instruments.registry import get_instrument

        raws, camera = self._raws(), get_instrument(self.instrument)
        missing = [exposure for exposure in self.ids if exposure not in raws]
        if missing:
            message = (
                f"exposure {missing[0]} of detector {self.detector} of {self.instrument} is not ingested"
                f"{f', nor are {len(missing) - 1} others' if len(missing) > 1 else ''}; "
                f"run IngestRaws on it, or name its files with --raw"
            )
            raise MissingDataError(message, exposure=missing[0], detector=self.detector)
        return [functools.partial(camera.read_raw, Path(raws[i]), self.detector) for i in self.ids]

    def calibrations(self) -> Calibrations:
        """Read what holds for the frames of a single task; MissingDataError if too little is there."""
        rows = self._rows()
        what = f"detector {self.detector} of {self.instrument} at exposure {self.exposures}"
        require_kinds(rows, read_kinds(self.require_calibrations), what)
        return load_rows(rows)

    def _raws(self) -> dict[int, str]:
        from astra.database.engine import reading
        from astra.database.survey import raws_of_exposure

        with reading(self.database_url) as connection:
            return {
                exposure: raw.path
                for exposure in self.ids
                for raw in raws_of_exposure(connection, self.instrument, exposure)
                if raw.detector == self.detector
            }

    def _rows(self) -> dict[str, Any]:
        """Rows of the calibrations that hold for the first of the frames, of the kinds that are needed."""
        from astra.database.calibrations import exposure_epochs, find_calibrations
        from astra.database.engine import reading

        with reading(self.database_url) as connection:
            epochs = exposure_epochs(connection, self.instrument, self.ids)
            if not epochs:
                return {}
            physical_filter, mjd_tai = epochs[min(epochs)]
            rows = find_calibrations(connection, self.instrument, self.detector, physical_filter, mjd_tai)
        return {kind: row for kind, row in rows.items() if kind in self.needs}


class _CombineTask(FramesTask):
    """A combined image of frames."""

    options = OptionsParameter(
        default="",
        description="How to combine, as name=value,..., e.g. clip_sigma=5; an unknown one lists all.",
    )

    @abc.abstractmethod
    def combine(self, *args: Any, **kwargs: Any) -> Calibration:
        """Combine frames."""

    def make(self) -> CalibrationInfo:
        """Combine the frames of a single task, and write the result."""
        from astra.images.combine import CombineConfig
        from astra.products.calibrations import read_calibration_info, write_calibration

        found = self.combine(
            self.frames(),
            calibrations=self.calibrations(),
            isr=self.isr_config(),
            config=with_options(CombineConfig(), self.options),
        )
        write_calibration(self.path, found)
        return read_calibration_info(self.path)


class CombineBias(_CombineTask):
    """Combine bias frames of a detector, after the overscan.

    Product: ``bias`` [adu of the reference gain].
    """

    kind = "bias"
    needs: ClassVar[tuple[str, ...]] = ("photon_transfer", "crosstalk")

    def combine(self, *args: Any, **kwargs: Any) -> Calibration:
        """Combine bias frames."""
        from astra.images.combine import combine_bias

        return combine_bias(*args, **kwargs)


class CombineDark(_CombineTask):
    """Combine dark frames of a detector, less the bias that holds for them.

    Product: ``dark`` [adu/s of the reference gain].
    """

    kind = "dark"
    needs: ClassVar[tuple[str, ...]] = ("photon_transfer", "crosstalk", "bias")

    def combine(self, *args: Any, **kwargs: Any) -> Calibration:
        """Combine dark frames."""
        from astra.images.combine import combine_dark

        return combine_dark(*args, **kwargs)


class CombineFlat(_CombineTask):
    """Combine flats of a detector in one filter, less the bias and dark that hold for them.

    Product: ``flat``, of mean 1.
    """

    physical_filter = luigi.Parameter(
        default="", description="Filter that the flats must have; by default that of the first."
    )

    kind = "flat"
    needs: ClassVar[tuple[str, ...]] = (
        "photon_transfer",
        "crosstalk",
        "bias",
        "dark",
        "brighter_fatter",
        "defects",
    )

    def combine(self, *args: Any, **kwargs: Any) -> Calibration:
        """Combine flats."""
        from astra.images.combine import combine_flat

        found = combine_flat(*args, **kwargs)
        if self.physical_filter not in {"", found.physical_filter}:
            message = f"the flats must be in {self.physical_filter!r}, found {found.physical_filter!r}"
            raise DataError(message, expected=self.physical_filter, found=found.physical_filter)
        return found


class MeasurePhotonTransfer(FramesTask):
    """Measure gain, read noise and turnoff of the amplifiers of a detector from pairs of flats.

    Flats that follow each other with the same exposure time and level are pairs. Product:
    ``photon_transfer``.
    """

    fit_curve = luigi.BoolParameter(
        default=False, description="Fit a quadratic term too; it takes flats of many levels."
    )

    kind = "photon_transfer"
    needs: ClassVar[tuple[str, ...]] = ("bias", "defects")

    def make(self) -> CalibrationInfo:
        """Measure the flats of a single task, and write what they tell."""
        from astra.images.flat_pairs import pair_flats
        from astra.images.photon_transfer import measure_photon_transfer
        from astra.products.calibrations import CalibrationInfo, write_photon_transfer

        pairs = pair_flats(self.frames())
        found = measure_photon_transfer(
            pairs, config=self.isr_config(), calibrations=self.calibrations(), is_curved=self.fit_curve
        )
        statistics: dict[str, Any] = {"n_pairs": len(pairs)}
        for name, transfer in found.items():
            statistics |= {f"{item}_{name}": value for item, value in vars(transfer.response).items()}
        info = CalibrationInfo(self.kind, self.instrument, self.detector, statistics=statistics)
        write_photon_transfer(self.path, found, info)
        return info


class BuildDefects(CalibrationTask):
    """Find the defects of a detector in the bias, dark and flat that hold for it at a time.

    Product: ``defects``, as boxes.
    """

    physical_filter = luigi.Parameter(
        default="", description="Filter of the flat; without one it is not used."
    )
    at = luigi.Parameter(
        default="",
        description="Time whose bias, dark and flat are used: a date, or MJD [d, TAI]; valid_begin if empty.",
    )
    options = OptionsParameter(
        default="",
        description="What is a defect, as name=value,..., e.g. low_response=0.8; an unknown name lists all.",
    )

    kind = "defects"

    def input_files(self) -> list[str | Path]:
        """Return the calibrations that a single task judges."""
        return [row.path for row in self._rows().values()]

    def make(self) -> CalibrationInfo:
        """Judge the calibrations of a single task, and write the defects."""
        from astra.images.defects import KINDS, DefectConfig, build_defects
        from astra.products.calibrations import CalibrationInfo, write_defects

        rows = self._rows()
        what = f"detector {self.detector} of {self.instrument} at {self.at or self.valid_begin or 'any time'}"
        require_kinds(rows, read_kinds(self.require_calibrations), what)
        if not rows:
            message = f"defects are found in a bias, dark or flat, and none is valid for {what}"
            raise MissingDataError(message, detector=self.detector)
        config = with_options(DefectConfig(), self.options)
        found = build_defects(load_rows(rows).images, config)
        statistics: dict[str, Any] = {"n_bad": int(found.mask.sum()), "n_boxes": len(found.boxes)}
        statistics |= {f"n_{name}": int(((found.kinds & bit) != 0).sum()) for name, bit in KINDS.items()}
        info = CalibrationInfo(self.kind, self.instrument, self.detector, statistics=statistics)
        write_defects(self.path, found, info)
        return info

    def _rows(self) -> dict[str, Any]:
        from astra.database.calibrations import find_calibrations
        from astra.database.engine import reading

        mjd_tai = read_mjd_tai(self.at or self.valid_begin)
        with reading(self.database_url) as connection:
            rows = find_calibrations(
                connection, self.instrument, self.detector, self.physical_filter, mjd_tai
            )
        return {kind: row for kind, row in rows.items() if kind in {"bias", "dark", "flat"}}
