"""The celestial WCS of a FITS header of any software."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from astra.errors import FormatError

FRAMES = ("", "ICRS", "FK5")  # the two differ by less than 0.03 arcsec


def read_celestial_wcs(header: fits.Header, path: Path | str) -> WCS:
    """Read the WCS of an image with two axes.

    Parameters
    ----------
    header : fits.Header
        Of the image.
    path : Path or str
        The file, for errors.

    Raises
    ------
    FormatError
        If there is none, it is not of right ascension and declination of ICRS or FK5, or is singular.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            wcs = WCS(header)
    except Exception as exc:  # wcslib has a dozen errors of its own, and astropy others
        raise FormatError(f"the WCS of {path} cannot be read: {exc}", path=str(path)) from exc
    if not wcs.has_celestial or wcs.naxis != 2:
        message = (
            f"{path} has no WCS: its header must have CTYPE1 and CTYPE2 of right ascension and declination"
        )
        raise FormatError(message, path=str(path))
    kinds = tuple(str(kind)[:4].rstrip("-") for kind in wcs.wcs.ctype)
    if set(kinds) != {"RA", "DEC"} or str(wcs.wcs.radesys).strip() not in FRAMES:
        found = f"{', '.join(kinds)} of {str(wcs.wcs.radesys).strip() or 'no frame'}"
        message = f"the WCS of {path} must be of RA, DEC of ICRS or FK5, found {found}"
        raise FormatError(message, path=str(path))
    if not abs(np.linalg.det(wcs.pixel_scale_matrix)) > 0:
        raise FormatError(f"the WCS of {path} is singular", path=str(path))
    return wcs
