"""Options of image subtraction."""

from __future__ import annotations

from dataclasses import dataclass, field

from astra.images.dia_detection_config import DiaDetectionConfig
from astra.images.dia_measurement_config import DiaMeasurementConfig
from astra.images.difference_quality import QualityGates
from astra.images.glints import GlintConfig
from astra.images.matching_config import MatchingConfig
from astra.images.variance_scale import VarianceScaleConfig

MODES = ("auto", "convolve_template", "convolve_science", "preconvolve")


@dataclass(frozen=True)
class DifferenceConfig:
    """How two images are subtracted and what is detected on the difference.

    Parameters
    ----------
    method : str
        Method of subtraction: ``alard-lupton``, ``zogy``, or a plug-in's.
    mode : {"auto", "convolve_template", "convolve_science", "preconvolve"}
        Which image is convolved; ``auto`` takes the sharper one, and the template if they are alike.
    min_overlap : float
        Least fraction of science pixels that the template must cover.
    decorrelate : bool
        Whiten the noise of the difference.
    decorrelation_strength : float
        How far, over 0 and up to 1: the noise is white with 1. With less some of its correlation stays, and
        its pixels scatter less; fluxes and their errors are true with any.
    pixel_variance : bool
        Whether the variance of a whitened difference is that of every pixel, the photon noise of stars spread
        by kernel and whitening; if not, near stars it is that of fluxes over several pixels.
    variance_scale : VarianceScaleConfig
        Whether and how far the variance planes of both images are scaled to the scatter of their sky.
    matching : MatchingConfig
        Options of the matching kernel.
    gates : QualityGates
        What a difference must satisfy.
    detection : DiaDetectionConfig
        Options of the detection.
    measurement : DiaMeasurementConfig
        Options of the measurement.
    n_sky_sources : int
        Places without a source at which fluxes are measured.
    glint : GlintConfig
        What a row of detections is that glints of a satellite make.
    """

    method: str = "alard-lupton"
    mode: str = "auto"
    min_overlap: float = 0.1
    decorrelate: bool = True
    decorrelation_strength: float = 1.0
    pixel_variance: bool = False
    variance_scale: VarianceScaleConfig = field(default_factory=VarianceScaleConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    gates: QualityGates = field(default_factory=QualityGates)
    detection: DiaDetectionConfig = field(default_factory=DiaDetectionConfig)
    measurement: DiaMeasurementConfig = field(default_factory=DiaMeasurementConfig)
    n_sky_sources: int = 100
    glint: GlintConfig = field(default_factory=GlintConfig)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            message = f"mode must be one of {', '.join(MODES)}, found {self.mode!r}"
            raise ValueError(message)
        if not 0.0 < self.decorrelation_strength <= 1.0:
            message = f"decorrelation_strength must be in 0 < x <= 1, found {self.decorrelation_strength:g}"
            raise ValueError(message)
