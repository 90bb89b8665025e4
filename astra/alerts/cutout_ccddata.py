"""Cutouts that others have made, as FITS bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.nddata import CCDData

_OWN_KEYS = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND", "BUNIT")


def ccddata_bytes(cutout: CCDData) -> bytes:
    """Write a `CCDData` with all it has, as `astra.alerts.cutouts.make_cutout_bytes` says."""
    image = np.asarray(cutout.data)
    if image.ndim != 2:
        raise ValueError(f"a cutout has two axes, found an image of shape {image.shape}")
    hdus = fits.HDUList([fits.PrimaryHDU(image.astype(np.float32), _header(cutout))])
    flags = _flags(cutout)
    if flags is not None:
        hdus.append(_mask(cutout, flags))
    if cutout.uncertainty is not None:
        hdus.append(_variance(cutout))
    psf = getattr(cutout, "psf", None)
    if psf is not None:
        hdus.append(fits.ImageHDU(np.asarray(psf).astype(np.float32), name="PSFIMAGE"))
    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()


def _header(cutout: CCDData) -> fits.Header:
    """Return what the cutout says of itself, its WCS and its unit."""
    header = fits.Header()
    own = cutout.header if isinstance(cutout.header, fits.Header) else fits.Header()
    for key, value in dict(cutout.header or {}).items():
        if key not in _OWN_KEYS and not key.startswith("MP_"):
            header[_keyword(key)] = (value, own.comments[key] if key in own else "")
    if cutout.wcs is not None:
        header.update(cutout.wcs.to_header(relax=True))
    header["BUNIT"] = cutout.unit.to_string("fits")
    return header


def _keyword(key: str) -> str:
    """Mark a long keyword as one, which astropy otherwise warns of."""
    return key if len(key) <= 8 else f"HIERARCH {key}"


def _flags(cutout: CCDData) -> NDArray[Any] | None:
    """Return the bits of the mask, or else truth values as 0 and 1; None if it has no mask."""
    flags = getattr(cutout, "flags", None)
    flags = cutout.mask if flags is None else flags
    return None if flags is None else np.broadcast_to(np.asarray(flags), np.shape(cutout.data))


def _mask(cutout: CCDData, flags: NDArray[Any]) -> fits.ImageHDU:
    """Make the plane of the mask, with the names of its bits."""
    hdu = fits.ImageHDU(np.ascontiguousarray(flags).astype(np.int32), name="MASK")
    for key, value in dict(cutout.header or {}).items():
        if key.startswith("MP_"):
            hdu.header[_keyword(key)] = value
    return hdu


def _variance(cutout: CCDData) -> fits.ImageHDU:
    """Uncertainty of whatever kind, as variance."""
    from astropy.nddata import VarianceUncertainty

    variance: Any = cutout.uncertainty.represent_as(VarianceUncertainty)
    hdu = fits.ImageHDU(np.asarray(variance.array).astype(np.float32), name="UNCERT")
    hdu.header["UTYPE"] = "VarianceUncertainty"
    hdu.header["BUNIT"] = (cutout.unit**2).to_string("fits")
    return hdu
