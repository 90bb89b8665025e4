"""The stamps of an alert as arrays, with their orientation on the sky; they may come from anywhere."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.fits_units import Header, read_image, read_units
from astra.errors import FormatError

MAX_BYTES = 16 << 20  # of a stamp; Rubin's have at most 110 kB
MAX_SIDE_PIXEL = 1024
ZTF_PIXEL_ARCSEC = 1.012
GZIP_MAGIC = b"\x1f\x8b"
NO_VALUE = 1e30  # ZTF's pixels without data are the least float of 32 bits
NAMES = {"science": "cutoutScience", "template": "cutoutTemplate", "difference": "cutoutDifference"}

_GZIP_WINDOW = 31  # zlib's number for a gzip header and the largest window


@dataclass(frozen=True)
class Stamp:
    """One image around a source.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Pixels without data are NaN.
    unit : str
        Of the pixels, as in FITS; empty if it is not told.
    x, y : float
        The source [pixel].
    matrix : float64 ndarray, shape (2, 2), or None
        Offset east and north [arcsec] per pixel of x and y; None if it is not told.
    """

    image: NDArray[np.float32]
    unit: str
    x: float
    y: float
    matrix: NDArray[np.float64] | None


def read_stamp(content: Any, *, ra: float, dec: float) -> Stamp | None:
    """Read a stamp of Rubin's kind (FITS bytes) or ZTF's (a record with gzipped FITS).

    A stamp of ZTF's kind without a WCS has its detectors' orientation: east is at smaller x and north at
    smaller y, at 1.012 arcsec per pixel.

    Parameters
    ----------
    content : bytes, mapping or None
        The field of the alert.
    ra, dec : float
        Position of the source [deg].

    Returns
    -------
    stamp : Stamp or None
        None where the alert has none.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    if content is None:
        return None
    is_ztf = isinstance(content, Mapping)
    data = content.get("stampData") if is_ztf else content
    if not isinstance(data, bytes):
        raise FormatError(f"a stamp must be bytes, found {type(data).__name__}")
    image, header = _read_fits(_plain(data))
    ny, nx = image.shape
    matrix = _matrix(header)
    x, y = (nx - 1) / 2.0, (ny - 1) / 2.0
    if matrix is not None:
        x, y = _position(header, matrix, ra, dec)
    elif is_ztf:
        matrix = np.diag([-ZTF_PIXEL_ARCSEC, -ZTF_PIXEL_ARCSEC])
    return Stamp(image, str(header.get("BUNIT", "")), x, y, matrix)


def _plain(data: bytes) -> bytes:
    """Unpack what is gzipped, up to the largest size."""
    if data.startswith(GZIP_MAGIC):
        try:
            data = zlib.decompressobj(_GZIP_WINDOW).decompress(data, MAX_BYTES + 1)
        except zlib.error as exc:
            raise FormatError(f"a stamp is not gzipped as it says: {exc}") from exc
    if len(data) > MAX_BYTES:
        raise FormatError(f"a stamp may have {MAX_BYTES} bytes, found more", size=len(data))
    return data


def _read_fits(data: bytes) -> tuple[NDArray[np.float32], Header]:
    unit = next(read_units(data))
    image = np.array(read_image(data, unit, max_side=MAX_SIDE_PIXEL), dtype=np.float32)
    image[~(np.abs(image) < NO_VALUE)] = np.nan
    return image, unit.header


def _matrix(header: Header) -> NDArray[np.float64] | None:
    """Offset east and north [arcsec] per pixel; None without a gnomonic WCS."""
    if not (str(header.get("CTYPE1", "RA---TAN"))[5:8] == "TAN" and "CRVAL1" in header):
        return None
    elements = [[_element(header, row, column) for column in (1, 2)] for row in (1, 2)]
    matrix = 3600.0 * np.array(elements, dtype=np.float64)
    usable = np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 0
    return matrix if usable else None


def _element(header: Header, row: int, column: int) -> float:
    if "CD1_1" in header:
        return _number(header, f"CD{row}_{column}", 0.0)
    scale = _number(header, f"CDELT{row}", 1.0)
    return scale * _number(header, f"PC{row}_{column}", float(row == column))


def _number(header: Header, key: str, default: float) -> float:
    value = header.get(key, default)
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _position(header: Header, matrix: NDArray[np.float64], ra: float, dec: float) -> tuple[float, float]:
    """Pixel of a position; that of the WCS itself if the position is not near it."""
    x, y = _number(header, "CRPIX1", 1.0) - 1.0, _number(header, "CRPIX2", 1.0) - 1.0
    dec_0 = np.deg2rad(_number(header, "CRVAL2", np.nan))
    d_ra = np.deg2rad((ra - _number(header, "CRVAL1", np.nan) + 180.0) % 360.0 - 180.0)
    offset_arcsec = np.rad2deg([d_ra * np.cos(dec_0), np.deg2rad(dec) - dec_0]) * 3600.0
    moved = np.linalg.solve(matrix, offset_arcsec)
    if not np.abs(moved).max() < MAX_SIDE_PIXEL:
        return x, y
    return float(x + moved[0]), float(y + moved[1])
