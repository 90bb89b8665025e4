"""Open the FITS files of a survey, so that whatever is wrong with one ends in one sentence with its path."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning
from numpy.typing import NDArray

from astra.errors import FormatError, MissingDataError

_UNREADABLE = (
    OSError,
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    EOFError,
    AstropyUserWarning,
    fits.VerifyError,
)


@contextmanager
def open_survey_file(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file, plain or compressed, whole.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    hdus : fits.HDUList
        Its units; astropy's warnings on what these surveys' headers are known for are silenced.

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
        warnings.filterwarnings("error", message=".*truncated", category=AstropyUserWarning)
        try:
            with fits.open(path, memmap=False) as hdus:
                len(hdus)  # walks all headers, and so finds a file that ends too early
                yield hdus
        except _UNREADABLE as exc:
            reason = " ".join(str(exc).split()) or type(exc).__name__
            message = f"{path} cannot be read as a FITS file: {reason}"
            raise FormatError(message, path=str(path), reason=reason) from exc


def read_image(hdus: fits.HDUList, number: int, path: Path, content: str) -> NDArray[Any]:
    """Return an image in native byte order, by the number of its unit: names differ between releases.

    Parameters
    ----------
    hdus : fits.HDUList
        The file.
    number : int
        Of the unit, 0 the primary.
    path : Path
        For the message.
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
    is_image = number < len(hdus) and hdus[number].is_image
    data = hdus[number].data if is_image else None
    if data is None or data.ndim not in (1, 2):
        found = f"shape {data.shape}" if data is not None else "no image"
        message = f"{path} must have the {content} as an image in HDU {number}, but has {found}"
        raise FormatError(message, path=str(path), hdu=number, expected=content)
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
