"""Spectra that astra makes, as FITS files: planes on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from astra.products.fits_blocks import image_unit, primary_unit, write_units
from astra.products.star_files import FLUX_UNIT

__all__ = ["FLUX_UNIT", "write_planes"]


def write_planes(
    path: Path | str,
    wavelength: NDArray[np.float64],
    planes: Mapping[str, tuple[NDArray[Any], str]],
    cards: Mapping[str, Any] | None = None,
    *,
    dtype: DTypeLike = np.float32,
) -> None:
    """Write planes on one grid as images; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to.
    wavelength : float64 ndarray, shape (n_pixels,)
        In vacuum [Angstrom]; the extension ``WAVELENGTH``.
    planes : mapping of str to (ndarray of shape (n_rows, n_pixels), str)
        By name of the extension: values and their unit.
    cards : mapping, optional
        Header.
    dtype : dtype, optional
        Of planes of real numbers; single precision errs by 6e-8.
    """
    images = [
        image_unit(values.astype(dtype) if values.dtype.kind == "f" else values, {"BUNIT": unit}, name)
        for name, (values, unit) in planes.items()
    ]
    grid = image_unit(wavelength, {"BUNIT": "Angstrom"}, "WAVELENGTH")
    write_units(path, [primary_unit(cards or {}), grid, *images])
