"""The signal-to-noise ratio of spectra, of all products of the survey in one task."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import luigi

from astra.tasks.base import AstraTask
from astra.tasks.batch import per_member
from astra.tasks.io.by_path import absolute_path, file_task
from astra.tasks.io.sdss import SDSSDataModelTask

if TYPE_CHECKING:
    from astra.products.spectrum import Spectrum


class SignalToNoise(AstraTask):
    """Measure the signal-to-noise ratio per pixel of every spectrum in a file.

    Writes a row per spectrum into the table ``signal_to_noise``. A file is named by its product and its path,
    so that visits, stars and BOSS spectra, whose keys differ, can stand in one batch.
    """

    product = luigi.Parameter(
        batch_method=tuple, description="Product: apVisit, apStar, spec, specFull, specLite or spSpec."
    )
    path = luigi.Parameter(
        batch_method=tuple,
        description="The file, below the SDSS tree (machines may differ in it) or absolute.",
    )

    use_remote = luigi.BoolParameter(
        default=False, significant=False, description="Fetch files of the SDSS tree that are not there."
    )

    @classmethod
    def of(cls, *files: SDSSDataModelTask, **kwargs: Any) -> SignalToNoise:
        """Return the task for files that are given as file tasks, single or batches.

        Parameters
        ----------
        *files : SDSSDataModelTask
            One file, or any number and kind.
        **kwargs
            Other parameters.

        Returns
        -------
        task : SignalToNoise
            Single for one single file, else a batch in the order of the files.
        """
        named = [
            (task.sdss_data_model_name, task.tree.location(task.sdss_data_model_name, **keys))
            for task in files
            for keys in task.get_batch_task_kwds()
        ]
        if len(files) == 1 and not files[0].is_batch_mode:
            return cls(product=named[0][0], path=named[0][1], **kwargs)
        return cls(product=tuple(name for name, _ in named), path=tuple(path for _, path in named), **kwargs)

    def requires(self) -> Any:
        """Return the file.

        For a batch nothing if nothing may be fetched, so that a missing file stops its own member alone.
        """
        return [] if self.is_batch_mode and not self.use_remote else self._files()

    @per_member
    def _files(self) -> Any:
        return file_task(self.product, self.path, self.use_remote)

    def run(self) -> None:
        """Measure the files, and write the rows of each before its state says that it is done."""
        from astra.database.engine import transaction
        from astra.database.spectra import write_signal_to_noise
        from astra.products.spectra import read_spectrum

        for task in self.pending_tasks():
            with task.recording():
                path = getattr(task.requires().output(), "path", absolute_path(task.path))
                state = _file_state(path)  # before it is read: a change while reading counts as a change
                rows = [{**row, **(state or {})} for row in measure(read_spectrum(task.product, path))]
                with transaction(self.database_url) as connection:
                    write_signal_to_noise(connection, {task.task_id: rows})


def _file_state(path: str) -> dict[str, int] | None:
    """Return size [byte] and time of change [ns] of a file; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return {"file_size": found.st_size, "file_modified_ns": found.st_mtime_ns}


def measure(spectrum: Spectrum) -> list[dict[str, Any]]:
    """Return the signal-to-noise ratios of a file.

    Parameters
    ----------
    spectrum : Spectrum
        The file.

    Returns
    -------
    rows : list of dict
        One per spectrum: the columns of table ``signal_to_noise`` but those of task and file; None for what
        is unknown. The reduction's own definition is that of APOGEE, and None for other products.
    """
    import numpy as np

    from astra.products.spectrum import CHIPS
    from astra.spectra.snr import (
        chip_signal_to_noise,
        good_pixels,
        reduction_signal_to_noise,
        signal_to_noise,
    )

    flux, ivar, bad = spectrum.flux, spectrum.ivar, spectrum.bad
    included = spectrum.has_data
    if spectrum.product == "apVisit":
        included = included & (spectrum.chip == CHIPS.index("green"))
    columns = {
        "snr": signal_to_noise(flux, ivar, bad),
        "snr_drp": reduction_signal_to_noise(flux, ivar, included),
        "header_snr": spectrum.snr,
        **{
            f"snr_{name}": values
            for name, values in zip(
                CHIPS, chip_signal_to_noise(flux, ivar, bad, spectrum.chip).T, strict=True
            )
        },
    }
    if spectrum.product not in ("apVisit", "apStar"):
        columns["snr_drp"] = np.full(spectrum.n_rows, np.nan)
    n_good = good_pixels(flux, ivar, bad).sum(axis=1)
    return [
        {
            "row_index": row,
            "product": spectrum.product,
            "path": str(spectrum.path),
            "kind": kind,
            "n_pixels": spectrum.n_pixels,
            "n_good": int(n_good[row]),
            **{name: _number(values[row]) for name, values in columns.items()},
        }
        for row, kind in enumerate(spectrum.kind)
    ]


def _number(value: Any) -> float | None:
    """Return a finite float; None, the database's null, otherwise."""
    return float(value) if math.isfinite(value) else None
