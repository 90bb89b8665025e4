"""Templates and models of spectra as files: numpy archives of plain arrays and texts, without pickles."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError, MissingDataError
from astra.products.atomic import atomic_path
from astra.spectra.cannon import CannonModel
from astra.spectra.grid import LogGrid
from astra.spectra.redshift import SpectralClass

_CANNON_ARRAYS = (
    *("centre", "scale", "coefficients", "scatter2", "low", "high", "precision", "max_distance"),
    *("unit_covariance", "training_variance", "n_stars"),
)


def write_template_spectra(
    path: Path | str, wavelength: NDArray[np.float64], flux: NDArray[np.float64], names: Sequence[str]
) -> None:
    """Write template spectra at rest; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Ending in ``.npz``.
    wavelength : float64 ndarray, shape (n_pixels,)
        In vacuum [Angstrom].
    flux : float64 ndarray, shape (n_templates, n_pixels)
        In any unit.
    names : sequence of str
        What they are.
    """
    _write(path, "templates", {"wavelength": wavelength, "flux": flux, "names": np.array(names, dtype=str)})


def read_template_spectra(
    path: Path | str,
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Read template spectra: wavelengths [Angstrom, vacuum, at rest], fluxes and names.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it holds none.
    """
    content = _read(path, "templates", ("wavelength", "flux", "names"))
    return content["wavelength"], np.atleast_2d(content["flux"]), tuple(map(str, content["names"]))


def write_cannon_model(path: Path | str, model: CannonModel) -> None:
    """Write a model of The Cannon; the file appears whole or not at all."""
    arrays = {name: np.asarray(getattr(model, name)) for name in _CANNON_ARRAYS}
    _write(path, "cannon", {**arrays, "names": np.array(model.names, dtype=str)})


def read_cannon_model(path: Path | str) -> CannonModel:
    """Read a model of The Cannon.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it holds none.
    """
    content = _read(path, "cannon", (*_CANNON_ARRAYS, "names"))
    names = tuple(map(str, content.pop("names")))
    try:
        numbers = {"max_distance": float(content["max_distance"]), "n_stars": int(content["n_stars"])}
        return CannonModel(names=names, **{**content, **numbers})
    except (TypeError, ValueError) as exc:
        message = f"{path} is no model of The Cannon: {exc}"
        raise FormatError(message, path=str(path)) from exc


def write_spectral_classes(path: Path | str, classes: Sequence[SpectralClass]) -> None:
    """Write the templates of classes of objects; the file appears whole or not at all."""
    arrays: dict[str, Any] = {"names": np.array([one.name for one in classes], dtype=str)}
    for number, one in enumerate(classes):
        arrays[f"templates_{number}"] = one.templates
        arrays[f"grid_{number}"] = np.array([one.grid.start, one.grid.step, one.z_min, one.z_max])
    _write(path, "classes", arrays)


def read_spectral_classes(path: Path | str) -> list[SpectralClass]:
    """Read the templates of classes of objects.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it holds none.
    """
    content = _read(path, "classes", ("names",))
    classes = []
    try:
        for number, name in enumerate(content["names"]):
            start, step, z_min, z_max = map(float, content[f"grid_{number}"])
            templates = content[f"templates_{number}"]
            grid = LogGrid(start, step, templates.shape[1])
            classes.append(SpectralClass(str(name), grid, templates, z_min, z_max))
    except (KeyError, IndexError, ValueError) as exc:
        message = f"{path} holds no templates of classes: {exc}"
        raise FormatError(message, path=str(path)) from exc
    return classes


def _write(path: Path | str, kind: str, arrays: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, kind=np.array(f"astra {kind}"), **arrays)


def _read(path: Path | str, kind: str, names: Sequence[str]) -> dict[str, Any]:
    """Read the arrays of a file, and check that it is of a kind."""
    path = Path(path)
    if not path.is_file():
        message = f"{path} is not there"
        raise MissingDataError(message, path=str(path))
    try:
        # Opened here: numpy leaves a broken archive open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as exc:
        message = f"{path} must be a numpy archive of {kind}, but cannot be read as one"
        raise FormatError(message, path=str(path)) from exc
    missing = [name for name in names if name not in content]
    if str(content.pop("kind", "")) != f"astra {kind}" or missing:
        message = (
            f"{path} must hold {kind} of astra, but does not, or lacks {', '.join(missing) or 'its kind'}"
        )
        raise FormatError(message, path=str(path), missing=missing)
    return content
