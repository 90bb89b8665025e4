"""Sections of an image in the notation of FITS headers, ``[x1:x2,y1:y2]``: counted from 1, both ends in."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from astra.images.amplifier import Section

_PATTERN = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")
_LARGEST_PIXEL = 1_000_000
_CORNERS = {(False, False): "LL", (True, False): "LR", (False, True): "UL", (True, True): "UR"}


@dataclass(frozen=True)
class FitsSection:
    """A box of pixels, and whether its ends were named in falling order.

    Parameters
    ----------
    x0, x1, y0, y1 : int
        First column and one past the last, and the same of the rows; 0-based.
    flip_x, flip_y : bool
        True for ends in falling order, ``[20:11,...]``.
    """

    x0: int
    x1: int
    y0: int
    y1: int
    flip_x: bool = False
    flip_y: bool = False

    @property
    def slices(self) -> Section:
        """Rows and columns, for arrays indexed ``[y, x]``."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def corner(self) -> str:
        """Readout corner that the order of the ends says, as in `astra.images.amplifier.Amplifier`."""
        return _CORNERS[self.flip_x, self.flip_y]

    def overlaps(self, other: FitsSection) -> bool:
        """Whether the two have a pixel in common."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def shifted(self, columns: int, rows: int = 0) -> FitsSection:
        """Return the section moved to the right and upwards."""
        return replace(self, x0=self.x0 + columns, x1=self.x1 + columns, y0=self.y0 + rows, y1=self.y1 + rows)

    def __str__(self) -> str:
        x = (self.x1, self.x0 + 1) if self.flip_x else (self.x0 + 1, self.x1)
        y = (self.y1, self.y0 + 1) if self.flip_y else (self.y0 + 1, self.y1)
        return f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]"


def is_section(text: object) -> bool:
    """Whether a text is meant as a section and not as the name of a keyword."""
    return isinstance(text, str) and text.lstrip().startswith("[")


def parse_section(text: object) -> FitsSection:
    """Read ``[x1:x2,y1:y2]``.

    Raises
    ------
    ValueError
        If it is not written so, or a number is not within 1 and a million.
    """
    match = _PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
    numbers = [int(group) for group in match.groups()] if match else [0]
    if not all(1 <= number <= _LARGEST_PIXEL for number in numbers):
        raise ValueError("a section [x1:x2,y1:y2] counted from 1")
    first_x, last_x, first_y, last_y = numbers
    return FitsSection(
        min(first_x, last_x) - 1,
        max(first_x, last_x),
        min(first_y, last_y) - 1,
        max(first_y, last_y),
        first_x > last_x,
        first_y > last_y,
    )
