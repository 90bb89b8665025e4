"""Open the FITS files of a survey, so that whatever is wrong with one ends in one sentence with its path."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from astra.errors import FormatError, MissingDataError
from astra.products.fits_cards import parse_cards
from astra.products.fits_columns import scaled
from astra.products.fits_units import Content, FileBytes, FitsUnit, find_units, read_header, require_fits

_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"
_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_FIRST_BYTES = 1 << 16  # of a compressed file; its first header is hardly longer
_UNREADABLE = (OSError, TypeError, ValueError, KeyError, IndexError, EOFError, OverflowError, zlib.error)


@dataclass(frozen=True)
class SurveyFile:
    """An open FITS file of a survey.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes or FileBytes
        The file, uncompressed.
    units : list of FitsUnit
        Where its units stand.
    """

    path: Path
    content: Content
    units: list[FitsUnit]

    def cards(self, number: int) -> dict[str, Any]:
        """Return the cards of a unit; none of one that is not there."""
        return dict(self.units[number].cards) if number < len(self.units) else {}


@contextmanager
def open_survey_file(path: Path) -> Iterator[SurveyFile]:
    """Open a FITS file, plain or compressed by gzip or bzip2; of a plain one only what is needed is read.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    file : SurveyFile

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is no FITS file, is truncated, or cannot be read in the body of the ``with``.
    """
    with readable(path), path.open("rb", buffering=0) as stream:
        content: Content = FileBytes(stream.fileno())
        if _is_compressed(content[:3]):
            content = _uncompressed(content[: len(content)])
        yield SurveyFile(path, content, find_units(content))


def read_primary_cards(path: str | Path) -> dict[str, Any]:
    """Return the cards of the first header of a file and read no more of it: to plan, not to check it.

    Parameters
    ----------
    path : str or Path
        The file, plain or compressed by gzip or bzip2.

    Returns
    -------
    cards : dict of str to value
        See `astra.products.fits_cards.parse_cards`.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is no FITS file, or ends in the header.
    """
    path = Path(path)
    with readable(path), path.open("rb", buffering=0) as stream:
        content: Content = FileBytes(stream.fileno())
        first = content[:3]
        if _is_compressed(first):
            opened: Any = gzip.open if first.startswith(_GZIP) else bz2.open
            with opened(path) as unpacked:
                content = unpacked.read(_FIRST_BYTES)
        require_fits(content[:80])
        return parse_cards(read_header(content))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Make one error of whatever is wrong with a file in the body of the ``with``.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it cannot be read.
    """
    if not path.is_file():
        message = f"{path} does not exist"
        raise MissingDataError(message, path=str(path))
    try:
        yield
    except _UNREADABLE as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        message = f"{path} cannot be read as a FITS file: {reason}"
        raise FormatError(message, path=str(path), reason=reason) from exc


def _is_compressed(first: bytes) -> bool:
    return first.startswith((_GZIP, _BZIP2))


def _uncompressed(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(_GZIP) else bz2.decompress(content)


def read_image(file: SurveyFile, number: int, content: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return an image in native byte order, by the number of its unit: names differ between releases.

    Parameters
    ----------
    file : SurveyFile
        The file.
    number : int
        Of the unit, 0 the primary.
    content : str
        What the image should be, for the message.
    dtype : dtype, optional
        Wanted; by default that of the file.

    Returns
    -------
    image : ndarray, shape (n_rows, n_pixels)
        A single row has n_rows 1.

    Raises
    ------
    FormatError
        If there is no such unit, or no image of one or two dimensions in it.
    """
    cards = file.cards(number)
    shape = tuple(int(cards[f"NAXIS{axis}"]) for axis in range(int(cards.get("NAXIS") or 0), 0, -1))
    kind = str(cards.get("XTENSION") or "IMAGE")
    if cards.get("ZIMAGE") is True:
        return _compressed_image(file, number, dtype)
    if kind != "IMAGE" or len(shape) not in (1, 2) or not all(shape):
        found = f"shape {shape}" if shape and kind == "IMAGE" else "no image"
        message = f"{file.path} must have the {content} as an image in HDU {number}, but has {found}"
        raise FormatError(message, path=str(file.path), hdu=number, expected=content)
    unit = file.units[number]
    stored = np.frombuffer(file.content[unit.data_start : unit.data_end], _TYPES[int(cards["BITPIX"])])
    values = scaled(stored, cards.get("BSCALE") or 1, cards.get("BZERO") or 0).reshape(shape)
    return np.atleast_2d(values.astype(values.dtype.newbyteorder("=") if dtype is None else dtype))


def _compressed_image(file: SurveyFile, number: int, dtype: DTypeLike | None) -> NDArray[Any]:
    """Return an image that is compressed in tiles, as fpack makes them."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        with fits.open(io.BytesIO(file.content[: len(file.content)]), memmap=False) as hdus:
            values = hdus[number].data
    return np.atleast_2d(values.astype(values.dtype.newbyteorder("=") if dtype is None else dtype))


def number_of(cards: Mapping[str, Any], *keys: str) -> float:
    """Return the first of these cards that is there, as a number.

    Parameters
    ----------
    cards : mapping
        As `astra.products.fits_cards.parse_cards` returns them.
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


def text_of(cards: Mapping[str, Any], *keys: str) -> str:
    """Return the first of these cards that is there as a text without blanks around it; empty if none is."""
    found = next((cards[key] for key in keys if cards.get(key) is not None), "")
    return "" if isinstance(found, float) and math.isnan(found) else str(found).strip()
