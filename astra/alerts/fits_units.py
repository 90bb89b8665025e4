"""Headers and images of small FITS files, which may come from anywhere.

Stamps are read by the thousand, and `astropy.io.fits` takes milliseconds for each. Nothing is read beyond the
data, and nothing larger than it is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError

BLOCK = 2880
CARD = 80
MAX_CARDS = 3600
MAX_UNITS = 64

_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_TEXT = re.compile(r"'((?:[^']|'')*)'")

Header = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """A header and where its data begin [byte]."""

    header: Header
    begin: int

    @property
    def name(self) -> str:
        """``EXTNAME``; empty if there is none."""
        return str(self.header.get("EXTNAME", "")).strip()


def read_units(data: bytes) -> Iterator[Unit]:
    """Read the headers of a file, one at a time.

    Raises
    ------
    FormatError
        If it is no FITS file, or ends within a header.
    """
    begin = 0
    for number in range(MAX_UNITS):
        if number and begin + CARD > len(data):
            return
        header, begin = _read_header(data, begin)
        if number == 0 and header.get("SIMPLE") is not True:
            raise FormatError("a FITS file begins with SIMPLE = T")
        yield Unit(header, begin)
        begin += -(-_size(header) // BLOCK) * BLOCK


def _read_header(data: bytes, begin: int) -> tuple[Header, int]:
    header: Header = {}
    for place in range(begin, min(len(data), begin + MAX_CARDS * CARD), CARD):
        card = data[place : place + CARD].decode("latin-1")
        key = card[:8].rstrip()
        if key == "END":
            end = place + CARD
            return header, begin - (-(end - begin) // BLOCK) * BLOCK
        if card[8:10] == "= ":
            header[key] = _value(card[10:])
        elif key == "HIERARCH":
            long_key, equals, text = card[9:].partition("=")
            header |= {long_key.strip(): _value(text)} if equals else {}
    raise FormatError("a FITS header has no end", begin=begin)


def _value(text: str) -> Any:
    """Return text, a number, a truth value, or None for none."""
    quoted = _TEXT.match(text.lstrip())
    if quoted:
        return quoted[1].replace("''", "'").rstrip()
    word = text.partition("/")[0].strip()
    if word in {"T", "F"}:
        return word == "T"
    for kind in (int, float):
        try:
            return kind(word.replace("D", "E") if kind is float else word)
        except ValueError:
            continue
    return None


def _sides(header: Header) -> list[int]:
    n_axes = header.get("NAXIS")
    if type(n_axes) is not int or not 0 <= n_axes <= 9:
        raise FormatError(f"a FITS header must have NAXIS from 0 to 9, found {n_axes}")
    sides = [header.get(f"NAXIS{axis}") for axis in range(1, n_axes + 1)]
    if not all(type(side) is int and side >= 0 for side in sides):
        raise FormatError(f"the axes of a FITS image must have lengths, found {sides}")
    return [int(side) for side in sides if side is not None]


def _item_size(header: Header) -> int:
    bits = header.get("BITPIX")
    if bits not in _TYPES:
        raise FormatError(f"BITPIX must be one of {', '.join(map(str, _TYPES))}, found {bits}")
    return abs(int(bits)) // 8


def _size(header: Header) -> int:
    """Bytes of the data of a header, heap included."""
    sides = _sides(header)
    parameters = header.get("PCOUNT", 0)
    extra = parameters if type(parameters) is int and parameters >= 0 else 0
    return _item_size(header) * (math.prod(sides) + extra) if sides else 0


def read_image(data: bytes, unit: Unit, *, max_side: int) -> NDArray[Any]:
    """Return the image of a header, scaled as it says.

    Parameters
    ----------
    data : bytes
        The file.
    unit : Unit
        Of `read_units`.
    max_side : int
        Largest side [pixel].

    Returns
    -------
    image : ndarray, shape (ny, nx)

    Raises
    ------
    FormatError
        If it is no image of two axes, too large, or not there as a whole.
    """
    sides = _sides(unit.header)
    if len(sides) != 2 or not all(0 < side <= max_side for side in sides):
        message = f"a stamp must be an image of at most {max_side} pixels a side, found {sides}"
        raise FormatError(message, sides=sides)
    size = sides[0] * sides[1] * _item_size(unit.header)
    body = data[unit.begin : unit.begin + size]
    if len(body) < size:
        message = f"the image of a stamp has {size} bytes, of which {len(body)} are there"
        raise FormatError(message, size=size)
    image: NDArray[Any] = np.frombuffer(body, _TYPES[unit.header["BITPIX"]]).reshape(sides[1], sides[0])
    scale, zero = (unit.header.get(key, default) for key, default in (("BSCALE", 1), ("BZERO", 0)))
    if (scale, zero) == (1, 0):
        return image
    if not all(isinstance(value, (int, float)) for value in (scale, zero)):
        raise FormatError(f"BSCALE and BZERO must be numbers, found {scale} and {zero}")
    scaled: NDArray[Any] = image.astype(np.float64) * scale + zero
    return scaled
