"""Which spectra and pixels to use: bits of the survey's masks by name, their surroundings, and spikes."""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray


class ApogeePixel(IntFlag):
    """Bits of APOGEE_PIXMASK."""

    BADPIX = 1 << 0
    CRPIX = 1 << 1
    SATPIX = 1 << 2
    UNFIXABLE = 1 << 3
    BADDARK = 1 << 4
    BADFLAT = 1 << 5
    BADERR = 1 << 6
    NOSKY = 1 << 7
    LITTROW_GHOST = 1 << 8
    PERSIST_HIGH = 1 << 9
    PERSIST_MED = 1 << 10
    PERSIST_LOW = 1 << 11
    SIG_SKYLINE = 1 << 12
    SIG_TELLURIC = 1 << 13
    NOT_ENOUGH_PSF = 1 << 14


class ApogeeStar(IntFlag):
    """Bits of APOGEE_STARFLAG, of a visit or of all visits of a star."""

    BAD_PIXELS = 1 << 0
    COMMISSIONING = 1 << 1
    BRIGHT_NEIGHBOR = 1 << 2
    VERY_BRIGHT_NEIGHBOR = 1 << 3
    LOW_SNR = 1 << 4
    PERSIST_HIGH = 1 << 9
    PERSIST_MED = 1 << 10
    PERSIST_LOW = 1 << 11
    PERSIST_JUMP_POS = 1 << 12
    PERSIST_JUMP_NEG = 1 << 13
    SUSPECT_RV_COMBINATION = 1 << 16
    SUSPECT_BROAD_LINES = 1 << 17
    BAD_RV_COMBINATION = 1 << 18
    RV_REJECT = 1 << 19
    RV_SUSPECT = 1 << 20
    MULTIPLE_SUSPECT = 1 << 21
    RV_FAIL = 1 << 22


class SpecPixel(IntFlag):
    """Bits of SPPIXMASK, of BOSS and older spectra."""

    NOPLUG = 1 << 0
    BADTRACE = 1 << 1
    BADFLAT = 1 << 2
    BADARC = 1 << 3
    MANYBADCOLUMNS = 1 << 4
    MANYREJECTED = 1 << 5
    LARGESHIFT = 1 << 6
    BADSKYFIBER = 1 << 7
    NEARWHOPPER = 1 << 8
    WHOPPER = 1 << 9
    SMEARIMAGE = 1 << 10
    SMEARHIGHSN = 1 << 11
    SMEARMEDSN = 1 << 12
    NEARBADPIXEL = 1 << 16
    LOWFLAT = 1 << 17
    FULLREJECT = 1 << 18
    PARTIALREJECT = 1 << 19
    SCATTEREDLIGHT = 1 << 20
    CROSSTALK = 1 << 21
    NOSKY = 1 << 22
    BRIGHTSKY = 1 << 23
    NODATA = 1 << 24
    COMBINEREJ = 1 << 25
    BADFLUXFACTOR = 1 << 26
    BADSKYCHI = 1 << 27
    REDMONSTER = 1 << 28


APOGEE_BAD_STAR = (
    ApogeeStar.BAD_PIXELS
    | ApogeeStar.VERY_BRIGHT_NEIGHBOR
    | ApogeeStar.BAD_RV_COMBINATION
    | ApogeeStar.RV_REJECT
    | ApogeeStar.RV_FAIL
)
"""What the survey leaves out of its sums of visits."""

APOGEE_BAD = ApogeePixel(0b0100_0000_1111_1111)
"""Bits 0 to 7 and 14: the pixel cannot be used."""

APOGEE_BAD_FOR_VELOCITY = APOGEE_BAD | ApogeePixel.SIG_SKYLINE | ApogeePixel.LITTROW_GHOST
"""Sky lines and the ghost stay where they are when the star moves: they pull velocities to zero."""


