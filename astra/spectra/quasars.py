"""A composite quasar spectrum from a published list of emission lines.

Strengths and widths are those of the composite of 2,200 quasars of the Sloan Digital Sky Survey by Vanden
Berk et al. (2001, AJ 122, 549, arXiv:astro-ph/0105231, Table 2); wavelengths are those of the transitions
in vacuum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.spectra.grid import LogGrid
from astra.spectra.redshift import SpectralClass

# Name, wavelength in vacuum, equivalent width, Gaussian width [Angstrom at rest], whether narrow.
QUASAR_LINES = (
    ("Lyalpha", 1215.67, 92.91, 19.46, False),
    ("NV", 1240.14, 1.11, 2.71, False),
    ("OI", 1304.35, 1.66, 5.42, False),
    ("CII", 1335.30, 0.69, 3.86, False),
    ("SiIV", 1396.76, 8.13, 14.26, False),
    ("CIV", 1549.06, 23.78, 14.33, False),
    ("HeII", 1640.42, 0.51, 3.94, False),
    ("AlIII", 1857.40, 0.31, 4.95, False),
    ("CIII", 1908.73, 21.19, 23.58, False),
    ("MgII", 2798.75, 32.28, 34.95, False),
    ("OII", 3728.48, 1.56, 3.32, True),
    ("Hdelta", 4102.89, 5.05, 18.62, False),
    ("Hgamma", 4341.68, 12.62, 20.32, False),
    ("Hbeta", 4862.68, 46.21, 40.44, False),
    ("OIII_4960", 4960.30, 3.50, 3.85, True),
    ("OIII_5008", 5008.24, 13.23, 6.04, True),
    ("HeI", 5877.29, 4.94, 23.45, False),
    ("Halpha", 6564.61, 194.52, 47.39, False),
)


def quasar_class(step: float = 1e-4, z_min: float = 0.02, z_max: float = 4.0) -> SpectralClass:
    """Return quasars as two templates: broad lines and narrow lines, each on a continuum of their own slope.

    Parameters
    ----------
    step : float, optional
        Of the grid [log10 Angstrom].
    z_min, z_max : float, optional
        Range that is searched.

    Returns
    -------
    quasars : SpectralClass
        The continuum is F ~ wavelength**-1.54 to 5000 Angstrom and wavelength**-0.42 beyond, as that of the
        composite.
    """
    start = np.log10(1000.0)
    grid = LogGrid(start, step, round((np.log10(10500.0) - start) / step))
    wavelength = grid.wavelength
    continuum = np.where(wavelength < 5000.0, (wavelength / 5000.0) ** -1.54, (wavelength / 5000.0) ** -0.42)
    broad, narrow = (continuum * _lines(wavelength, chosen) for chosen in (False, True))
    return SpectralClass("QSO", grid, np.stack([continuum + broad, narrow]), z_min, z_max)


def _lines(wavelength: NDArray[np.float64], narrow: bool) -> NDArray[np.float64]:
    """Return the lines over the continuum."""
    total = np.zeros_like(wavelength)
    for _, centre, width, sigma, is_narrow in QUASAR_LINES:
        if is_narrow == narrow:
            profile = np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2)
            total += width / (sigma * np.sqrt(2.0 * np.pi)) * profile
    return total
