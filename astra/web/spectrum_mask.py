"""The mask of a spectrum in words: which bits its pixels have, and where pixels that cannot be used are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from astra.products.spectrum import Spectrum
from astra.spectra.masks import ApogeePixel, SpecPixel

NO_IVAR = "no inverse variance"
NO_BIT = "other bits"


@dataclass(frozen=True)
class MaskBit:
    """A bit of the mask: its name, how many pixels have it, and how many of those are not used."""

    name: str
    n_pixels: int
    n_bad: int


@dataclass(frozen=True)
class BadRun:
    """Neighbouring pixels that cannot be used, from the first to the last, and why."""

    first: int
    last: int
    reason: str


def names_of(spectrum: Spectrum) -> type[IntFlag]:
    """Return the names of the bits of a spectrum."""
    return SpecPixel if spectrum.instrument == "BOSS" else ApogeePixel


def bits_of_row(spectrum: Spectrum, row: int) -> list[MaskBit]:
    """Count the pixels of each bit that a row of a spectrum has, by the order of the bits."""
    flags, bad = spectrum.pixel_flags[row], spectrum.bad[row]
    found = []
    for bit in names_of(spectrum):
        has = (flags & int(bit)) != 0
        if has.any():
            found.append(MaskBit(str(bit.name), int(has.sum()), int((has & bad).sum())))
    without = spectrum.ivar[row] == 0
    if without.any():
        found.append(MaskBit(NO_IVAR, int(without.sum()), int((without & bad).sum())))
    return found


def words_of(names: type[IntFlag], bits: int) -> list[str]:
    """Return the names of the bits of a number; what has none is `NO_BIT`."""
    known = [str(bit.name) for bit in names if bits & int(bit)]
    rest = bits & ~sum(int(bit) for bit in names)
    return [*known, NO_BIT] if rest else known


def bad_runs(spectrum: Spectrum, row: int, inside: NDArray[np.bool_]) -> list[BadRun]:
    """Return where pixels cannot be used, neighbours together, with the bits that any of them has.

    Parameters
    ----------
    spectrum : Spectrum
        The spectrum.
    row : int
        Which of its rows.
    inside : bool ndarray, shape (n_pixels,)
        Pixels that are looked at.
    """
    bad = spectrum.bad[row] & inside
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return []
    names = names_of(spectrum)
    bits = [np.bitwise_or.reduce(spectrum.pixel_flags[row][a:b]) for a, b in zip(starts, ends, strict=True)]
    return [
        BadRun(int(first), int(end) - 1, _reason(words_of(names, int(of)), spectrum.ivar[row][first:end]))
        for first, end, of in zip(starts, ends, bits, strict=True)
    ]


def _reason(words: Sequence[str], ivar: NDArray[np.float64]) -> str:
    said = [*words, NO_IVAR] if (ivar == 0).any() else list(words)
    return ", ".join(said)
