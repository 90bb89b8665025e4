"""Exposures as multi-extension FITS files.

``PRIMARY`` has the cards, ``IMAGE``, ``MASK`` and ``VARIANCE`` the planes (``MP_*`` cards name the mask
planes), ``PSF`` the coefficient cube (of a coadd: the stamps of one input after another, and their weights
by cell in ``PSFWGHT``), ``NOISEPOW`` the spectrum of noise that is not white, and the record every value
with all its digits. The WCS stands in the header of ``IMAGE``, where any FITS program finds it.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.images.coadd_psf import CoaddPsf
from astra.images.exposure import Exposure, MaskPlane, PhotoCalib, VisitInfo
from astra.images.psf import Psf
from astra.products.fits_record import (
    add_cards,
    native,
    open_fits,
    plain_values,
    plane_hdu,
    read_record,
    record_hdu,
    software_version,
    write_hdus,
)

KIND = "exposure"
_CHECKSUM_KEYS = ("CHECKSUM", "DATASUM")


def write_exposure(path: Path | str, exposure: Exposure) -> None:
    """Write an exposure; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to; missing folders are made.
    exposure : Exposure
        What to write.

    Raises
    ------
    ValueError
        If the metadata hold something else than text, numbers and bools, or the WCS has lookup tables.
    """
    planes = [
        plane_hdu("IMAGE", exposure.image, _wcs_cards(exposure.wcs)),
        plane_hdu("MASK", exposure.mask.view(np.int32), _mask_cards()),
        plane_hdu("VARIANCE", exposure.variance, fits.Header()),
    ]
    planes[0].header["BUNIT"] = exposure.unit
    planes[2].header["BUNIT"] = f"{exposure.unit}2"
    record = record_hdu(_record(exposure))
    write_hdus(
        path, [_primary_hdu(exposure), *planes, *_psf_hdus(exposure.psf), *_noise_hdus(exposure), record]
    )


def read_exposure(path: Path | str, *, verify: bool = False, mapped: bool = False) -> Exposure:
    """Read an exposure that `write_exposure` wrote, bit for bit.

    Parameters
    ----------
    path : Path or str
        The file.
    verify : bool, optional
        Check the checksum of every HDU first.
    mapped : bool, optional
        Leave the planes in the file, from which they are read where they are looked at: read-only, in the
        byte order of FITS. For those who need a part and make a copy of it. A compressed file is read.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is damaged, or not an exposure of astra.
    """
    with open_fits(path, verify=verify) as hdus:
        record = _exposure_record(hdus, path)
        return Exposure(
            image=_read_plane(hdus["IMAGE"], path, "f4", mapped=mapped),
            variance=_read_plane(hdus["VARIANCE"], path, "f4", mapped=mapped),
            mask=_read_plane(hdus["MASK"], path, "u4", mapped=mapped),
            info=VisitInfo(**record["info"]),
            unit=record["unit"],
            gain=record["gain"],
            wcs=_read_wcs(hdus["IMAGE"].header) if record["has_wcs"] else None,
            psf=None if record["psf"] is None else _read_psf(hdus, record["psf"]),
            photo_calib=None if record["photo_calib"] is None else PhotoCalib(**record["photo_calib"]),
            metadata=record["metadata"],
            noise_power=native(hdus["NOISEPOW"].data, np.float64) if record.get("has_noise_power") else None,
        )


def _read_plane(hdu: fits.ImageHDU, path: Path | str, kind: str, *, mapped: bool) -> NDArray[Any]:
    """Read a plane, or map it; the bits of a mask are signed in FITS."""
    place = hdu.fileinfo()
    if not mapped or place["file"].compression:
        return native(hdu.data, kind.replace("u", "i")).view(kind)
    shape = (int(hdu.header["NAXIS2"]), int(hdu.header["NAXIS1"]))
    return np.memmap(path, f">{kind}", "r", place["datLoc"], shape)


def read_exposure_info(path: Path | str) -> VisitInfo:
    """Read only which exposure a file holds; errors as in `read_exposure`."""
    with open_fits(path) as hdus:
        return VisitInfo(**_exposure_record(hdus, path)["info"])


def read_exposure_metadata(path: Path | str) -> dict[str, Any]:
    """Read only what was done to an exposure; errors as in `read_exposure`."""
    with open_fits(path) as hdus:
        metadata: dict[str, Any] = _exposure_record(hdus, path)["metadata"]
        return metadata


def read_exposure_wcs(path: Path | str) -> tuple[WCS, tuple[int, int]]:
    """Read only where an exposure lies on the sky, and its shape ``(ny, nx)`` [pixel].

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is damaged, not an exposure of astra, or has no WCS.
    """
    return read_exposure_place(path)[1:]


def read_exposure_place(path: Path | str) -> tuple[VisitInfo, WCS, tuple[int, int]]:
    """Read only which exposure a file holds, and where it lies; errors as in `read_exposure_wcs`."""
    with open_fits(path) as hdus:
        record, header = _exposure_record(hdus, path), hdus["IMAGE"].header
        if not record["has_wcs"]:
            raise FormatError(f"exposure {path} has no WCS", path=str(path))
        return VisitInfo(**record["info"]), _read_wcs(header), (int(header["NAXIS2"]), int(header["NAXIS1"]))


def read_exposure_psf(path: Path | str) -> Psf:
    """Read only the PSF of an exposure; errors as in `read_exposure_wcs`, for one without a PSF."""
    with open_fits(path) as hdus:
        record = _exposure_record(hdus, path)
        if record["psf"] is None:
            raise FormatError(f"exposure {path} has no PSF", path=str(path))
        return _read_psf(hdus, record["psf"])


def _exposure_record(hdus: fits.HDUList, path: Path | str) -> dict[str, Any]:
    record = read_record(hdus)
    if record is None or record.get("kind") != KIND:
        message = f"{path} is not an exposure written by astra: its record is missing or of another kind"
        raise FormatError(message, path=str(path))
    return record


def _record(exposure: Exposure) -> dict[str, Any]:
    psf, photo_calib = exposure.psf, exposure.photo_calib
    return {
        "kind": KIND,
        "info": plain_values({k: v for k, v in dataclasses.asdict(exposure.info).items() if v is not None}),
        "unit": exposure.unit,
        "gain": float(exposure.gain),
        "has_wcs": exposure.wcs is not None,
        "psf": None if psf is None else plain_values(_psf_geometry(psf)),
        "photo_calib": None if photo_calib is None else plain_values(dataclasses.asdict(photo_calib)),
        "metadata": plain_values(exposure.metadata),
        "has_noise_power": exposure.noise_power is not None,
    }


def _psf_geometry(psf: Psf) -> dict[str, Any]:
    names = ("order", "x_centre", "y_centre", "scale", "oversampling")
    own = {"class": "CoaddPsf", "cell_pixel": psf.cell_pixel} if isinstance(psf, CoaddPsf) else {}
    return {name: getattr(psf, name) for name in names} | own


def _primary_hdu(exposure: Exposure) -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU()
    info, calib = exposure.info, exposure.photo_calib
    cards = {
        "ORIGIN": "astra",
        "ASTRAVER": software_version(),
        "INSTRUME": info.instrument,
        "VISIT": info.visit,
        "DETECTOR": info.detector,
        "BAND": info.band,
        "FILTER": info.physical_filter,
        "TIMESYS": "TAI",
        "MJD-MID": info.midpoint_mjd_tai,
        "EXPTIME": info.exposure_time_s,
        "ROWTIME": info.row_time_s,
        **({} if info.zenith_distance_deg is None else {"ZD": info.zenith_distance_deg}),
        "BUNIT": exposure.unit,
        "GAIN": float(exposure.gain),
    }
    if calib is not None:
        cards |= {"NJYPERCT": calib.njy_per_count, "NJYPERCE": calib.njy_per_count_err}
    add_cards(hdu.header, plain_values(cards))
    for key, comment in _CARD_COMMENTS.items():
        if key in hdu.header:
            hdu.header.comments[key] = comment
    add_cards(hdu.header, plain_values(exposure.metadata))
    return hdu


_CARD_COMMENTS = {
    "ASTRAVER": "version of the software that wrote this",
    "MJD-MID": "[d] middle of the exposure, TAI",
    "EXPTIME": "[s] open-shutter time",
    "ROWTIME": "[s] between neighbouring rows",
    "ZD": "[deg] zenith distance of the pointing",
    "GAIN": "[e-/adu]",
    "NJYPERCT": "[nJy] flux of one image count",
    "NJYPERCE": "[nJy] 1-sigma of NJYPERCT",
}


def _mask_cards() -> fits.Header:
    header = fits.Header()
    for plane in MaskPlane:
        keyword = f"MP_{plane.name}"
        prefix = "HIERARCH " if len(keyword) > 8 else ""
        header[prefix + keyword] = int(plane).bit_length() - 1
    return header


def _psf_hdus(psf: Psf | None) -> list[fits.ImageHDU]:
    if psf is None:
        return []
    hdus = [_psf_hdu(psf)]
    if isinstance(psf, CoaddPsf):
        hdus.append(plane_hdu("PSFWGHT", psf.weights, fits.Header()))
        hdus[1].header["PSFCELL"] = (psf.cell_pixel, "[pixel] side of a cell of the weights")
    return hdus


def _noise_hdus(exposure: Exposure) -> list[fits.ImageHDU]:
    power = exposure.noise_power
    return [] if power is None else [plane_hdu("NOISEPOW", np.asarray(power, np.float64), fits.Header())]


def _psf_hdu(psf: Psf) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.ascontiguousarray(psf.coefficients, dtype=np.float64), name="PSF")
    hdu.header["PSFORDER"] = (psf.order, "total degree of the polynomial in position")
    hdu.header["PSFXC"] = (float(psf.x_centre), "[pixel] 0-based, where u = 0")
    hdu.header["PSFYC"] = (float(psf.y_centre), "[pixel] 0-based, where v = 0")
    hdu.header["PSFSCALE"] = (float(psf.scale), "[pixel] of one unit of u and v")
    hdu.header["PSFOVERS"] = (psf.oversampling, "nodes a pixel")
    return hdu


def _read_psf(hdus: fits.HDUList, record: Mapping[str, Any]) -> Psf:
    """Read the PSF of a record; those of older files name no class."""
    geometry = {name: value for name, value in record.items() if name != "class"}
    coefficients = native(hdus["PSF"].data, np.float64)
    if record.get("class", "Psf") == "Psf":
        return Psf(coefficients, **geometry)
    if record["class"] != "CoaddPsf":
        message = f"{hdus.filename()} has a PSF of class {record['class']}, which this version does not know"
        raise FormatError(message, path=str(hdus.filename()))
    return CoaddPsf(coefficients, **geometry, weights=native(hdus["PSFWGHT"].data, np.float32))


def _wcs_cards(wcs: WCS | None) -> fits.Header:
    if wcs is None:
        return fits.Header()
    if any(table is not None for table in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        raise ValueError(
            "a WCS with distortion lookup tables cannot be written; fit a SIP polynomial instead"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        header = wcs.to_header(relax=True)
    _restore_digits(header, wcs)
    return header


def _restore_digits(header: fits.Header, wcs: WCS) -> None:
    """Put back the digits that wcslib drops: it prints 12, a few micro-arcseconds of right ascension."""
    pc, cdelt = wcs.wcs.get_pc(), wcs.wcs.get_cdelt()
    for i in range(wcs.naxis):
        header[f"CRPIX{i + 1}"] = float(wcs.wcs.crpix[i])
        header[f"CRVAL{i + 1}"] = float(wcs.wcs.crval[i])
        header[f"CDELT{i + 1}"] = float(cdelt[i])
        for j in range(wcs.naxis):
            header[f"PC{i + 1}_{j + 1}"] = float(pc[i, j])
    for i, m, value in wcs.wcs.get_pv():
        if f"PV{i}_{m}" in header:
            header[f"PV{i}_{m}"] = float(value)


def _read_wcs(header: fits.Header) -> WCS:
    cards = header.copy()
    for key in _CHECKSUM_KEYS:
        cards.remove(key, ignore_missing=True)
    return WCS(cards, fix=False)
