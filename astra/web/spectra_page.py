"""What the page of the spectra of a night shows: a line for each, and pictures of the first ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import AstraError
from astra.web.formats import number
from astra.web.spectrum_plot import spectrum

if TYPE_CHECKING:
    from astra.database.pages.spectra import SpectrumOfNight

SHOWN = 8  # spectra that are drawn
NOISY = 2.5  # times the typical error from which on a pixel is left out of the picture


def spectra_values(spectra: Sequence[SpectrumOfNight], *, shown: int = SHOWN) -> dict[str, Any]:
    """Return what the template shows of spectra.

    Parameters
    ----------
    spectra : sequence of SpectrumOfNight
        In order; the first row of each file is drawn.
    shown : int, optional
        How many files are drawn at most.
    """
    lines = [{"row": one, "name": Path(one.path).name} for one in spectra]
    first = {one.path: one for one in reversed(spectra)}
    figures = []
    for path in list(dict.fromkeys(one.path for one in spectra))[:shown]:
        drawn = _figure(first[path])
        if drawn is not None:
            figures.append(drawn)
    return {"spectra": lines, "figures": figures}


def _figure(row: SpectrumOfNight) -> dict[str, Any] | None:
    """Draw a spectrum with its continuum; None where its file cannot be read."""
    from astra.products.spectra import read_spectrum

    try:
        read = read_spectrum(row.product, row.path)
    except (AstraError, OSError):
        return None
    if not 0 <= row.row_index < read.n_rows:
        return None
    continuum = _continuum(row, read.n_pixels)
    name = Path(row.path).name
    unit = "1e-17 erg/s/cm²/Å" if read.flux_unit else ""
    good = _shown(read.ivar[row.row_index], ~read.bad[row.row_index])
    figure = spectrum(
        read.wavelength, read.flux[row.row_index], good, title=name, continuum=continuum, unit=unit
    )
    values = row.values
    told = (("S/N", "snr", 1, ""), ("v_rad", "v_rad", 2, " km/s"), ("z", "z", 5, ""))
    known = [(text, values[key], digits, of) for text, key, digits, of in told if values.get(key) is not None]
    said = ", ".join(f"{text} {number(value, digits)}{of}" for text, value, digits, of in known)
    return {"figure": figure, "caption": f"{name}: {said}" if said else name}


def _shown(ivar: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pixels are drawn: not those of sky lines, whose noise hides the spectrum."""
    typical = float(np.median(ivar[good])) if good.any() else 0.0
    shown: NDArray[np.bool_] = good & (ivar > typical / NOISY**2)
    return shown


def _continuum(row: SpectrumOfNight, n_pixels: int) -> NDArray[np.float64] | None:
    """Read the continuum that a task has fitted; None without one."""
    from astropy.io import fits

    if row.continuum is None:
        return None
    try:
        with fits.open(row.continuum, memmap=False) as hdus:
            planes = np.atleast_2d(np.asarray(hdus["CONTINUUM"].data, np.float64))
    except (OSError, KeyError, ValueError, TypeError):
        return None
    fits_row = row.row_index < len(planes) and planes.shape[1] == n_pixels
    return planes[row.row_index] if fits_row else None
