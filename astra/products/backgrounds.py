"""The sky that was subtracted from an exposure, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.fits_record import add_cards, open_fits, read_record, record_hdu, write_hdus

KIND = "background"


def write_background(path: Path | str, background: NDArray[np.float32], *, unit: str) -> None:
    """Write a sky image, shape (ny, nx) [unit]; the file appears whole or not at all."""
    primary = fits.PrimaryHDU()
    image = fits.ImageHDU(np.ascontiguousarray(background), name="SKY")
    add_cards(image.header, {"BUNIT": unit})
    write_hdus(path, [primary, image, record_hdu({"kind": KIND, "unit": unit})])


def read_background(path: Path | str) -> NDArray[np.float32]:
    """Read a sky image, in the machine's byte order.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is not such a file.
    """
    with open_fits(path) as hdus:
        record: dict[str, Any] = read_record(hdus) or {}
        if record.get("kind") != KIND:
            message = f"{path} is not a background written by astra: its record is missing or of another kind"
            raise FormatError(message, path=str(path))
        return np.asarray(hdus["SKY"].data, dtype=np.float32)
