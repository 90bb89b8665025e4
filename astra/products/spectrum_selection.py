"""Which pixels of a spectrum, and which spectra of a file, are used: by the names of the survey's flags."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from astra.errors import ConfigError
from astra.products.spectrum import Spectrum
from astra.products.survey_fits import number_of
from astra.spectra.masks import ApogeePixel, ApogeeStar, SpecPixel, bits_of

READERS_OWN, NO_BITS = "default", "none"


def selected(spectrum: Spectrum, bad_pixels: str, refused_flags: str) -> Spectrum:
    """Return a spectrum whose bad pixels are those with named bits, and whose refused rows are empty.

    Parameters
    ----------
    spectrum : Spectrum
        As it was read.
    bad_pixels : str
        Names of bits of APOGEE_PIXMASK or SPPIXMASK, separated by commas; ``default`` for the reader's,
        ``none`` for pixels without an inverse variance alone.
    refused_flags : str
        Names of bits of APOGEE_STARFLAG, separated by commas; rows with one of them have no good pixel.

    Raises
    ------
    ConfigError
        If a name is not that of a bit.
    """
    bad = spectrum.bad
    if bad_pixels.strip().lower() != READERS_OWN:
        names = "" if bad_pixels.strip().lower() == NO_BITS else bad_pixels
        apogee, spec = named_bits(names, ApogeePixel, SpecPixel)
        own = spec if spectrum.product == "spec" else apogee
        bad = (spectrum.ivar == 0) | ((spectrum.pixel_flags & own) != 0)
    refused = refused_rows(spectrum, refused_flags)
    if refused.any():
        bad = bad | refused[:, None]
    if bad is spectrum.bad:
        return spectrum
    return replace(spectrum, bad=bad, ivar=np.where(refused[:, None], 0.0, spectrum.ivar))


def refused_rows(spectrum: Spectrum, refused_flags: str) -> NDArray[np.bool_]:
    """Say which rows have one of the named bits of APOGEE_STARFLAG, shape (n_rows,)."""
    if not refused_flags:
        return np.zeros(spectrum.n_rows, dtype=bool)
    (bits,) = named_bits(refused_flags, ApogeeStar)
    return np.asarray((star_flags(spectrum) & bits) != 0, np.bool_)


def star_flags(spectrum: Spectrum) -> NDArray[np.int64]:
    """Return APOGEE_STARFLAG of each row, shape (n_rows,); 0 where the file has none.

    Sums of visits have that of the star, which has the bits of all its visits.
    """
    star = number_of(spectrum.meta, "STARFLAG")
    flags, visit = [], 0
    for kind in spectrum.kind:
        own = star
        if kind == "visit" and spectrum.product == "apStar":
            visit += 1
            own = number_of(spectrum.meta, f"FLAG{visit}")
        flags.append(int(own) if math.isfinite(own) else 0)
    return np.array(flags, np.int64)


def named_bits(names: str, *masks: type[IntFlag]) -> tuple[int, ...]:
    """Return the bits of each mask that names stand for.

    Raises
    ------
    ConfigError
        If a name is in none of them.
    """
    try:
        return bits_of(names, *masks)
    except ValueError as exc:
        raise ConfigError(str(exc), names=names) from exc
