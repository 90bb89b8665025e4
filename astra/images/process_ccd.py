"""From a corrected CCD image to a calibrated one: sky, sources, PSF, astrometry, photometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import DataError
from astra.images.background import fit_background, is_unusable, subtract_background
from astra.images.calibrate import Calibration, calibrate_sources, make_matches
from astra.images.characterise import Characterisation, characterise
from astra.images.detection import Detections, detect_sources, mark_detected, mark_suspect
from astra.images.exposure import Exposure, PhotoCalib, mask_bits
from astra.images.failures import Attempts, Failure
from astra.images.higher_moments import set_higher_moments
from astra.images.interpolation import interpolate_defects
from astra.images.masks import mark_unknown
from astra.images.measurement import add_flux_noise, make_pixels, measure_sources, positions_of
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf import Psf
from astra.images.sky_sources import measure_sky_sources
from astra.images.star_match import match_mutual
from astra.images.summary import summarise
from astra.images.variance import remove_own_noise

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ProcessCcdResult:
    """What `process_ccd` makes.

    Parameters
    ----------
    calexp : Exposure
        Sky subtracted, with WCS, PSF and photometric calibration, each None if it could not be fitted;
        [nJy], or [adu] without photometric calibration.
    background : float32 ndarray, shape (ny, nx)
        The sky that was subtracted, in the unit of the calexp.
    sources : structured ndarray, shape (n,)
        The catalogue; see `astra.images.measurement.source_dtype`.
    matches : structured ndarray, shape (m,)
        Pairs with standards; see `astra.images.calibrate.make_matches`.
    metrics : dict of str to float
        Quality figures, units in the names; those of what could not be fitted are missing.
    failures : tuple of Failure
        What could not be fitted, and why, in the order of the steps.
    summary : dict of str to float
        Rubin's summary statistics, NaN where something is missing; see `astra.images.summary.summarise`.
    characterisation : Characterisation
        The first pass: PSF, bright sources and the image on which they were measured.
    """

    calexp: Exposure
    background: NDArray[np.float32]
    sources: NDArray[np.void]
    matches: NDArray[np.void]
    metrics: dict[str, float]
    failures: tuple[Failure, ...]
    summary: dict[str, float]
    characterisation: Characterisation


def process_ccd(
    exposure: Exposure,
    reference: NDArray[np.void],
    config: ProcessCcdConfig | None = None,
    *,
    overwrite: bool = False,
) -> ProcessCcdResult:
    """Calibrate one CCD image.

    Parameters
    ----------
    exposure : Exposure
        Instrument signature removed, sky included [adu], with an initial WCS good to
        ``config.astrometry.search_arcsec``; its PSF, if it has one, is the first matched filter.
    reference : structured ndarray, shape (k,)
        Standards: ``id``, ``ra``, ``dec`` [deg, ICRS], ``flux``, ``fluxErr`` [nJy], ``isStar``.
    config : ProcessCcdConfig, optional
        Options.
    overwrite : bool, optional
        The planes of the given exposure may be changed: they become those of the calibrated one, which saves
        as much memory as they take.

    Returns
    -------
    result : ProcessCcdResult
        If PSF, WCS or zero point find too few stars, without them; ``failures`` says why.

    Raises
    ------
    DataError
        If no pixel is usable or the exposure has no WCS.
    """
    config = config or ProcessCcdConfig()
    attempts = Attempts()
    science = mark_unknown(exposure if overwrite else exposure.copy(), overwrite=True)
    _check(science)
    science, first = characterise(science, config, attempts)
    background = fit_background(science, mesh_pixel=config.background_mesh_pixel, masked=first.footprints)
    science = subtract_background(science, background, overwrite=True)
    science = remove_own_noise(science, first.footprints, overwrite=True)
    detections = _detect(science, first.psf, config)
    science = science.replace(mask=mark_suspect(science.mask, detections.segments, overwrite=True))
    pixels = make_pixels(science, detections.segments)
    sources = measure_sources(science, first.psf, detections, config.measurement, pixels=pixels)
    sky = measure_sky_sources(science, first.psf, pixels=pixels, n_sources=config.n_sky_sources)
    add_flux_noise(sources, sky.get("sky_psf_excess_adu", 0.0))
    sources["calib_psf_used"] = _are_near(sources, first.star_positions)
    set_higher_moments(sources, pixels, sources["calib_psf_used"])
    has_psf = first.psf_fit is not None
    calibration = calibrate_sources(sources, exposure, reference, config, attempts, has_psf=has_psf)
    metrics = {
        "n_sources": float(len(sources)),
        "sky_adu": background.level,
        "sky_noise_adu": background.noise,
    }
    metrics |= _first_metrics(first, science.shape) | _calibration_metrics(calibration)
    metrics |= sky
    if config.interpolate:
        bits = mask_bits(config.interpolate_planes)
        science = interpolate_defects(science, first.psf, bits=bits, grow_saturated_pixel=0, overwrite=True)
    calexp = _calibrate(science, detections, first, calibration, _history(metrics, attempts.failures, config))
    matches = make_matches(sources, reference, calibration.astrometry)
    return ProcessCcdResult(
        calexp=calexp,
        background=np.multiply(background.model, np.float32(_scale(calibration)), out=background.model),
        sources=sources,
        matches=matches,
        metrics=metrics,
        failures=tuple(attempts.failures),
        summary=summarise(
            calexp,
            sources,
            aperture_correction=calibration.aperture_correction,
            njy_per_adu=None if calibration.zero_point is None else _scale(calibration),
            sky_adu=background.level,
            matches=matches,
            reference=reference,
            config=config.summary,
        ),
        characterisation=first,
    )


def _check(exposure: Exposure) -> None:
    """Refuse what cannot be calibrated."""
    where = f"visit {exposure.info.visit}, detector {exposure.info.detector}"
    if exposure.wcs is None:
        raise DataError(f"the exposure has no initial WCS ({where})", visit=exposure.info.visit)
    if is_unusable(exposure).all():
        message = f"no pixel is usable: all are masked, not finite or without variance ({where})"
        raise DataError(message, visit=exposure.info.visit, detector=exposure.info.detector)


def _detect(science: Exposure, psf: Psf, config: ProcessCcdConfig) -> Detections:
    """Detect with the options of the configuration."""
    return detect_sources(
        science,
        psf,
        threshold=config.threshold,
        min_pixels=config.min_pixels,
        deblend_rise=config.deblend_rise,
        deblend_contrast=config.deblend_contrast,
    )


def _are_near(sources: NDArray[np.void], positions: FloatArray) -> NDArray[np.bool_]:
    """Tell which sources are within a pixel of given positions."""
    near = np.zeros(len(sources), dtype=np.bool_)
    found, _ = match_mutual(positions_of(sources), positions, 1.0)
    near[found] = True
    return near


def _first_metrics(first: Characterisation, shape: tuple[int, int]) -> dict[str, float]:
    """Quality figures of the first pass."""
    metrics = {} if first.n_cosmic_rays is None else {"n_cosmic_rays": float(first.n_cosmic_rays)}
    if first.psf_fit is None:
        return metrics
    psf: Psf = first.psf_fit.psf
    return metrics | {
        "psf_fwhm_pixel": psf.fwhm_pixel((shape[1] - 1) / 2, (shape[0] - 1) / 2),
        "psf_order": float(psf.order),
        "psf_residual": first.psf_fit.residual,
        "n_psf_stars": float(first.psf_fit.used.sum()),
    }


def _calibration_metrics(calibration: Calibration) -> dict[str, float]:
    """Quality figures of what was fitted."""
    metrics: dict[str, float] = {}
    correction, astrometry = calibration.aperture_correction, calibration.astrometry
    if correction is not None:
        metrics["aperture_correction"] = float(correction.coefficients[0])
        metrics["aperture_correction_scatter"] = correction.scatter
    if astrometry is not None:
        metrics |= {
            "n_astrometry_matches": float(len(astrometry.used)),
            "n_astrometry_used": float(astrometry.used.sum()),
            "astrometry_order": float(astrometry.order),
            "astrometry_offset_x_arcsec": astrometry.offset_arcsec[0],
            "astrometry_offset_y_arcsec": astrometry.offset_arcsec[1],
            "astrometry_scatter_ra_arcsec": astrometry.scatter_ra_arcsec,
            "astrometry_scatter_dec_arcsec": astrometry.scatter_dec_arcsec,
        }
    if calibration.zero_point is not None:
        metrics |= {
            "zero_point_njy_per_adu": calibration.zero_point.njy_per_count,
            "zero_point_err_njy_per_adu": calibration.zero_point.njy_per_count_err,
            "zero_point_scatter_mag": calibration.zero_point.scatter_mag,
            "n_photometry_used": float(calibration.zero_point.used.sum()),
        }
    return metrics


def _calibrate(
    science: Exposure,
    detections: Detections,
    first: Characterisation,
    calibration: Calibration,
    history: dict[str, Any],
) -> Exposure:
    """Turn the sky-subtracted image into nJy, in place, and attach what was fitted."""
    astrometry, zero_point = calibration.astrometry, calibration.zero_point
    scale, unit, photo_calib = np.float32(_scale(calibration)), science.unit, None
    if zero_point is not None:
        unit = "nJy"
        photo_calib = PhotoCalib(1.0, zero_point.njy_per_count_err / zero_point.njy_per_count)
    return science.replace(
        image=np.multiply(science.image, scale, out=science.image),
        variance=np.multiply(science.variance, scale**2, out=science.variance),
        mask=mark_detected(science.mask, detections.segments, overwrite=True),
        unit=unit,
        wcs=None if astrometry is None else astrometry.wcs,
        psf=None if first.psf_fit is None else first.psf_fit.psf,
        photo_calib=photo_calib,
        metadata={**science.metadata, **history},
    )


def _scale(calibration: Calibration) -> float:
    """Factor from counts to the unit of the calibrated image [nJy/adu]; 1 without zero point."""
    return 1.0 if calibration.zero_point is None else calibration.zero_point.njy_per_count


# Card of each figure in the header of the calexp.
HISTORY_CARDS = {
    "SKYLEVEL": "sky_adu",
    "SKYNOISE": "sky_noise_adu",
    "NJYADU": "zero_point_njy_per_adu",
    "NJYADUER": "zero_point_err_njy_per_adu",
    "ZPSCAT": "zero_point_scatter_mag",
    "APCORR": "aperture_correction",
    "ASTSCRA": "astrometry_scatter_ra_arcsec",
    "ASTSCDEC": "astrometry_scatter_dec_arcsec",
    "PSFFWHM": "psf_fwhm_pixel",
    "NCOSMIC": "n_cosmic_rays",
}
REASON_CARDS = {"cosmicRays": "NOCOSMIC", "psf": "NOPSF", "wcs": "NOWCS", "photoCalib": "NOPHOTO"}


def _history(metrics: dict[str, float], failures: list[Failure], config: ProcessCcdConfig) -> dict[str, Any]:
    """FITS-like keys that say what was done, and why something was not."""
    found = {card: metrics[name] for card, name in HISTORY_CARDS.items() if name in metrics}
    reasons = {REASON_CARDS[failure.step]: str(failure.error) for failure in failures}
    planes = config.interpolate_planes if config.interpolate else ()
    done = {"BKGSUB": True, "INTERP": bool(planes), "INTERPPL": " ".join(planes)}
    return {**done, **found, **reasons}
