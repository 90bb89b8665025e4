"""Stamps of alerts: small FITS files with image, mask, variance and PSF.

They are laid out so that `astropy.nddata.CCDData.read` takes them as they are: primary image [nJy], ``MASK``
(bits, named by ``MP_*`` keywords), ``UNCERT`` (variance), ``PSFIMAGE``. Here is one stamp at a time;
`astra.alerts.cutout_batch` makes the same bytes for all sources of an image at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts.cutout_headers import (
    BLOCK,
    MASK_CARDS,
    MAX_SIDE_PIXEL,
    MIN_SIDE_PIXEL,
    VARIANCE_CARDS,
    CutoutConfig,
    LocalWcs,
    corners,
    is_on_image,
    linearize_wcs,
    plane_header,
    primary_headers,
)
from astra.alerts.cutout_psf import psf_stamps, psf_terms
from astra.images.exposure import MASK_NO_DATA, Exposure

if TYPE_CHECKING:
    from astropy.nddata import CCDData

__all__ = [
    "MAX_SIDE_PIXEL",
    "MIN_SIDE_PIXEL",
    "CutoutConfig",
    "LocalWcs",
    "linearize_wcs",
    "make_cutout",
    "make_cutout_bytes",
    "njy_per_unit",
]


def make_cutout(
    exposure: Exposure, x: float, y: float, size_pixel: float, config: CutoutConfig | None = None
) -> bytes | None:
    """Cut a square stamp around a position.

    Pixels beyond the image are NaN, with the bit ``NO_DATA`` in the mask.

    Parameters
    ----------
    exposure : Exposure
        In [nJy], or in [adu] with a photometric calibration.
    x, y : float
        Position [pixel].
    size_pixel : float
        Side of the footprint [pixel], ``bboxSize`` for example; kept within 30 and 102.
    config : CutoutConfig, optional
        A side of its own, the PSF, and how the detector lies in the focal plane.

    Returns
    -------
    stamp : bytes or None
        A FITS file; None if the position is not on the image, or no pixel has data, as where a template ends.

    Raises
    ------
    ValueError
        If the exposure is not calibrated to flux.
    """
    scale, config = njy_per_unit(exposure), config or CutoutConfig()
    at = np.array([x], dtype=np.float64), np.array([y], dtype=np.float64)
    if not is_on_image(*at, exposure.shape)[0]:
        return None
    side = config.sides(size_pixel)
    corner, length = corners(*at, side)[0].tolist(), int(side[0])
    image, mask = (
        _cut(exposure.image, corner, length, np.nan),
        _cut(exposure.mask, corner, length, MASK_NO_DATA),
    )
    if not (((mask & MASK_NO_DATA) == 0) & ~np.isnan(image)).any():
        return None
    variance = _cut(exposure.variance, corner, length, np.nan) * np.float32(scale**2)
    primary = primary_headers(exposure, *at, side, config.detector_rotation_deg)[0].tobytes()
    parts = [
        primary + _data(image * np.float32(scale), ">f4"),
        plane_header("MASK", "i4", length, MASK_CARDS) + _data(mask, ">i4"),
        plane_header("UNCERT", "f4", length, VARIANCE_CARDS) + _data(variance, ">f4"),
    ]
    if exposure.psf is not None:
        psf = psf_stamps(psf_terms(exposure, *at, average=config.use_average_psf))[0]
        parts.append(plane_header("PSFIMAGE", "f4", len(psf), []) + _data(psf, ">f4"))
    return b"".join(parts)


def make_cutout_bytes(cutout: CCDData | bytes | None) -> bytes | None:
    """Write a cutout as the bytes of a FITS file.

    `astropy.nddata.CCDData` keeps bits of a mask as its ``flags``, and does not write them; here they are
    written as the mask, and pixels have 32 bits.

    Parameters
    ----------
    cutout : CCDData, bytes or None
        Its header may name the bits (``MP_*``), and have ``ROTPA`` and more. What is bytes, or None, is
        returned as it is.

    Returns
    -------
    stamp : bytes or None
        Laid out as in `make_cutout`.

    Raises
    ------
    ValueError
        If the image is not two-dimensional.
    """
    if cutout is None or isinstance(cutout, bytes):
        return cutout
    from astra.alerts.cutout_ccddata import ccddata_bytes

    return ccddata_bytes(cutout)


def njy_per_unit(exposure: Exposure) -> float:
    """Flux of one unit of the image [nJy].

    Raises
    ------
    ValueError
        If the exposure is not calibrated to flux.
    """
    if exposure.unit == "nJy":
        return 1.0
    if exposure.photo_calib is None:
        message = (
            f"a cutout is in nJy, but the exposure is in {exposure.unit} and has no photometric calibration"
        )
        raise ValueError(message)
    return exposure.photo_calib.njy_per_count


def _cut(plane: NDArray[Any], corner: list[int], side: int, outside: Any) -> NDArray[Any]:
    """Square part of a plane from a corner (row, column), which may lie outside."""
    stamp = np.full((side, side), outside, dtype=plane.dtype)
    low = [min(max(0, -start), side) for start in corner]
    high = [max(min(side, length - start), 0) for start, length in zip(corner, plane.shape, strict=True)]
    target = tuple(slice(*ends) for ends in zip(low, high, strict=True))
    source = tuple(slice(a + start, b + start) for a, b, start in zip(low, high, corner, strict=True))
    stamp[target] = plane[source]
    return stamp


def _data(plane: NDArray[Any], dtype: str) -> bytes:
    """Pixels, padded to whole blocks."""
    content = plane.astype(dtype).tobytes()
    return content + b"\0" * (-len(content) % BLOCK)
