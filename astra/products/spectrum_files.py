"""Spectra that astra makes, as FITS files: planes on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.products.star_files import FLUX_UNIT, write_hdu_list

__all__ = ["FLUX_UNIT", "write_planes"]


def write_planes(
    path: Path | str,
    wavelength: NDArray[np.float64],
    planes: Mapping[str, tuple[NDArray[Any], str]],
    cards: Mapping[str, Any] | None = None,
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
    """
    images = [_image(values, unit, name) for name, (values, unit) in planes.items()]
    hdus = [
        fits.PrimaryHDU(header=fits.Header(dict(cards or {}))),
        _image(wavelength, "Angstrom", "WAVELENGTH"),
    ]
    write_hdu_list(path, [*hdus, *images])


def _image(values: NDArray[Any], unit: str, name: str = "") -> fits.ImageHDU:
    image = fits.ImageHDU(values, name=name)
    image.header["BUNIT"] = unit
    return image
