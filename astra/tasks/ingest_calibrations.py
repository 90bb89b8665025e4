"""Take calibrations that were made elsewhere: crosstalk, brighter-fatter kernels, fringes or others."""

from __future__ import annotations

from pathlib import Path

import luigi

from astra.tasks.base import AstraTask
from astra.tasks.calibration_files import read_mjd_tai, register_calibration
from astra.tasks.parameters import PathParameter


class IngestCalibrations(AstraTask):
    """Note that a calibration file, as `astra.products.calibrations` writes them, holds for a time.

    The file says of which kind, camera and detector it is, and stays where it lies.
    """

    path = PathParameter(batch_method=tuple, description="Calibration file.")
    valid_begin = luigi.Parameter(
        default="",
        description="When it begins to hold: a date as in 2026-11-20, or MJD [d, TAI]; always if empty.",
    )
    valid_end = luigi.Parameter(
        default="",
        description="When it ceases to hold: a date as in 2026-11-20, or MJD [d, TAI]; never if empty.",
    )

    def run(self) -> None:
        """Look at each file, and write its row."""
        from astra.instruments.registry import get_instrument
        from astra.products.calibrations import read_calibration_info

        for task in self.pending_tasks():
            with task.recording():
                valid = read_mjd_tai(task.valid_begin), read_mjd_tai(task.valid_end)
                info = read_calibration_info(task.path)
                get_instrument(info.instrument)  # a name that no camera has would never be found again
                register_calibration(task.database_url, Path(task.path), info, valid, task.task_id)
