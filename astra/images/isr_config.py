"""Which steps remove the signature of an instrument, and with which options."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from astra.images.overscan import OverscanConfig

FLAT_SCALES = ("user", "mean", "median")
CROSSTALK_BACKGROUNDS = ("none", "amplifier", "detector")


@dataclass(frozen=True)
class IsrConfig:
    """Steps of the signature removal; those that need a calibration are left out where there is none.

    Parameters
    ----------
    overscan : bool
        Subtract the serial overscan.
    overscan_fit : OverscanConfig
        How its level is measured.
    parallel_overscan : bool
        Subtract the parallel overscan where the camera has one.
    parallel_limit_adu : float
        Parallel overscan from here on is charge that has bled [adu]; so is that from three quarters of the
        saturation level on.
    saturation, suspect : bool
        Mark raw values from the amplifier's ``saturation`` and ``suspect`` levels on.
    saturation_grow_pixel : int
        Saturated areas grow by this along rows, columns and diagonals [pixel].
    trails : bool
        Widen wide runs of saturated pixels along the rows.
    dead_amplifiers : bool
        Mask amplifiers that are dead, or whose overscan is not that of a live one.
    max_noise_ratio : float
        Overscan noise over the read noise from which an amplifier counts as dead.
    max_noise_electron : float
        Overscan noise from which it does [e-].
    overscan_min_adu, overscan_max_adu : float
        Range of the overscan level of a live amplifier [adu].
    photon_transfer : bool
        Use measured gains and read noises.
    linearity : bool
        Correct the response of the amplifiers.
    crosstalk : bool
        Subtract what amplifiers show of each other.
    crosstalk_background : {"none", "amplifier", "detector"}
        What is subtracted from the sources first: nothing, their own median, or that of all.
    crosstalk_mask_adu : float
        Targets of sources from this signal on are marked ``CROSSTALK`` [adu].
    bias, dark, flat : bool
        Subtract and divide by the combined calibrations.
    flat_scale : {"user", "mean", "median"}
        The flat is divided by ``flat_user_scale``, or by its own mean or median.
    flat_user_scale : float
        See ``flat_scale``.
    brighter_fatter : bool
        Undo the spreading of charge by charge.
    brighter_fatter_iterations : int
        At most so many.
    brighter_fatter_threshold_electron : float
        They end when the image changes by less than this in sum [e-].
    fringe : bool
        Subtract the fringes of the sky.
    fringe_filters : tuple of str
        Physical filters with fringes; by default each for which there is a frame of them.
    defects : bool
        Mark known bad pixels.
    vignetting : bool
        Mark pixels that the camera knows to be vignetted.
    variance : bool
        Make the variance plane; without it the variance is not a number, and nothing can be calibrated.
    edge_pixel : int
        Width of the margin to mark ``EDGE`` [pixel].
    """

    overscan: bool = True
    overscan_fit: OverscanConfig = field(default_factory=OverscanConfig)
    parallel_overscan: bool = False
    parallel_limit_adu: float = 20000.0
    saturation: bool = True
    suspect: bool = True
    saturation_grow_pixel: int = 1
    trails: bool = False
    dead_amplifiers: bool = True
    max_noise_ratio: float = 10.0
    max_noise_electron: float = math.inf
    overscan_min_adu: float = -math.inf
    overscan_max_adu: float = math.inf
    photon_transfer: bool = True
    linearity: bool = True
    crosstalk: bool = True
    crosstalk_background: str = "none"
    crosstalk_mask_adu: float = 45000.0
    bias: bool = True
    dark: bool = True
    flat: bool = True
    flat_scale: str = "user"
    flat_user_scale: float = 1.0
    brighter_fatter: bool = True
    brighter_fatter_iterations: int = 10
    brighter_fatter_threshold_electron: float = 1000.0
    fringe: bool = True
    fringe_filters: tuple[str, ...] = ()
    defects: bool = True
    vignetting: bool = True
    variance: bool = True
    edge_pixel: int = 0

    def __post_init__(self) -> None:
        for name, known in (("flat_scale", FLAT_SCALES), ("crosstalk_background", CROSSTALK_BACKGROUNDS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, found {getattr(self, name)!r}")
        if not self.flat_user_scale > 0:
            raise ValueError(f"flat_user_scale must be positive, found {self.flat_user_scale}")
