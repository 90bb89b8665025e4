"""Spectra divided by their continuum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra.tasks.spectra.analysis import (
    BlockTask,
    Row,
    flags_text,
    number_text,
    rows_of,
    title_of,
    usable_ivar,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astra.products.spectrum import Spectrum


class ContinuumNormalize(BlockTask):
    """Divide every spectrum in a file by its continuum: sines and cosines, or Chebyshev polynomials.

    Writes a row per spectrum into the table ``continuum_fit``, and a FITS file with the extensions
    ``WAVELENGTH``, ``FLUX``, ``IVAR`` and ``CONTINUUM``.
    """

    table = "continuum_fit"

    basis = luigi.ChoiceParameter(
        default="sines",
        choices=("sines", "chebyshev"),
        description="Terms: sines (and cosines) or chebyshev.",
    )
    order = luigi.IntParameter(default=3, description="Highest harmonic, or degree.")
    length_angstrom = luigi.FloatParameter(default=1400.0, description="Longest period of sines [Angstrom].")
    n_clips = luigi.IntParameter(
        default=4, description="How often pixels are clipped and the fit is repeated."
    )

    def output(self) -> Any:
        """Return the normalised spectra."""
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.product_path))

    @property
    def product_path(self) -> Path:
        """Path of the normalised spectra of a single task."""
        folder = self.output_base_dir / self.task_id[-2:]
        return folder / f"{Path(self.path).stem}-{self.task_id.rsplit('_', 1)[-1]}.fits"

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Fit the continua of each file."""
        return [self._rows(spectrum) for spectrum in spectra]

    def _rows(self, spectrum: Spectrum) -> list[Row]:
        import numpy as np

        from astra.spectra.continuum import normalise
        from astra.spectra.snr import signal_to_noise

        fit = self._fit(spectrum)
        normal, ivar = normalise(spectrum.flux, usable_ivar(spectrum), fit.continuum)
        level = [
            np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in fit.continuum
        ]
        columns = {
            "level": np.array(level),
            "snr": signal_to_noise(normal, ivar),
            "chi2_dof": fit.chi2 / np.where(fit.n_used > 0, fit.n_used, np.nan),
            "n_used": fit.n_used,
            "flags": fit.flags,
        }
        return rows_of(spectrum, columns)

    def _fit(self, spectrum: Spectrum) -> Any:
        from astra.spectra.continuum import APOGEE_REGIONS, ContinuumConfig, fit_continuum

        ends = (float(spectrum.wavelength[0]), float(spectrum.wavelength[-1]))
        config = ContinuumConfig(
            basis=self.basis,
            order=self.order,
            length=self.length_angstrom,
            n_clips=self.n_clips,
            regions=(ends,) if spectrum.product == "spec" else APOGEE_REGIONS,
        )
        return fit_continuum(spectrum.wavelength, spectrum.flux, usable_ivar(spectrum), config)

    def write_product(self, spectrum: Spectrum, prepared: Any) -> None:
        """Write the normalised spectra."""
        from astra.products.spectrum_files import FLUX_UNIT, write_planes
        from astra.spectra.continuum import normalise

        continuum = self._fit(spectrum).continuum
        normal, ivar = normalise(spectrum.flux, usable_ivar(spectrum), continuum)
        planes = {"FLUX": (normal, ""), "IVAR": (ivar, ""), "CONTINUUM": (continuum, FLUX_UNIT)}
        cards = {"SOURCE": Path(self.path).name, "BASIS": self.basis, "ORDER": self.order}
        write_planes(self.product_path, spectrum.wavelength, planes, cards)

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure:
        """Draw the first spectrum of the file with its continuum."""
        from astra.products.spectrum_pictures import draw_continuum

        fit, row = self._fit(spectrum), rows[0]
        said = f"{self.basis}, order {self.order}, {self.n_clips} clips; {row['n_used']} pixels used, "
        said += f"chi2/dof {number_text(row['chi2_dof'])}, S/N {number_text(row['snr'], 1)}{flags_text(row)}"
        return draw_continuum(
            spectrum.wavelength,
            spectrum.flux[0],
            usable_ivar(spectrum)[0],
            fit.continuum[0],
            fit.used[0],
            spectrum.chip,
            title=title_of(spectrum),
            subtitle=said,
        )
