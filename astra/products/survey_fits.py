"""Open the FITS files of a survey, so that whatever is wrong with one ends in one sentence with its path."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astra.errors import FormatError, MissingDataError
from astra.products.fits_units import FitsUnit, find_units

_UNREADABLE = (
    OSError,
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    EOFError,
    zlib.error,
    fits.VerifyError,
)


@dataclass(frozen=True)
class SurveyFile:
    """An open FITS file of a survey.

    Parameters
    ----------
    path : Path
        The file.
    hdus : fits.HDUList
        Its units, read when they are asked for.
    content : bytes
        The whole file, uncompressed.
    units : list of FitsUnit
        Where its units stand.
    """

    path: Path
    hdus: fits.HDUList
    content: bytes
    units: list[FitsUnit]


@contextmanager
def open_survey_file(path: Path) -> Iterator[SurveyFile]:
    """Open a FITS file, plain or compressed by gzip or bzip2, whole.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    file : SurveyFile
        astropy's warnings on what these surveys' headers are known for are silenced.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is no FITS file, is truncated, or cannot be read in the body of the ``with``.
    """
    if not path.is_file():
        message = f"{path} does not exist"
        raise MissingDataError(message, path=str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            content = _uncompressed(path.read_bytes())
            units = find_units(content)
            with fits.open(io.BytesIO(content), memmap=False) as hdus:
                yield SurveyFile(path, hdus, content, units)
        except _UNREADABLE as exc:
            reason = " ".join(str(exc).split()) or type(exc).__name__
            message = f"{path} cannot be read as a FITS file: {reason}"
            raise FormatError(message, path=str(path), reason=reason) from exc


def _uncompressed(content: bytes) -> bytes:
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    return bz2.decompress(content) if content.startswith(b"BZh") else content


def read_image(file: SurveyFile, number: int, content: str) -> NDArray[Any]:
    """Return an image in native byte order, by the number of its unit: names differ between releases.

    Parameters
    ----------
    file : SurveyFile
        The file.
    number : int
        Of the unit, 0 the primary.
    content : str
        What the image should be, for the message.

    Returns
    -------
    image : ndarray, shape (n_rows, n_pixels)
        A single row has n_rows 1.

    Raises
    ------
    FormatError
        If there is no such unit, or no image of one or two dimensions in it.
    """
    is_image = number < len(file.units) and file.hdus[number].is_image
    data = file.hdus[number].data if is_image else None
    if data is None or data.ndim not in (1, 2):
        found = f"shape {data.shape}" if data is not None else "no image"
        message = f"{file.path} must have the {content} as an image in HDU {number}, but has {found}"
        raise FormatError(message, path=str(file.path), hdu=number, expected=content)
    return np.atleast_2d(data.astype(data.dtype.newbyteorder("=")))


def read_cards(header: fits.Header) -> dict[str, Any]:
    """Return the cards of a header without commentary and blanks; the first of a repeated key counts.

    Parameters
    ----------
    header : fits.Header
        The header.

    Returns
    -------
    cards : dict of str to value
        A text that says NaN is a float NaN: cards cannot hold one as a number.
    """
    cards: dict[str, Any] = {}
    for key in header:
        if key in ("HISTORY", "COMMENT", "") or key in cards:
            continue
        value = header[key]
        if isinstance(value, fits.card.Undefined):
            value = None
        cards[key] = math.nan if isinstance(value, str) and value.strip().lower() == "nan" else value
    return cards


def number_of(cards: dict[str, Any], *keys: str) -> float:
    """Return the first of these cards that is there, as a number.

    Parameters
    ----------
    cards : dict
        As `read_cards` returns them.
    *keys : str
        Names, in order of preference.

    Returns
    -------
    number : float
        NaN if there is none, or it is not a number.
    """
    for key in keys:
        if cards.get(key) is not None:
            try:
                return float(cards[key])
            except ValueError:
                return math.nan
    return math.nan
