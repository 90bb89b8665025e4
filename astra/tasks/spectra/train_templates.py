"""Train the templates of classes of objects on spectra whose classes and redshifts are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import FormatError
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter
from astra.tasks.spectra.analysis import PICTURE, usable_ivar

if TYPE_CHECKING:
    from astra.spectra.template_training import LabelledSpectrum, Validation


class TrainTemplates(AstraTask):
    """Train principal components of each class on labelled spectra, and tell how well they do.

    Writes the templates as a numpy archive of plain arrays, which `ClassifySpectrum` takes, a report (JSON)
    of what they find of spectra that they were not trained on, and a picture of both.
    """

    training = PathParameter(
        description="Table (CSV, ECSV, FITS, Parquet) of the spectra: path, class, z (redshift in the frame "
        "of the file's wavelengths) and, optionally, product (default spec). A file's first row is taken.",
    )
    n_components = luigi.IntParameter(default=4, description="Templates of each class, at most.")
    n_folds = luigi.IntParameter(
        default=5, description="Parts that are left out of the training in turn to test it; 0 for no test."
    )
    z_margin = luigi.FloatParameter(
        default=0.01, description="What is searched beyond the redshifts of a class, over 1 + z."
    )

    @property
    def classes_path(self) -> Path:
        """Path of the templates."""
        return self.output_base_dir / f"{self.task_id}.npz"

    def output(self) -> Any:
        """Return the templates, the report and the picture."""
        return {
            "classes": luigi.LocalTarget(str(self.classes_path)),
            "report": luigi.LocalTarget(str(self.classes_path.with_suffix(".json"))),
            PICTURE: luigi.LocalTarget(str(self.classes_path.with_suffix(".png"))),
        }

    def input_files(self) -> list[str]:
        """Return the table."""
        return [self.training]

    def run(self) -> None:
        """Read the spectra, train, test, write."""
        from astra.products.atomic import write_bytes
        from astra.products.spectral_models import write_spectral_classes
        from astra.products.spectrum_pictures import write_picture
        from astra.products.training_pictures import draw_templates
        from astra.spectra.template_training import cross_validate, train_classes

        spectra = labelled_spectra(self.training)
        classes = train_classes(spectra, self.n_components, z_margin=self.z_margin)
        validation = None
        if self.n_folds:
            validation = cross_validate(
                spectra, self.n_components, n_folds=self.n_folds, z_margin=self.z_margin
            )
        report = training_report(spectra, classes, validation)
        outputs = self.output()
        write_spectral_classes(self.classes_path, classes)
        write_bytes(outputs["report"].path, (json.dumps(report, indent=2) + "\n").encode())
        said = f"{len(spectra)} spectra of {len(classes)} classes, {self.n_components} templates at most"
        said += f"; tested on what was left out, in {self.n_folds} parts" if validation else ""
        figure = draw_templates(classes, validation, title=Path(self.training).name, subtitle=said)
        write_picture(outputs[PICTURE].path, figure)
        for name, figures in report["classes"].items():
            self.add_figures(name, {key: value for key, value in figures.items() if value is not None})


def labelled_spectra(path: str) -> list[LabelledSpectrum]:
    """Read the spectra of a table.

    Raises
    ------
    FormatError
        If a column is missing, a redshift is no number, or there is no spectrum.
    """
    from astra.products.parameter_tables import read_parameter_table
    from astra.products.spectra import read_spectrum
    from astra.spectra.template_training import LabelledSpectrum
    from astra.tasks.io.by_path import absolute_path
    from astra.tasks.spectra.velocities import grid_of

    table = read_parameter_table(path)
    missing = [name for name in ("path", "class", "z") if name not in table]
    if missing or not table["path"]:
        lacks = f"lacks {', '.join(missing)}" if missing else "has no rows"
        message = f"{path} must have the columns path, class and z, but {lacks}"
        raise FormatError(message, path=path, missing=missing)
    products = table.get("product") or ["spec"] * len(table["path"])
    try:
        redshifts = [float(value or "") for value in table["z"]]
    except ValueError as exc:
        message = f"the redshifts z of {path} must be numbers: {exc}"
        raise FormatError(message, path=path) from exc
    spectra = []
    columns = (products, table["path"], table["class"], redshifts)
    for product, name, own, z in zip(*columns, strict=True):
        spectrum = read_spectrum(str(product), absolute_path(str(name)))
        planes = (spectrum.flux[0], usable_ivar(spectrum)[0])
        spectra.append(LabelledSpectrum(grid_of(spectrum), *planes, str(own).strip(), z))
    return spectra


def training_report(
    spectra: list[LabelledSpectrum], classes: Any, validation: Validation | None
) -> dict[str, Any]:
    """Return what is to be said of a training, as JSON has it; what is not finite is null."""
    from astra.tasks.spectra.analysis import plain

    summary = validation.summary() if validation else {}
    report: dict[str, Any] = {"n_spectra": len(spectra), "classes": {}}
    for one in classes:
        ends = one.grid.wavelength[[0, -1]]
        report["classes"][one.name] = {
            "n_spectra": sum(spectrum.name == one.name for spectrum in spectra),
            "n_templates": len(one.templates),
            "z_min": one.z_min,
            "z_max": one.z_max,
            "wavelength_min_angstrom": float(ends[0]),
            "wavelength_max_angstrom": float(ends[1]),
            **{key: plain(value) for key, value in summary.get(one.name, {}).items() if key != "n"},
        }
    if validation:
        columns = ("name", "z", "found_name", "found_z", "found_z_err", "chi2_dof", "delta_chi2")
        rows = zip(*(getattr(validation, name) for name in columns), strict=True)
        report["left_out"] = [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
    return report
