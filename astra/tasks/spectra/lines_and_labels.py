"""Lines, redshifts and classes, and labels of spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import ConfigError
from astra.tasks.parameters import PathParameter
from astra.tasks.spectra.analysis import BlockTask, Row, plain, rows_of, usable_ivar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.products.spectrum import Spectrum


class MeasureLines(BlockTask):
    """Measure equivalent widths and indices of every spectrum in a file.

    Writes a row per spectrum and line into the table ``line_strength``.
    """

    table = "line_strength"

    lines = PathParameter(
        default="",
        description="Table (ECSV) of lines: name, medium (air or vacuum), window_low, window_high, blue_low, "
        "blue_high, red_low, red_high [Angstrom]; empty for indices of the Lick system.",
    )
    velocity_kms = luigi.FloatParameter(
        default=0.0,
        batch_method=tuple,
        description="Velocity of the source in the frame of the file's wavelengths [km/s].",
    )

    def prepare(self) -> Any:
        """Return the lines."""
        from astra.products.line_lists import read_lines
        from astra.spectra.lines import LICK_LINES

        return read_lines(self.lines) if self.lines else LICK_LINES

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Measure each file."""
        return [measure_file(spectrum, prepared) for spectrum in spectra]

    def adapt(self, spectrum: Spectrum) -> Spectrum:
        """Return a spectrum with the wavelengths of its source at rest."""
        from dataclasses import replace

        from astra.spectra.velocities import SPEED_OF_LIGHT_KMS

        factor = 1.0 + self.velocity_kms / SPEED_OF_LIGHT_KMS
        return replace(spectrum, wavelength=spectrum.wavelength / factor)


def measure_file(spectrum: Spectrum, lines: Any) -> list[Row]:
    """Return a row for each spectrum and line."""
    from astra.spectra.lines import measure_lines

    found = vars(measure_lines(spectrum.wavelength, spectrum.flux, usable_ivar(spectrum), lines))
    rows = []
    for number, line in enumerate(lines):
        columns = {name: values[:, number] for name, values in found.items()}
        rows += [{**row, "line": line.name} for row in rows_of(spectrum, columns)]
    return rows


class ClassifySpectrum(BlockTask):
    """Find redshift and class of every spectrum in a file with linear templates.

    Writes a row per spectrum into the table ``spectral_classification``.
    """

    table = "spectral_classification"

    classes = PathParameter(
        default="",
        description="Archive of astra (npz) with the templates of the classes; empty for quasars alone.",
    )

    def prepare(self) -> Any:
        """Return the classes."""
        from astra.products.spectral_models import read_spectral_classes
        from astra.spectra.quasars import quasar_class

        return read_spectral_classes(self.classes) if self.classes else [quasar_class()]

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Classify each file."""
        return [classify_file(spectrum, prepared) for spectrum in spectra]


def classify_file(spectrum: Spectrum, classes: Any) -> list[Row]:
    """Return a row for each spectrum of a file.

    Raises
    ------
    ConfigError
        If the wavelengths are not uniform in the logarithm.
    """
    from astra.spectra.redshift import fit_redshifts
    from astra.tasks.spectra.velocities import grid_of

    grid = grid_of(spectrum)
    if grid.n_pixels != spectrum.n_pixels:
        message = f"{spectrum.path} cannot be classified: its wavelengths are not uniform in the logarithm"
        raise ConfigError(message, path=str(spectrum.path))
    columns = dict(vars(fit_redshifts(grid, spectrum.flux, usable_ivar(spectrum), classes)))
    names = [classes[index].name if index >= 0 else None for index in columns.pop("class_index")]
    return [{**row, "class_name": name} for row, name in zip(rows_of(spectrum, columns), names, strict=True)]


class TheCannon(BlockTask):
    """Find the labels of every spectrum of stars at rest with a model that `TrainTheCannon` has made.

    Writes a row per spectrum and label into the table ``stellar_label``.
    """

    table = "stellar_label"

    model = PathParameter(description="The model (npz).")

    def prepare(self) -> Any:
        """Read the model."""
        from astra.products.spectral_models import read_cannon_model

        return read_cannon_model(self.model)

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Find the labels of all spectra of a block at once."""
        import numpy as np

        from astra.spectra.cannon_labels import infer_labels

        normal = [normalised(spectrum) for spectrum in spectra]
        labels = infer_labels(prepared, *(np.concatenate(planes) for planes in zip(*normal, strict=True)))
        error, first, result = labels.error, 0, []
        for spectrum in spectra:
            rows: list[Row] = []
            for row, kind in enumerate(spectrum.kind, start=first):
                shared = {
                    "row_index": row - first,
                    "kind": kind,
                    "chi2_dof": plain(labels.chi2_dof[row]),
                    "n_pixels": int(labels.n_pixels[row]),
                    "flags": int(labels.flags[row]),
                }
                rows += [
                    {**shared, "label": name, "value": plain(value), "value_err": plain(sigma)}
                    for name, value, sigma in zip(prepared.names, labels.value[row], error[row], strict=True)
                ]
            first += spectrum.n_rows
            result.append(rows)
        return result


def normalised(spectrum: Spectrum) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return flux over continuum and its inverse variance."""
    from astra.spectra.continuum import fit_continuum, normalise

    ivar = usable_ivar(spectrum)
    return normalise(spectrum.flux, ivar, fit_continuum(spectrum.wavelength, spectrum.flux, ivar).continuum)
