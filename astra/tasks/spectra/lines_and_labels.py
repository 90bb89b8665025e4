"""Lines, redshifts and classes, and labels of spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import ConfigError
from astra.tasks.parameters import PathParameter
from astra.tasks.spectra.analysis import (
    BlockTask,
    Row,
    flags_text,
    number_text,
    plain,
    rows_of,
    title_of,
    usable_ivar,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from astra.products.spectrum import Spectrum


class MeasureLines(BlockTask):
    """Measure equivalent widths and indices of every spectrum in a file, by integration and by a Gaussian.

    Writes a row per spectrum and line into the table ``line_strength``. Line lists say whether they are in
    air or vacuum; the wavelengths of the table are in vacuum.
    """

    table = "line_strength"

    lines = PathParameter(
        default="",
        description="Table (ECSV) of lines: name, medium (air or vacuum), window_low, window_high, blue_low, "
        "blue_high, red_low, red_high [Angstrom]; empty for indices of the Lick system.",
    )
    fit_profiles = luigi.BoolParameter(
        default=True,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Whether to fit a Gaussian to each line too.",
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
        return [measure_file(spectrum, prepared, self.fit_profiles) for spectrum in spectra]

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure:
        """Draw the lines of the first spectrum of the file."""
        from astra.products.line_pictures import draw_lines
        from astra.spectra.lines import measure_lines

        planes = (spectrum.wavelength, spectrum.flux[:1], usable_ivar(spectrum)[:1])
        strengths = measure_lines(*planes, prepared)
        said = f"equivalent widths by integration; red: Gaussian fit; at rest for {self.velocity_kms:g} km/s"
        return draw_lines(
            planes[0],
            planes[1][0],
            planes[2][0],
            prepared,
            strengths,
            0,
            title=title_of(spectrum),
            subtitle=said,
        )

    def adapt(self, spectrum: Spectrum) -> Spectrum:
        """Return a spectrum with the wavelengths of its source at rest."""
        from dataclasses import replace

        from astra.spectra.velocities import SPEED_OF_LIGHT_KMS

        factor = 1.0 + self.velocity_kms / SPEED_OF_LIGHT_KMS
        return replace(spectrum, wavelength=spectrum.wavelength / factor)


def measure_file(spectrum: Spectrum, lines: Any, fit_profiles: bool = True) -> list[Row]:
    """Return a row for each spectrum and line."""
    from astra.spectra.line_fits import fit_lines
    from astra.spectra.lines import measure_lines

    planes = (spectrum.wavelength, spectrum.flux, usable_ivar(spectrum), lines)
    found = dict(vars(measure_lines(*planes)))
    if fit_profiles:
        own = ("centre", "centre_err", "sigma", "sigma_err")
        fits = vars(fit_lines(*planes))
        found |= {name if name in own else f"fit_{name}": values for name, values in fits.items()}
    rows = []
    for number, line in enumerate(lines):
        columns = {name: values[:, number] for name, values in found.items()}
        middle = 0.5 * sum(line.in_vacuum().window)
        shared = {"line": line.name, "medium": line.medium, "wavelength": middle}
        rows += [{**row, **shared} for row in rows_of(spectrum, columns)]
    return rows


class ClassifySpectrum(BlockTask):
    """Find redshift and class of every spectrum in a file with linear templates.

    Writes a row per spectrum into the table ``spectral_classification``.
    """

    table = "spectral_classification"

    classes = PathParameter(
        default="",
        description="Archive of astra (npz) with the templates of the classes, as TrainTemplates writes it; "
        "empty for quasars alone.",
    )

    def prepare(self) -> Any:
        """Return the classes."""
        from astra.products.spectral_models import read_spectral_classes
        from astra.spectra.quasars import quasar_class

        return read_spectral_classes(self.classes) if self.classes else [quasar_class()]

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Classify each file."""
        return [classify_file(spectrum, prepared) for spectrum in spectra]

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure | None:
        """Draw the first spectrum of the file with the best templates; none if it has no redshift."""
        from astra.products.line_pictures import draw_class
        from astra.spectra.redshift import class_model, scan_redshifts
        from astra.tasks.spectra.velocities import grid_of

        row = rows[0]
        if row["z"] is None:
            return None
        grid, flux, ivar = grid_of(spectrum), spectrum.flux[0], usable_ivar(spectrum)[0]
        [best] = [one for one in prepared if one.name == row["class_name"]][:1]
        curves = scan_redshifts(grid, flux, ivar, prepared)
        named = [(one.name, *curve) for one, curve in zip(prepared, curves, strict=True)]
        said = f"{row['class_name']} at z = {row['z']:.5f} ± {number_text(row['z_err'], 5)};  chi2/dof "
        said += f"{number_text(row['chi2_dof'])}, next best {number_text(row['delta_chi2'], 0)} worse"
        return draw_class(
            spectrum.wavelength,
            flux,
            ivar,
            class_model(grid, flux, ivar, best, row["z"]),
            named,
            z=row["z"],
            name=row["class_name"],
            title=title_of(spectrum),
            subtitle=said + flags_text(row),
        )


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

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure:
        """Draw the first spectrum of the file with the model of its labels."""
        import numpy as np

        from astra.products.spectrum_pictures import chip_parts
        from astra.products.star_pictures import LabelPicture, draw_labels

        own = [row for row in rows if row["row_index"] == 0]
        value, error = (
            np.array([np.nan if row[name] is None else row[name] for row in own])
            for name in ("value", "value_err")
        )
        flux, ivar = (plane[0] for plane in normalised(spectrum))
        reached = np.isfinite(prepared.scatter2)
        model = np.where(reached, prepared.spectra(value[None])[0], np.nan)
        noise = np.where(
            reached & (ivar > 0), 1.0 / np.where(ivar > 0, ivar, 1.0) + prepared.scatter2, np.inf
        )
        fit = LabelPicture(
            wavelength=spectrum.wavelength,
            flux=flux,
            ivar=1.0 / noise,
            model=model,
            parts=chip_parts(spectrum.chip),
            names=prepared.names,
            value=value,
            error=error,
            low=prepared.low,
            high=prepared.high,
        )
        said = f"chi2/dof {number_text(own[0]['chi2_dof'])} of {own[0]['n_pixels']} pixels"
        return draw_labels(fit, title=title_of(spectrum), subtitle=said + flags_text(own[0]))


def normalised(spectrum: Spectrum) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return flux over continuum and its inverse variance."""
    from astra.spectra.continuum import fit_continuum, normalise

    ivar = usable_ivar(spectrum)
    return normalise(spectrum.flux, ivar, fit_continuum(spectrum.wavelength, spectrum.flux, ivar).continuum)
