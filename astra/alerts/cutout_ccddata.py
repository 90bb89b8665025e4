"""Cutouts that others have made, as FITS bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

if TYPE_CHECKING:
    from astropy.nddata import CCDData

_OWN_KEYS = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND", "BUNIT")


def ccddata_bytes(cutout: CCDData) -> bytes:
    """Write a `CCDData` with all it has, as `astra.alerts.cutouts.make_cutout_bytes` says."""
    image = np.asarray(cutout.data)
    if image.ndim != 2:
        raise ValueError(f"a cutout has two axes, found an image of shape {image.shape}")
    hdus = fits.HDUList([fits.PrimaryHDU(image.astype(np.float32), _header(cutout))])
    if cutout.mask is not None:
        hdus.append(_mask(cutout))
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
    header = fits.Header(cutout.header) if cutout.header else fits.Header()
    for key in _OWN_KEYS:
        header.remove(key, ignore_missing=True)
    header = fits.Header([card for card in header.cards if not card.keyword.startswith("MP_")])
    if cutout.wcs is not None:
        header.update(cutout.wcs.to_header(relax=True))
    header["BUNIT"] = cutout.unit.to_string("fits")
    return header


def _mask(cutout: CCDData) -> fits.ImageHDU:
    """Bits as they are; a mask of truth values is 0 and 1."""
    mask = np.broadcast_to(np.asarray(cutout.mask), np.shape(cutout.data))
    names = {key: value for key, value in (cutout.header or {}).items() if key.startswith("MP_")}
    hdu = fits.ImageHDU(np.ascontiguousarray(mask).astype(np.int32), name="MASK")
    for key, value in names.items():
        hdu.header[key if len(key) <= 8 else f"HIERARCH {key}"] = value
    return hdu


def _variance(cutout: CCDData) -> fits.ImageHDU:
    """Uncertainty of whatever kind, as variance."""
    from astropy.nddata import VarianceUncertainty

    variance: Any = cutout.uncertainty.represent_as(VarianceUncertainty)
    hdu = fits.ImageHDU(np.asarray(variance.array).astype(np.float32), name="UNCERT")
    hdu.header["UTYPE"] = "VarianceUncertainty"
    hdu.header["BUNIT"] = (cutout.unit**2).to_string("fits")
    return hdu
