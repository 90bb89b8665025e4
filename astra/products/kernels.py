"""The kernel that matched a template to a science image, as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from astra.errors import FormatError
from astra.images.spatial import SpatialKernel
from astra.products.fits_record import (
    add_cards,
    native,
    open_fits,
    plain_values,
    read_record,
    record_hdu,
    write_hdus,
)

KIND = "kernel"
GEOMETRY = ("order", "x_centre", "y_centre", "scale")


def write_kernel(
    path: Path | str, kernel: SpatialKernel, *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a kernel; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to; missing folders are made.
    kernel : SpatialKernel
        One image per term of its polynomial in position becomes extension ``KERNEL``.
    metadata : mapping, optional
        Text, numbers and bools that belong to the kernel, e.g. how well it fits.
    """
    plain = plain_values(metadata or {})
    geometry = plain_values({name: getattr(kernel, name) for name in GEOMETRY})
    primary = fits.PrimaryHDU()
    add_cards(primary.header, plain)
    images = fits.ImageHDU(np.ascontiguousarray(kernel.coefficients, dtype=np.float64), name="KERNEL")
    images.header["KORDER"] = (kernel.order, "total degree of the polynomial in position")
    images.header["KXC"] = (float(kernel.x_centre), "[pixel] 0-based, where u = 0")
    images.header["KYC"] = (float(kernel.y_centre), "[pixel] 0-based, where v = 0")
    images.header["KSCALE"] = (float(kernel.scale), "[pixel] of one unit of u and v")
    record = {"kind": KIND, "geometry": geometry, "metadata": plain}
    write_hdus(path, [primary, images, record_hdu(record)])


def read_kernel(path: Path | str) -> SpatialKernel:
    """Read a kernel that `write_kernel` wrote, bit for bit.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is damaged, or not such a file.
    """
    with open_fits(path) as hdus:
        record: dict[str, Any] = read_record(hdus) or {}
        if record.get("kind") != KIND:
            message = f"{path} is not a kernel written by astra: its record is missing or of another kind"
            raise FormatError(message, path=str(path))
        return SpatialKernel(native(hdus["KERNEL"].data, np.float64), **record["geometry"])
