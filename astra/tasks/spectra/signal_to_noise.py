"""The signal-to-noise ratio of spectra, of all products of the survey in one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from astra.tasks.spectra.analysis import SpectrumTask, file_state, plain

if TYPE_CHECKING:
    from astra.products.spectrum import Spectrum


class SignalToNoise(SpectrumTask):
    """Measure the signal-to-noise ratio per pixel of every spectrum in a file.

    Writes a row per spectrum into the table ``signal_to_noise``.
    """

    def run(self) -> None:
        """Measure the files, and write the rows of each before its state says that it is done."""
        from astra.database.engine import transaction
        from astra.database.spectra import write_signal_to_noise
        from astra.products.spectra import read_spectrum

        for task in self.pending_tasks():
            with task.recording():
                path = task.file_path
                state = file_state(path)  # before it is read: a change while reading counts as a change
                columns = dict(zip(("file_size", "file_modified_ns"), state or (), strict=False))
                rows = [{**row, **columns} for row in measure(read_spectrum(task.product, path))]
                with transaction(self.database_url) as connection:
                    write_signal_to_noise(connection, {task.task_id: rows})


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
            **{name: plain(values[row]) for name, values in columns.items()},
        }
        for row, kind in enumerate(spectrum.kind)
    ]
