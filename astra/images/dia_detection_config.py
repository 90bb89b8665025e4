"""Options of the detection on a difference image."""

from __future__ import annotations

from dataclasses import dataclass

from astra.images.exposure import MaskPlane


@dataclass(frozen=True)
class DiaDetectionConfig:
    """What is detected on a difference.

    Parameters
    ----------
    local_background_pixel : int
        Side of the box whose masked mean is subtracted from the difference [pixel]; 0: none.
    threshold_snr : float
        Least signal to noise of a detection.
    scale_snr : bool
        Divide the map of the signal to noise by its robust scatter on blank sky.
    model_error : float
        Fraction of the matched template added to the error of the difference for detection.
    shift_error_pixel : float
        What stars may have moved between the epochs, per axis [pixel]: times the gradient of the matched
        template, it is added to that error too.
    merge_distance_pixel : int
        Growth of the footprints, which merge where they touch [pixel].
    min_prominence_snr : float
        Height of a peak above the saddle to a higher one of its sign in one footprint, in signal to noise:
        less is no source of its own.
    dipole_separation_sigma : float
        Peaks of the other sign no farther than this from a higher one are its lobes [sigma of the PSF].
    saturation_grow_pixel : int
        Growth of the saturated footprints of both images in the mask of the difference [pixel].
    streaks : bool
        Look for trails of satellites, and set STREAK under them.
    rejected_planes : tuple of str
        Planes of `astra.images.exposure.MaskPlane`: a detection is rejected if its highest pixel has one of
        them. What has others, such as EDGE, is kept and flagged by the measurement.
    """

    local_background_pixel: int = 33
    threshold_snr: float = 5.0
    scale_snr: bool = True
    model_error: float = 0.015
    shift_error_pixel: float = 0.05
    merge_distance_pixel: int = 2
    min_prominence_snr: float = 2.0
    dipole_separation_sigma: float = 5.0
    saturation_grow_pixel: int = 3
    streaks: bool = True
    rejected_planes: tuple[str, ...] = ("NO_DATA", "BAD", "SAT", "SAT_TEMPLATE")

    def __post_init__(self) -> None:
        unknown = sorted(set(self.rejected_planes) - set(MaskPlane.__members__))
        if unknown:
            message = f"rejected_planes must be mask planes, found {', '.join(unknown)}"
            raise ValueError(message)
