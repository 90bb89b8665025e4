"""Options of the measurement of detections on a difference image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DiaMeasurementConfig:
    """How detections on a difference are measured.

    Parameters
    ----------
    aperture_radius_pixel : float
        Radius of the aperture flux [pixel].
    """

    aperture_radius_pixel: float = 6.0
