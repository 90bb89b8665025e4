"""Move stars along their proper motions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.sky.regions import positions, unit_vectors

FloatArray = NDArray[np.float64]

MAS_PER_RADIAN = 206264806.24709636
DAYS_PER_YEAR = 365.25


def move_stars(
    ra: FloatArray, dec: FloatArray, pmra: FloatArray, pmdec: FloatArray, interval_yr: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return where stars are after some time, moving uniformly in space across the line of sight.

    Parameters
    ----------
    ra, dec : float64 ndarray, shape (n,)
        ICRS [deg].
    pmra, pmdec : float64 ndarray, shape (n,)
        Proper motions [mas/yr], that in ra times cos(dec). Where one is not finite, the star stays.
    interval_yr : float64 ndarray, shape (n,)
        Time that passes [Julian yr].

    Returns
    -------
    ra, dec : float64 ndarray, shape (n,)
        ICRS, ra in [0, 360) [deg].
    """
    start = unit_vectors(ra, dec)
    known = np.isfinite(pmra) & np.isfinite(pmdec) & np.isfinite(interval_yr)
    scale = np.where(known, interval_yr, 0.0) / MAS_PER_RADIAN
    east, north = scale * np.where(known, pmra, 0.0), scale * np.where(known, pmdec, 0.0)
    sin_ra, cos_ra = np.sin(np.radians(ra)), np.cos(np.radians(ra))
    sin_dec, cos_dec = np.sin(np.radians(dec)), np.cos(np.radians(dec))
    to_east = np.stack([-sin_ra, cos_ra, np.zeros_like(ra)], axis=-1)
    to_north = np.stack([-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec], axis=-1)
    return positions(start + east[:, None] * to_east + north[:, None] * to_north)
