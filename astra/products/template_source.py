"""Ready-made templates of any software: a FITS image in, an exposure in nJy out.

What a file does not say must be given; what it says must not contradict that. Nothing is guessed but the
roles of extensions with the usual names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.images.astrometry_fit import pixel_scale_arcsec
from astra.images.characterise import characterise
from astra.images.exposure import (
    MASK_BAD,
    MASK_NO_DATA,
    NJY_AB_ZERO_POINT_MAG,
    Exposure,
    PhotoCalib,
    VisitInfo,
)
from astra.images.failures import Attempts
from astra.images.injection import COUNT_KEY
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf import Psf, gaussian_psf
from astra.products.exposures import KIND as EXPOSURE
from astra.products.exposures import read_exposure
from astra.products.fits_record import native, open_fits, read_record
from astra.products.fits_wcs import read_celestial_wcs

VARIANCE_NAMES = ("VARIANCE", "VAR")
WEIGHT_NAMES = ("WEIGHT", "WHT", "IVAR", "INVVAR")
NJY_OF_UNIT = {"nanomaggy": 3630.78, "nmgy": 3630.78, "maggy": 3.63078e12, "mgy": 3.63078e12}
SAME_ZERO_POINT = 0.01  # relative: within it the file and the parameter agree
BANDS = "ugrizy"


@dataclass(frozen=True)
class TemplateSource:
    """How to read a template; what is empty or None is left to the file.

    Places are the name or number of an extension, a file, or both as in ``FILE[EXT]``.

    Parameters
    ----------
    instrument, band : str
        Camera that the template is for, and its band.
    image : str
        Place of the image, in the file itself; by default the first with two axes.
    variance, weight : str
        Place of the variance [count**2], or of its inverse; by default extensions of the usual names.
    noise : float, optional
        1-sigma of the noise of all pixels [count], in place of these.
    mask : str
        Place of a mask that is not zero where pixels are bad.
    njy_per_count : float, optional
        Flux of one count [nJy].
    zero_point_mag : float, optional
        AB magnitude of one count [mag].
    zero_point_key : str
        Header key with the AB magnitude of one count [mag].
    psf : str
        Place of a stamp of the PSF, in pixels of the image.
    psf_fwhm_arcsec : float, optional
        FWHM of a Gaussian PSF [arcsec], in place of a stamp.
    """

    instrument: str
    band: str
    image: str = ""
    variance: str = ""
    weight: str = ""
    noise: float | None = None
    mask: str = ""
    njy_per_count: float | None = None
    zero_point_mag: float | None = None
    zero_point_key: str = ""
    psf: str = ""
    psf_fwhm_arcsec: float | None = None


def read_template_source(path: Path | str, source: TemplateSource) -> Exposure:
    """Read a template of any software, or an exposure that astra wrote.

    Parameters
    ----------
    path : Path or str
        The file.
    source : TemplateSource
        How to read it.

    Returns
    -------
    exposure : Exposure
        In nJy, with WCS; its PSF is None where nothing tells it.

    Raises
    ------
    MissingDataError
        If a file is not there.
    FormatError
        If it has no WCS, zero point or noise, is of another band, contradicts what is given, or has no
        usable pixel.
    """
    with open_fits(path) as hdus:
        record = read_record(hdus)
        if record is not None and record.get("kind") == EXPOSURE:
            return _require_calibrated(read_exposure(path), path, source)
        hdu = _image_hdu(hdus, path, source.image)
        header = _whole_header(hdus, hdu)
        _check_band(header, path, source.band)
        scale = _njy_per_count(header, path, source)
        image = native(hdu.data, np.float64)
        wcs = read_celestial_wcs(header, path)
        variance = _variance(hdus, path, source, image.shape)
        bad = _plane(hdus, path, source.mask, image.shape)
        psf = _psf(hdus, path, source, wcs)
    usable = np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    if not usable.any():
        raise FormatError(f"template {path} has no pixel with a finite value and variance", path=str(path))
    mask = np.where(usable, np.uint32(0), MASK_NO_DATA)
    if bad is not None:
        mask |= np.where(bad != 0, MASK_BAD, np.uint32(0))
    return Exposure(
        image=np.where(usable, image * scale, np.nan).astype(np.float32),
        variance=np.where(usable, variance * scale**2, np.nan).astype(np.float32),
        mask=mask.astype(np.uint32),
        info=_info(header, source),
        unit="nJy",
        wcs=wcs,
        psf=psf,
        photo_calib=PhotoCalib(),
        metadata={"TMPLFILE": Path(path).name, "NJYPERCT": scale, **_injected(header)},
    )


def _injected(header: fits.Header) -> dict[str, int]:
    """Keep how many sources were injected, where other software has rewritten a file of astra."""
    return {COUNT_KEY: int(header[COUNT_KEY])} if header.get(COUNT_KEY) else {}


def _require_calibrated(exposure: Exposure, path: Path | str, source: TemplateSource) -> Exposure:
    """Refuse an exposure of astra that is not calibrated, or of another band."""
    if exposure.wcs is None or exposure.unit != "nJy":
        raise FormatError(f"template {path} is an exposure that is not calibrated", path=str(path))
    if exposure.info.band != source.band:
        _refuse_band(path, f"band {exposure.info.band!r}", source.band)
    if not np.isfinite(exposure.image).any():
        raise FormatError(f"template {path} has no pixel with a finite value", path=str(path))
    return exposure


def _image_hdu(hdus: fits.HDUList, path: Path | str, place: str) -> Any:
    found = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS") == 2]
    if place:
        hdu = _extension(hdus, path, place)
        if hdu not in found:
            axes = hdu.header.get("NAXIS")
            message = f"extension {place} of {path} must be an image with two axes, found {axes}"
            raise FormatError(message, path=str(path), extension=place)
        return hdu
    if not found:
        raise FormatError(f"template {path} has no image with two axes", path=str(path))
    return found[0]


def _extension(hdus: fits.HDUList, path: Path | str, place: str) -> Any:
    try:
        return hdus[int(place) if place.isdigit() else place]
    except (KeyError, IndexError) as exc:
        known = ", ".join(hdu.name or str(number) for number, hdu in enumerate(hdus))
        message = f"{path} has no extension {place!r}; it has {known}"
        raise FormatError(message, path=str(path), extension=place) from exc


def _whole_header(hdus: fits.HDUList, hdu: Any) -> fits.Header:
    """Header of an extension, with what only the primary one says."""
    header = hdu.header.copy()
    for card in hdus[0].header.cards if hdu is not hdus[0] else ():
        if card.keyword in {"BAND", "FILTER", "BUNIT", "EXPTIME", "MJD-OBS"}:
            header.setdefault(card.keyword, card.value)
    return header


def _check_band(header: fits.Header, path: Path | str, band: str) -> None:
    """Refuse a file that names another band; names that are no band say nothing."""
    for key in ("BAND", "FILTER"):
        value = str(header.get(key, "")).strip()
        found = re.match(rf"([{BANDS}{BANDS.upper()}])(?![a-zA-Z])", value)
        if found and found[1].lower() != band.lower():
            _refuse_band(path, f"{key} {value!r}", band)


def _refuse_band(path: Path | str, found: str, band: str) -> None:
    message = f"template {path} must be in band {band}, its header says {found}"
    raise FormatError(message, path=str(path), band=band)


def _njy_per_count(header: fits.Header, path: Path | str, source: TemplateSource) -> float:
    """Flux of one count [nJy]: what is given, and what the unit says, which must agree."""
    given = _given_zero_point(header, path, source)
    unit = str(header.get("BUNIT", "")).strip()
    stated = _njy_of_unit(unit)
    if given is None and stated is None:
        message = (
            f"template {path} has no zero point: its BUNIT {unit!r} is no flux; give njy_per_count, "
            f"zero_point_mag, or the zero_point_key of its header"
        )
        raise FormatError(message, path=str(path), unit=unit)
    if given is not None and stated is not None and abs(given / stated - 1.0) > SAME_ZERO_POINT:
        message = f"template {path}: a count is {given:g} nJy as given, but {stated:g} by its BUNIT {unit!r}"
        raise FormatError(message, path=str(path), given=given, stated=stated)
    found = stated if given is None else given
    if not (found is not None and np.isfinite(found) and found > 0):
        message = f"template {path}: a count must be a positive number of nJy, found {found}"
        raise FormatError(message, path=str(path), njy_per_count=found)
    return float(found)


def _given_zero_point(header: fits.Header, path: Path | str, source: TemplateSource) -> float | None:
    magnitude: Any = source.zero_point_mag
    if source.njy_per_count is not None:
        return source.njy_per_count
    if magnitude is None and source.zero_point_key:
        magnitude = header.get(source.zero_point_key)
        if not isinstance(magnitude, (int, float)):
            message = f"template {path}: {source.zero_point_key} must be an AB magnitude, found {magnitude!r}"
            raise FormatError(message, path=str(path), key=source.zero_point_key)
    return None if magnitude is None else float(10.0 ** (0.4 * (NJY_AB_ZERO_POINT_MAG - magnitude)))


def _njy_of_unit(text: str) -> float | None:
    """Flux of a unit [nJy]; None if it is no flux."""
    name = re.sub(r"maggies$", "maggy", text.lower())
    if name in NJY_OF_UNIT:
        return NJY_OF_UNIT[name]
    try:
        return float(units.Unit(text).to(units.nJy)) if text else None
    except (ValueError, TypeError, units.UnitConversionError):
        return None


def _variance(
    hdus: fits.HDUList, path: Path | str, source: TemplateSource, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Variance of each pixel [count**2]."""
    if source.noise is not None:
        if not source.noise > 0:
            raise FormatError(f"the noise of {path} must be positive, found {source.noise}", path=str(path))
        return np.full(shape, float(source.noise) ** 2)
    names = [hdu.name for hdu in hdus]
    variance = source.variance or next((name for name in VARIANCE_NAMES if name in names), "")
    weight = source.weight or next((name for name in WEIGHT_NAMES if name in names), "")
    if variance and not source.weight:
        return _required_plane(hdus, path, variance, shape)
    if not weight:
        message = (
            f"template {path} has neither variance nor weight; name their extension or file, or give noise"
        )
        raise FormatError(message, path=str(path))
    values = _required_plane(hdus, path, weight, shape)
    inverse: NDArray[np.float64] = np.divide(1.0, values, out=np.full(shape, np.nan), where=values > 0)
    return inverse


