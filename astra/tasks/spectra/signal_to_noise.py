"""The signal-to-noise ratio of spectra, of all products of the survey in one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from astra.tasks.spectra.analysis import BlockTask, ReadMember, Row, rows_of, title_of, usable_ivar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astra.products.spectrum import Spectrum

LOW_SNR = 5.0  # per pixel, below which a spectrum is flagged, as in APOGEE_STARFLAG


class SignalToNoise(BlockTask):
    """Measure the signal-to-noise ratio per pixel of every spectrum in a file.

    Writes a row per spectrum into the table ``signal_to_noise``.
    """

    table = "signal_to_noise"

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Measure each file."""
        return [measure(spectrum) for spectrum in spectra]

    def file_columns(self, member: ReadMember) -> Row:
        """Return size and time of change of the file, as it was read; the product is that of its reader."""
        size, modified = member.state or (None, None)
        columns: Row = {"file_size": size, "file_modified_ns": modified}
        return columns if member.spectrum is None else {**columns, "product": member.spectrum.product}

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure:
        """Draw the first spectrum of the file."""
        from astra.products.spectrum import CHIPS
        from astra.products.spectrum_pictures import draw_signal

        row, number = rows[0], lambda value: float("nan") if value is None else float(value)
        chips = [number(row[f"snr_{name}"]) for name in CHIPS]
        planes = (spectrum.flux[0], usable_ivar(spectrum)[0])
        return draw_signal(
            spectrum.wavelength,
            *planes,
            spectrum.chip,
            chips if spectrum.product != "spec" else [number(row["snr"])],
            title=title_of(spectrum),
            subtitle=f"S/N per pixel {number(row['snr']):.1f}; the file says {number(row['header_snr']):.1f}",
        )


def measure(spectrum: Spectrum) -> list[Row]:
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
    from astra.spectra.flags import SpectrumFlag
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
    snr = signal_to_noise(flux, ivar, bad)
    n_good = good_pixels(flux, ivar, bad).sum(axis=1)
    flags = np.where(n_good == 0, int(SpectrumFlag.NO_DATA), 0)
    flags |= np.where(2 * n_good < spectrum.has_data.sum(axis=1), int(SpectrumFlag.FEW_PIXELS), 0)
    flags |= np.where(snr < LOW_SNR, int(SpectrumFlag.LOW_SNR), 0)
    chips = chip_signal_to_noise(flux, ivar, bad, spectrum.chip).T
    columns = {
        "snr": snr,
        "snr_drp": reduction_signal_to_noise(flux, ivar, included),
        "header_snr": spectrum.snr,
        **{f"snr_{name}": values for name, values in zip(CHIPS, chips, strict=True)},
        "n_pixels": np.full(spectrum.n_rows, spectrum.n_pixels),
        "n_good": n_good,
        "flags": flags,
    }
    if spectrum.product not in ("apVisit", "apStar"):
        columns["snr_drp"] = np.full(spectrum.n_rows, np.nan)
    return rows_of(spectrum, columns)
