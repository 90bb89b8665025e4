"""Train The Cannon on stars whose labels are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import luigi

from astra.errors import FormatError
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter
from astra.tasks.spectra.analysis import picture_rows

MAX_SHOWN = 300  # stars in the picture


class TrainTheCannon(AstraTask):
    """Train The Cannon: a quadratic model of each pixel of stars at rest in their labels.

    Writes the model as a numpy archive of plain arrays, which `TheCannon` takes, and a picture of the labels
    that it finds of its own stars.
    """

    training = PathParameter(
        description="Table (CSV, ECSV, FITS, Parquet) of the training stars: path and, optionally, product "
        "(default apStar), and a column for each label. Of an apStar file the sum is taken.",
    )
    labels = luigi.Parameter(description="Names of the label columns, separated by commas.")
    n_iterations = luigi.IntParameter(
        default=2, description="How often coefficients and scatter are determined in turn."
    )

    @property
    def model_path(self) -> Path:
        """Path of the model."""
        return self.output_base_dir / f"{self.task_id}.npz"

    def output(self) -> Any:
        """Return the model."""
        return luigi.LocalTarget(str(self.model_path))

    @property
    def picture_path(self) -> Path:
        """Path of the picture."""
        return self.model_path.with_suffix(".png")

    def product_rows(self) -> list[dict[str, Any]]:
        """Return a row for each file that was made, the picture included."""
        return super().product_rows() + picture_rows(self.picture_path)

    def input_files(self) -> list[str]:
        """Return the table."""
        return [self.training]

    def run(self) -> None:
        """Read the stars, train, write."""
        import numpy as np

        from astra.products.parameter_tables import read_parameter_table
        from astra.products.spectra import read_spectrum
        from astra.products.spectral_models import write_cannon_model
        from astra.spectra.cannon import train_cannon
        from astra.tasks.io.by_path import absolute_path
        from astra.tasks.spectra.lines_and_labels import normalised

        names = tuple(name.strip() for name in self.labels.split(",") if name.strip())
        table = read_parameter_table(self.training)
        values = label_values(self.training, table, names)
        products = table.get("product") or ["apStar"] * len(values)
        planes = []
        for product, path in zip(products, table["path"], strict=True):
            flux, ivar = normalised(read_spectrum(str(product), absolute_path(str(path))))
            planes.append((flux[0].astype(np.float32), ivar[0].astype(np.float32)))
        flux, ivar = (np.stack(columns).astype(np.float64) for columns in zip(*planes, strict=True))
        model = train_cannon(flux, ivar, values, names, n_iterations=self.n_iterations)
        write_cannon_model(self.model_path, model)
        scatter = np.sqrt(model.scatter2[np.isfinite(model.scatter2)])
        median = float(np.median(scatter)) if scatter.size else 0.0
        self.add_figures("training", {"n_stars": len(flux), "median_scatter": median})
        some = np.unique(np.linspace(0, len(flux) - 1, min(len(flux), MAX_SHOWN)).astype(int))
        self._draw(model, flux[some], ivar[some], values[some])

    def _draw(self, model: Any, flux: Any, ivar: Any, known: Any) -> None:
        """Draw the labels that the model finds of some of its stars."""
        from astra.products.spectrum_pictures import write_picture
        from astra.products.training_pictures import draw_label_training
        from astra.spectra.cannon_labels import infer_labels

        found = infer_labels(model, flux, ivar, of_training=True)
        said = (
            f"{len(flux)} of the {model.n_stars} training stars, of which a model knows more than of others"
        )
        figure = draw_label_training(
            model.names, known, found.value, found.error, title=Path(self.training).name, subtitle=said
        )
        write_picture(self.picture_path, figure)


def label_values(path: str, table: Mapping[str, Sequence[str | None]], names: Sequence[str]) -> Any:
    """Return the labels of a table as numbers, shape (n_stars, n_labels).

    Raises
    ------
    FormatError
        If a column is missing or holds something else.
    """
    import numpy as np

    missing = [name for name in ("path", *names) if name not in table]
    if missing or not names:
        message = f"{path} must have the columns path and {', '.join(names)}, but lacks {', '.join(missing)}"
        raise FormatError(message, path=path, missing=missing)
    try:
        return np.array([[float(value or "") for value in table[name]] for name in names]).T
    except ValueError as exc:
        message = f"the labels {', '.join(names)} of {path} must be numbers: {exc}"
        raise FormatError(message, path=path) from exc
