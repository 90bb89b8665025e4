"""A composite quasar spectrum from a published list of emission lines.

Wavelengths, equivalent widths and Gaussian widths are those of Table 2 of Vanden Berk et al. (2001, AJ 122,
549, arXiv:astro-ph/0105231): what they measured on the median composite of 2,200 quasars of the Sloan
Digital Sky Survey, in the frame of its [O III] lines. All of them have been compared with a copy of the
table's machine-readable form (J/AJ/122/549, as github.com/imcgreer/simqso has it). Wavelengths are the
observed ones, since the lines of many ions are shifted: C IV by -560 km/s. Lines with an equivalent width
below 0.3 Angstrom, and what is blueward of 1000 Angstrom, are left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.spectra.grid import LogGrid
from astra.spectra.redshift import SpectralClass

BROAD, NARROW, IRON = "broad", "narrow", "iron"

# Main contribution, observed wavelength in vacuum, equivalent width, Gaussian width [Angstrom at rest], kind.
QUASAR_LINES = (
    ("OVI", 1033.03, 9.77, 7.76, BROAD),
    ("ArI", 1065.10, 0.80, 4.17, BROAD),
    ("FeIII_UV1", 1117.26, 3.66, 8.49, IRON),
    ("CIII*", 1175.35, 0.83, 2.28, BROAD),
    ("Lyalpha", 1216.25, 92.91, 19.46, BROAD),
    ("NV", 1239.85, 1.11, 2.71, BROAD),
    ("OI_1304", 1305.42, 1.66, 5.42, BROAD),
    ("CII", 1336.60, 0.59, 3.86, BROAD),
    ("SiIV", 1398.33, 8.13, 12.50, BROAD),
    ("CIV", 1546.15, 23.78, 14.33, BROAD),
    ("HeII_1640", 1637.84, 0.51, 4.43, BROAD),
    ("OIII]_1663", 1664.74, 0.50, 5.50, BROAD),
    ("NIV", 1716.88, 0.30, 7.36, BROAD),
    ("NIII]", 1748.31, 0.44, 5.12, BROAD),
    ("AlIII", 1856.76, 0.40, 4.95, BROAD),
    ("CIII]", 1905.97, 21.19, 23.58, BROAD),
    ("FeIII_UV48", 2076.62, 2.46, 16.99, IRON),
    ("FeII_UV118", 2222.29, 0.33, 6.98, IRON),
    ("FeII_2325", 2324.58, 3.56, 22.23, IRON),
    ("CII]", 2327.34, 0.31, 4.95, BROAD),
    ("[NeIV]", 2423.46, 0.77, 8.42, NARROW),
    ("FeII_UV1", 2626.92, 0.81, 9.93, IRON),
    ("MgII", 2800.26, 32.28, 34.95, BROAD),
    ("FeII_UV78", 2964.28, 4.93, 22.92, IRON),
    ("OIII_3133", 3127.70, 0.86, 9.38, BROAD),
    ("HeI_3189", 3191.78, 1.17, 12.77, BROAD),
    ("[NeV]_3346", 3345.39, 0.35, 5.50, NARROW),
    ("[NeV]_3427", 3425.66, 1.22, 9.09, NARROW),
    ("FeII_3499", 3498.92, 1.38, 16.79, IRON),
    ("[FeVII]_3587", 3581.70, 0.34, 7.98, NARROW),
    ("[OII]", 3729.66, 1.56, 3.32, NARROW),
    ("FeII_3817", 3817.41, 0.51, 7.33, IRON),
    ("[NeIII]_3870", 3869.77, 1.38, 5.31, NARROW),
    ("[NeIII]_3969", 3968.43, 0.45, 5.32, NARROW),
    ("Hdelta", 4102.73, 5.05, 18.62, BROAD),
    ("FeII_4187", 4187.55, 0.76, 9.77, IRON),
    ("[FeII]_4240", 4239.85, 0.53, 5.73, IRON),
    ("Hgamma", 4346.42, 12.62, 20.32, BROAD),
    ("[OIII]_4364", 4363.85, 0.46, 3.10, NARROW),
    ("FeII_4565", 4564.71, 19.52, 61.69, IRON),
    ("HeII_4687", 4686.66, 0.72, 5.92, BROAD),
    ("Hbeta", 4853.13, 46.21, 40.44, BROAD),
    ("FeII_4931", 4930.75, 0.40, 3.98, IRON),
    ("[OIII]_4960", 4960.36, 3.50, 3.85, NARROW),
    ("[OIII]_5008", 5008.22, 13.23, 6.04, NARROW),
    ("[FeVII]_5160", 5160.81, 0.52, 3.95, NARROW),
    ("[FeVI]_5177", 5178.68, 0.32, 2.97, NARROW),
    ("[NI]_5201", 5201.06, 0.56, 4.42, NARROW),
    ("FeII_5306", 5305.97, 21.47, 74.83, IRON),
    ("[CaV]_5311", 5313.82, 0.66, 5.34, NARROW),
    ("FeII_5545", 5545.16, 2.12, 21.09, IRON),
    ("[FeVII]_5722", 5723.74, 0.70, 5.19, NARROW),
    ("HeI_5877", 5877.41, 4.94, 23.45, BROAD),
    ("[FeVII]_6088", 6085.90, 0.71, 3.78, NARROW),
    ("[OI]_6302", 6303.05, 1.15, 3.14, NARROW),
    ("[OI]_6366", 6370.46, 1.36, 10.18, NARROW),
    ("[NII]_6550", 6551.06, 0.43, 2.21, NARROW),
    ("Halpha", 6564.93, 194.52, 47.39, BROAD),
    ("[NII]_6585", 6585.64, 2.02, 2.65, NARROW),
    ("[SII]_6718", 6718.85, 1.65, 3.09, NARROW),
    ("[SII]_6733", 6733.72, 1.49, 2.54, NARROW),
    ("HeI_7067", 7065.67, 3.06, 15.23, BROAD),
    ("[ArIII]", 7138.73, 0.57, 3.13, NARROW),
    ("[OII]_7321", 7321.27, 2.52, 14.26, NARROW),
    ("[NiIII]", 7890.49, 0.69, 2.97, NARROW),
)


def quasar_class(step: float = 1e-4, z_min: float = 0.02, z_max: float = 4.0) -> SpectralClass:
    """Return quasars as two templates: broad lines and iron, and narrow lines, on the composite's continuum.

    Parameters
    ----------
    step : float, optional
        Of the grid [log10 Angstrom].
    z_min, z_max : float, optional
        Range that is searched.

    Returns
    -------
    quasars : SpectralClass
        The continuum is F ~ wavelength**-1.54 to 5000 Angstrom and wavelength**-0.42 beyond: indices of -0.46
        and -1.58 in frequency. These two are no part of the table and could not be compared with the paper.
    """
    start = np.log10(1000.0)
    grid = LogGrid(start, step, round((np.log10(10500.0) - start) / step))
    wavelength = grid.wavelength
    continuum = np.where(wavelength < 5000.0, (wavelength / 5000.0) ** -1.54, (wavelength / 5000.0) ** -0.42)
    broad = continuum * (1.0 + _lines(wavelength, BROAD) + _lines(wavelength, IRON))
    narrow = continuum * _lines(wavelength, NARROW)
    return SpectralClass("QSO", grid, np.stack([broad, narrow]), z_min, z_max)


def _lines(wavelength: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the lines of a kind over the continuum."""
    total = np.zeros_like(wavelength)
    for _, centre, width, sigma, own in QUASAR_LINES:
        if own == kind:
            profile = np.exp(-0.5 * ((wavelength - centre) / sigma) ** 2)
            total += width / (sigma * np.sqrt(2.0 * np.pi)) * profile
    return total
