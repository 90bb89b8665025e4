"""The sky coordinates that a header tells, and those of them that can be used."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astra.errors import FormatError
from astra.instruments.focal_plane import image_corners

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS

_J2000 = {"FK5", "ICRS"}  # they differ by 0.02 arcsec, less than any telescope's pointing


def has_sky(header: fits.Header) -> bool:
    """Whether the axes of a header are right ascension and declination."""
    types = [str(header.get(f"CTYPE{axis}", "")).upper() for axis in (1, 2)]
    return all(text.startswith(("RA", "DEC")) for text in types)


def read_header_wcs(
    path: Path, header: fits.Header, shape: tuple[int, int], shift: tuple[int, int] = (0, 0)
) -> WCS | None:
    """Read the celestial coordinates of a header: TAN, TPV, TAN-SIP and whatever else astropy knows.

    Parameters
    ----------
    path : Path
        The file, for messages.
    header : fits.Header
        With CTYPE1 and the others.
    shape : (int, int)
        Rows and columns of the assembled image.
    shift : (int, int)
        Columns and rows that precede the image in the pixels that the header counts.

    Returns
    -------
    wcs : astropy.wcs.WCS or None
        For 0-based pixels of the assembled image with ``origin=0``; None if the header has no celestial one.

    Raises
    ------
    FormatError
        If it cannot be understood, is not of J2000 or ICRS, or does not give finite positions.
    """
    if not has_sky(header):
        return None
    if not str(header["CTYPE1"]).upper().startswith("RA"):
        raise _error(path, f"have right ascension on its first axis, found CTYPE1 {header['CTYPE1']!r}")
    wcs = _parse(path, header, shift)
    if wcs.wcs.radesys.strip().upper() not in _J2000 or (
        wcs.wcs.radesys.strip().upper() == "FK5" and wcs.wcs.equinox != 2000.0
    ):
        found = f"{wcs.wcs.radesys} {wcs.wcs.equinox:g}"
        raise _error(path, f"be in ICRS or FK5 of equinox 2000, found {found}")
    wcs.array_shape = shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        corners = image_corners(wcs, *shape)
    if not np.isfinite(corners).all():
        raise _error(path, f"give finite positions at the corners, found {corners.tolist()}")
    return wcs


def _parse(path: Path, header: fits.Header, shift: tuple[int, int]) -> WCS:
    from astropy.wcs import WCS

    moved = header.copy()
    try:
        for axis, before in enumerate(shift, start=1):
            moved[f"CRPIX{axis}"] = float(moved[f"CRPIX{axis}"]) - before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs: Any = WCS(moved, naxis=2)
            wcs.wcs.set()
    # wcslib raises its own classes, most of them below ValueError, and MemoryError for absurd numbers.
    except (ValueError, TypeError, KeyError, AttributeError, MemoryError, SystemError) as exc:
        raise _error(path, f"be one that wcslib understands, found: {exc}") from exc
    return wcs


def _error(path: Path, expected: str) -> FormatError:
    message = f"{path}: the sky coordinates of the header must {' '.join(expected.split())}"
    return FormatError(message, path=str(path))
