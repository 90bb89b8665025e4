"""Ordinary conditions of a camera: what its exposures are compared to."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Fiducial:
    """Ordinary conditions in one band, to which an exposure is compared; NaN where one is not known.

    Parameters
    ----------
    psf_sigma_pixel : float
        Width of the PSF [pixel].
    sky_adu_per_s : float
        Sky [adu/s].
    zero_point_mag : float
        Magnitude of a source of 1 adu/s [AB mag].
    mag_lim : float
        Depth [AB mag].
    exposure_time_s : float
        Time after which that depth is reached [s].
    """

    psf_sigma_pixel: float = math.nan
    sky_adu_per_s: float = math.nan
    zero_point_mag: float = math.nan
    mag_lim: float = math.nan
    exposure_time_s: float = math.nan