def _required_plane(
    hdus: fits.HDUList, path: Path | str, place: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    data = _data(hdus, path, place)
    if data.shape != shape:
        message = f"{place} of template {path} must have shape {shape}, found {data.shape}"
        raise FormatError(message, path=str(path), place=place)
    return native(data, np.float64)


def _plane(
    hdus: fits.HDUList, path: Path | str, place: str, shape: tuple[int, ...]
) -> NDArray[np.float64] | None:
    return _required_plane(hdus, path, place, shape) if place else None


def _data(hdus: fits.HDUList, path: Path | str, place: str) -> NDArray[Any]:
    """Pixels at a place: an extension of the file, another file, or an extension of that."""
    file, _, extension = place.removesuffix("]").partition("[")
    if not place.endswith("]") and not Path(file).is_file():
        return np.asarray(_with_data(_extension(hdus, path, place), path, place).data)
    with open_fits(file) as others:
        hdu = _extension(others, file, extension) if extension else _image_hdu(others, file, "")
        return np.array(_with_data(hdu, file, extension).data)


def _with_data(hdu: Any, path: Path | str, place: str) -> Any:
    if not hdu.is_image or hdu.data is None:
        raise FormatError(f"extension {place} of {path} holds no image", path=str(path), extension=place)
    return hdu


def _psf(hdus: fits.HDUList, path: Path | str, source: TemplateSource, wcs: WCS) -> Psf | None:
    """PSF that is given; None if none is."""
    if source.psf_fwhm_arcsec is not None:
        if not source.psf_fwhm_arcsec > 0:
            message = f"the FWHM of {path} must be positive, found {source.psf_fwhm_arcsec} arcsec"
            raise FormatError(message, path=str(path))
        return gaussian_psf(source.psf_fwhm_arcsec / pixel_scale_arcsec(wcs))
    if not source.psf:
        return None
    stamp = native(_data(hdus, path, source.psf), np.float64)
    square = stamp.ndim == 2 and stamp.shape[0] == stamp.shape[1] and stamp.shape[0] % 2 == 1
    if not square or not np.isfinite(stamp).all() or not stamp.sum() > 0:
        message = (
            f"the PSF of template {path} must be a square stamp of odd side with a positive sum, "
            f"found shape {stamp.shape}"
        )
        raise FormatError(message, path=str(path), place=source.psf)
    return Psf((stamp / stamp.sum())[None])


def _info(header: fits.Header, source: TemplateSource) -> VisitInfo:
    """Say what a template is of: no visit, and a time only if the header has one."""
    times = {key: header.get(key) for key in ("MJD-OBS", "EXPTIME")}
    values = {key: float(value) for key, value in times.items() if isinstance(value, (int, float))}
    return VisitInfo(
        instrument=source.instrument,
        visit=0,
        detector=0,
        band=source.band,
        physical_filter=str(header.get("FILTER", "")),
        midpoint_mjd_tai=values.get("MJD-OBS", 0.0),
        exposure_time_s=values.get("EXPTIME", 0.0),
    )


def with_measured_psf(template: Exposure, path: Path | str) -> Exposure:
    """Measure the PSF of a template from its stars.

    Parameters
    ----------
    template : Exposure
        As `read_template_source` reads it.
    path : Path or str
        The file, for errors.

    Returns
    -------
    template : Exposure
        The same with a PSF.

    Raises
    ------
    AlgorithmError
        If there are too few stars, or their PSF finds no solution.
    """
    attempts = Attempts()
    config = ProcessCcdConfig(repair_cosmic_rays=False)
    _, found = characterise(template.copy(), config, attempts)
    if found.psf_fit is None:
        error = attempts.failures[0].error
        message = f"the PSF of template {path} cannot be measured: {error}; give psf or psf_fwhm_arcsec"
        raise type(error)(message, **error.context) from error
    return template.replace(psf=found.psf)
