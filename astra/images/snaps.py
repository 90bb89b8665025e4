"""The exposures of one visit, taken on the same pixels, as one image.

What fell on a single exposure, a cosmic ray above all, stands out from the others and is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from astra.errors import DataError
from astra.images.background import fit_background, is_unusable
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_INTRP, MASK_NO_DATA, MASK_SAT, Exposure, VisitInfo

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]

OUTLIER_SIGMA = 5.0
MODEL_ERROR = 0.3  # of the brightest neighbour: seeing and guiding change between the exposures
MAX_OFFSET_PIXEL = 1.0
LOST = MASK_BAD | MASK_CR | MASK_NO_DATA


def combine_snaps(exposures: Sequence[Exposure], *, visit: int, mesh_pixel: int = 128) -> Exposure:
    """Add up the exposures of a visit.

    Parameters
    ----------
    exposures : sequence of Exposure, each of shape (ny, nx)
        Instrument signature removed, sky included [adu], of one detector, gain and band, on the same pixels.
    visit : int
        Identifier of the visit.
    mesh_pixel : int, optional
        Side of a cell of the sky mesh [pixel].

    Returns
    -------
    combined : Exposure
        Sum of the counts [adu], with the sum of the exposure times and their weighted middle; ``NEXP`` in the
        metadata is the number of exposures. A pixel that is lost in some of them has the sky of all and the
        light of the others, scaled by exposure time, and its larger variance; one that is lost in all keeps
        the bits of all. ``SAT`` in one exposure is ``SAT`` in the sum.

    Raises
    ------
    DataError
        If there is none, or shapes, detectors, bands, gains or pointings differ.
    """
    _check(exposures, visit)
    first = exposures[0]
    info = _visit_info(exposures, visit)
    if len(exposures) == 1:
        return first.replace(info=info, metadata={**first.metadata, "NEXP": 1})
    times = np.array([max(exposure.info.exposure_time_s, 0.0) for exposure in exposures])
    times = times if times.all() else np.ones(len(exposures))
    skies = [fit_background(exposure, mesh_pixel=mesh_pixel).model for exposure in exposures]
    light = np.stack([exposure.image - sky for exposure, sky in zip(exposures, skies, strict=True)])
    variance = np.stack([exposure.variance for exposure in exposures])
    good = np.stack([~is_unusable(e) & ((e.mask & LOST) == 0) for e in exposures])
    good &= ~_outliers(light, variance, good, times)
    weight = _weights(good, times)
    with np.errstate(invalid="ignore"):
        image = np.sum(np.where(good, light, 0.0) * weight, axis=0) + np.sum(skies, axis=0)
        noise = np.sum(np.where(good, variance, 0.0) * weight**2, axis=0)
    lost: BoolArray = ~np.logical_or.reduce(good)
    image[lost] = np.sum([e.image[lost] for e in exposures], axis=0)
    noise[lost] = np.sum([e.variance[lost] for e in exposures], axis=0)
    return first.replace(
        image=image.astype(np.float32),
        variance=noise.astype(np.float32),
        mask=_combine_masks(exposures, lost),
        info=info,
        metadata={**first.metadata, "NEXP": len(exposures)},
    )


def _check(exposures: Sequence[Exposure], visit: int) -> None:
    """Refuse exposures that do not lie on the same pixels."""
    if not exposures:
        raise DataError(f"visit {visit} has no exposure to combine", visit=visit)
    first = exposures[0]
    for other in exposures[1:]:
        for name, one, two in (
            ("shape", first.shape, other.shape),
            ("detector", first.info.detector, other.info.detector),
            ("physical filter", first.info.physical_filter, other.info.physical_filter),
            ("gain", first.gain, other.gain),
            ("unit", first.unit, other.unit),
        ):
            if one != two:
                message = (
                    f"exposures {first.info.visit} and {other.info.visit} of visit {visit} must have one "
                    f"{name}, found {one} and {two}"
                )
                raise DataError(message, visit=visit, exposure=other.info.visit)
        _check_pointing(first, other, visit)


def _check_pointing(first: Exposure, other: Exposure, visit: int) -> None:
    """Refuse exposures that point elsewhere."""
    if first.wcs is None or other.wcs is None:
        return
    ny, nx = first.shape
    middle = np.array([[(nx - 1) / 2, (ny - 1) / 2]])
    offset = float(np.hypot(*(other.wcs.all_world2pix(first.wcs.all_pix2world(middle, 0), 0) - middle)[0]))
    if not offset <= MAX_OFFSET_PIXEL:
        message = (
            f"exposures {first.info.visit} and {other.info.visit} of visit {visit} must point alike within "
            f"{MAX_OFFSET_PIXEL:g} pixel, found {offset:.1f} pixel apart"
        )
        raise DataError(message, visit=visit, exposure=other.info.visit, offset_pixel=offset)


def _visit_info(exposures: Sequence[Exposure], visit: int) -> VisitInfo:
    """Time in the middle of the light, and all of the exposure time."""
    times = np.array([exposure.info.exposure_time_s for exposure in exposures])
    middles = np.array([exposure.info.midpoint_mjd_tai for exposure in exposures])
    weights = times if times.sum() > 0 else np.ones(len(times))
    return dataclasses.replace(
        exposures[0].info,
        visit=visit,
        midpoint_mjd_tai=float(middles[0] + np.average(middles - middles[0], weights=weights)),
        exposure_time_s=float(times.sum()),
    )


def _outliers(light: FloatArray, variance: FloatArray, good: BoolArray, times: FloatArray) -> BoolArray:
    """Tell which pixels are brighter than in the other exposures; all arrays (n, ny, nx).

    The others' value is allowed to be wrong by a share of the brightest pixel nearby.
    """
    rate = light / times[:, None, None]
    rate_variance = variance / times[:, None, None] ** 2
    found = np.zeros(light.shape, dtype=np.bool_)
    for k in range(len(light)):
        # Against the faintest of the others: a cosmic ray may have hit one of them as well.
        others = np.where(np.delete(good, k, axis=0), np.delete(rate, k, axis=0), np.inf)
        least = np.argmin(others, axis=0)[None]
        reference = np.take_along_axis(others, least, axis=0)[0]
        known = np.isfinite(reference)
        reference = np.where(known, reference, 0.0)
        noise = np.take_along_axis(np.delete(rate_variance, k, axis=0), least, axis=0)[0]
        tolerance = rate_variance[k] + noise + (MODEL_ERROR * maximum_filter(reference, 3)) ** 2
        with np.errstate(invalid="ignore"):
            found[k] = known & (rate[k] - reference > OUTLIER_SIGMA * np.sqrt(tolerance))
    return found


def _weights(good: BoolArray, times: FloatArray) -> FloatArray:
    """Factor on what is left, so that it stands for the whole exposure time; (ny, nx)."""
    kept = np.tensordot(times, good.astype(np.float64), axes=1)
    weight: FloatArray = np.where(kept > 0, times.sum() / np.where(kept > 0, kept, 1.0), 0.0)
    return weight


def _combine_masks(exposures: Sequence[Exposure], lost: BoolArray) -> NDArray[np.uint32]:
    """All bits of all exposures, but for those of pixels that another exposure makes good."""
    together: NDArray[np.uint32] = np.bitwise_or.reduce([exposure.mask for exposure in exposures])
    made_good = ~lost & ((together & MASK_SAT) == 0)
    together[made_good] &= ~(LOST | MASK_INTRP)
    return together
