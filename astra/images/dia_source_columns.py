"""Columns of measured detections, named as in the Rubin `DiaSource`, and which of that table others make."""

from __future__ import annotations

import numpy as np

from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_HIGH_VARIANCE,
    MASK_INJECTED,
    MASK_INJECTED_TEMPLATE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    MASK_SPIKE,
    MASK_SUSPECT,
    MaskPlane,
)

FLOAT_COLUMNS = (
    "x", "xErr", "y", "yErr", "ra", "raErr", "dec", "decErr", "ra_dec_Cov", "snr",
    "psfFlux", "psfFluxErr", "psfChi2", "psfLnL", "apFlux", "apFluxErr",
    "scienceFlux", "scienceFluxErr", "templateFlux", "templateFluxErr",
    "trailFlux", "trailFluxErr", "trailRa", "trailRaErr", "trailDec", "trailDecErr",
    "trailLength", "trailLengthErr", "trailAngle", "trailAngleErr", "trailChi2",
    "dipoleMeanFlux", "dipoleMeanFluxErr", "dipoleFluxDiff", "dipoleFluxDiffErr",
    "dipoleLength", "dipoleAngle", "dipoleChi2",
    "ixx", "iyy", "ixy", "ixxPSF", "iyyPSF", "ixyPSF", "extendedness", "midpointMjdTai", "exposureTime",
)  # fmt: skip
INTEGER_COLUMNS = ("psfNdata", "trailNdata", "trailAlgorithm", "dipoleNdata", "bboxSize")
# In the footprint; the last three lines are not in Rubin's alerts, but in its catalogues.
FLAG_PLANES = {
    "bad": MASK_BAD,
    "cr": MASK_CR,
    "edge": MASK_EDGE,
    "nodata": MASK_NO_DATA,
    "interpolated": MASK_INTRP,
    "saturated": MASK_SAT | MASK_SAT_TEMPLATE,
    "suspect": MASK_SUSPECT,
    "streak": np.uint32(MaskPlane.STREAK),
    "injected": MASK_INJECTED,
    "injected_template": MASK_INJECTED_TEMPLATE,
    "sat_template": MASK_SAT_TEMPLATE,
    "high_variance": MASK_HIGH_VARIANCE,
    "spike": MASK_SPIKE,
}
CENTRE_ALL_PLANES = ("interpolated", "high_variance")  # these cover all the pixels round the centre
FLAG_COLUMNS = (
    "isNegative", "isDipole", "dipoleFitAttempted", "glint_trail", "centroid_flag",
    "psfFlux_flag", "psfFlux_flag_edge", "psfFlux_flag_noGoodPixels",
    "apFlux_flag", "apFlux_flag_apertureTruncated", "trail_flag", "trail_flag_edge",
    "forced_PsfFlux_flag", "forced_PsfFlux_flag_edge", "forced_PsfFlux_flag_noGoodPixels",
    "shape_flag", "shape_flag_no_pixels", "shape_flag_not_contained", "shape_flag_parent_source",
    "pixelFlags", "pixelFlags_offimage",
    *(f"pixelFlags_{name}CenterAll" for name in CENTRE_ALL_PLANES),
    *(f"pixelFlags_{name}" for name in FLAG_PLANES),
    *(f"pixelFlags_{name}Center" for name in FLAG_PLANES),
)  # fmt: skip
DIA_SOURCE_DTYPE = np.dtype(
    [(name, "f8") for name in FLOAT_COLUMNS]
    + [(name, "i4") for name in INTEGER_COLUMNS]
    + [("band", "U1")]
    + [(name, "?") for name in FLAG_COLUMNS]
)

# Fields of an alert's diaSource that cannot be measured on one pair of images, and why.
NOT_MEASURED = {
    "diaSourceId": "given at association",
    "visit": "given at association",
    "detector": "given at association",
    "diaObjectId": "given at association",
    "ssObjectId": "given by the attribution to known solar-system bodies",
    "parentDiaSourceId": "detections on differences are not deblended",
    "reliability": "given by a classifier of cutouts",
    "reliabilityVersion": "given by a classifier of cutouts",
    "timeProcessedMjdTai": "given at association",
    "timeWithdrawnMjdTai": "given when a detection is withdrawn",
}
