"""Wavelengths in air and in vacuum. All of astra is in vacuum; line lists and indices are often in air."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def refractive_index(vacuum: ArrayLike) -> NDArray[np.float64]:
    """Return the refractive index of standard air (Ciddor 1996, Applied Optics 35, 1566).

    Parameters
    ----------
    vacuum : array_like
        Wavelengths in vacuum [Angstrom], above 2000.
    """
    wavenumber2 = (1e4 / np.asarray(vacuum, np.float64)) ** 2  # [1/micrometre^2]
    excess = 0.05792105 / (238.0185 - wavenumber2) + 0.00167917 / (57.362 - wavenumber2)
    return np.asarray(1.0 + excess, np.float64)


def air_of(vacuum: ArrayLike) -> NDArray[np.float64]:
    """Return wavelengths in air [Angstrom] of those in vacuum."""
    vacuum = np.asarray(vacuum, np.float64)
    return np.asarray(vacuum / refractive_index(vacuum), np.float64)


def vacuum_of(air: ArrayLike) -> NDArray[np.float64]:
    """Return wavelengths in vacuum [Angstrom] of those in air."""
    air = np.asarray(air, np.float64)
    vacuum = air
    for _ in range(3):  # each step gains four digits
        vacuum = air * refractive_index(vacuum)
    return np.asarray(vacuum, np.float64)