def bits_of(names: str, *masks: type[IntFlag]) -> tuple[int, ...]:
    """Return the bits that names stand for in each of some masks.

    Parameters
    ----------
    names : str
        Separated by commas; empty for no bit at all.
    *masks : type of IntFlag
        A name must be that of a bit of one of them at least, and stands for that of each that has it.

    Returns
    -------
    bits : tuple of int
        By mask.

    Raises
    ------
    ValueError
        If a name is in none of them.
    """
    wanted = [name.strip().upper() for name in names.split(",") if name.strip()]
    known = [dict(mask.__members__) for mask in masks]
    unknown = [name for name in wanted if not any(name in members for members in known)]
    if unknown:
        choices = ", ".join(dict.fromkeys(name for members in known for name in members))
        message = f"{', '.join(unknown)} is no bit of the masks; they have {choices}"
        raise ValueError(message)
    return tuple(sum(int(members[name]) for name in set(wanted) & set(members)) for members in known)


def widened(mask: NDArray[np.bool_], n_pixels: int) -> NDArray[np.bool_]:
    """Return a mask with the pixels on both sides of each masked one.

    Parameters
    ----------
    mask : bool ndarray, shape (..., n)
        True where masked.
    n_pixels : int
        How many on each side.

    Raises
    ------
    ValueError
        If the number is negative.
    """
    if n_pixels < 0:
        message = f"a mask can be widened by 0 pixels or more, not {n_pixels}"
        raise ValueError(message)
    wide = mask.copy()
    for shift in range(1, min(n_pixels, mask.shape[-1] - 1) + 1):
        wide[..., shift:] |= mask[..., :-shift]
        wide[..., :-shift] |= mask[..., shift:]
    return wide


def spikes(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], threshold: float, half_width: int = 12
) -> NDArray[np.bool_]:
    """Find pixels far above their surroundings: cosmic rays and what is left of sky lines.

    A pixel is a spike if it exceeds the upper quartile of the pixels around it by more than a number of its
    errors, and by more than a number of the spreads of that surrounding; absorption lines cannot do that.

    Parameters
    ----------
    flux, ivar : float64 ndarray, shape (n_rows, n_pixels)
        Flux, and its inverse variance; 0 where it cannot be used.
    threshold : float
        In units of the error, and of the spread.
    half_width : int, optional
        Of the surroundings [pixel].

    Returns
    -------
    spike : bool ndarray, shape (n_rows, n_pixels)
    """
    if flux.shape[-1] <= 2 * half_width:
        return np.zeros(flux.shape, dtype=bool)
    block = 2 * half_width
    n_blocks = flux.shape[-1] // block
    filled = np.where(ivar > 0, flux, np.nan)[:, : n_blocks * block].reshape(len(flux), n_blocks, block)
    empty = ~np.isfinite(filled).any(axis=2)
    ordered = np.sort(filled, axis=2)  # NaN last
    n_good = np.isfinite(filled).sum(axis=2)
    low, high = (_ranked(ordered, n_good, fraction) for fraction in (0.25, 0.75))
    spread = (high - low) / 1.349
    ceiling, spread = (np.where(empty, 0.0, array) for array in (high, spread))
    index = np.minimum(np.arange(flux.shape[-1]) // block, n_blocks - 1)
    excess: NDArray[np.float64] = flux - ceiling[:, index]
    is_high = (excess * np.sqrt(np.maximum(ivar, 0.0)) > threshold) & (excess > threshold * spread[:, index])
    return np.asarray(is_high & (ivar > 0) & ~np.take(empty, index, axis=1), np.bool_)


def _ranked(
    ordered: NDArray[np.float64], n_good: NDArray[np.integer], fraction: float
) -> NDArray[np.float64]:
    """Return a quantile of each block from its sorted values, of which the first are numbers."""
    place = np.clip((fraction * n_good).astype(np.intp), 0, np.maximum(n_good - 1, 0))
    return np.take_along_axis(ordered, place[..., None], axis=2)[..., 0]
