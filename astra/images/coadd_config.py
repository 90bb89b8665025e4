"""Options of a coadd, and the table of its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astra.images.exposure import MASK_BAD, MASK_CR, MASK_EDGE, MASK_NO_DATA

REJECTED = MASK_BAD | MASK_NO_DATA | MASK_CR | MASK_EDGE
INPUT_DTYPE = np.dtype(
    [
        ("name", "U128"),
        ("visit", "i8"),
        ("detector", "i8"),
        ("weight", "f8"),
        ("skyVariance", "f8"),
        ("fwhm_pixel", "f8"),
        ("nPixels", "i8"),
        ("nRejected", "i8"),
        ("nClipped", "i8"),
        ("used", "?"),
        ("reason", "U64"),
    ]
)


@dataclass(frozen=True)
class CoaddConfig:
    """How a coadd is made.

    Parameters
    ----------
    clip_sigma : float
        A pixel this many standard deviations from the median of three or more, beyond what PSFs explain, is
        left out.
    clip_neighbour_sigma : float
        The same for a pixel beside such a one.
    clip_fraction : float
        Share of the brightest pixel nearby that a pixel may differ by, beside noise and PSFs: errors of
        positions and flux scales.
    clip_radius_pixel : int
        Half-width of the square that is nearby [pixel].
    seeing_power : float
        Weights are the inverse variance of the sky over this power of the FWHM: 0 for the least noise in a
        pixel, 2 for the least noise in the flux of a star.
    high_variance_ratio : float
        Above this many times its median the variance, smoothed over 32 pixels, is flagged HIGH_VARIANCE.
    stored_mbyte : float
        Resampled inputs are kept for the second pass while they fit into this memory [Mbyte].
    """

    clip_sigma: float = 4.0
    clip_neighbour_sigma: float = 2.0
    clip_fraction: float = 0.1
    clip_radius_pixel: int = 3
    seeing_power: float = 0.0
    high_variance_ratio: float = 4.0
    stored_mbyte: float = 200.0
