"""From a corrected CCD image to a calibrated one: sky, sources, PSF, astrometry, photometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from astra.errors import DataError
from astra.images.astrometry import Astrometry, AstrometryConfig, fit_astrometry, match_mutual
from astra.images.background import Background, fit_background, is_unusable, subtract_background
from astra.images.detection import Detections, detect_sources, mark_detected
from astra.images.exposure import Exposure, PhotoCalib
from astra.images.measurement import (
    MeasurementConfig,
    aperture_suffix,
    make_pixels,
    measure_sources,
    positions_of,
)
from astra.images.photometry import ApertureCorrection, ZeroPoint, fit_aperture_correction, fit_zero_point
from astra.images.psf import Psf, gaussian_psf
from astra.images.psf_fit import PsfFit, PsfFitConfig, fit_psf, select_psf_stars
from astra.images.variance import remove_own_noise

FloatArray = NDArray[np.float64]

MATCH_DTYPE = np.dtype(
    [("source_id", "i8"), ("reference_id", "i8"), ("separation_arcsec", "f8"), ("used", "?")]
)


@dataclass(frozen=True)
class ProcessCcdConfig:
    """Options of `process_ccd`.

    Parameters
    ----------
    background_mesh_pixel : int
        Side of a cell of the sky mesh [pixel].
    footprint_grow_pixel : int
        Footprints are grown by this before the sky is fitted again [pixel].
    initial_fwhm_pixel : float
        FWHM of the first matched filter where the camera brings no PSF [pixel].
    threshold : float
        Detection limit: S/N of a point source.
    min_pixels : int
        Connected pixels above the limit.
    deblend_levels, deblend_contrast : int, float
        How blends are split; see `astra.images.detection.detect_sources`.
    aperture_correction_radius_pixel : float
        Aperture that holds all the flux of a star; one of the measured radii [pixel].
    astrometry_min_snr, photometry_min_snr : float
        Least S/N of sources for the WCS and the zero point.
    photometry_max_err_mag : float
        Largest combined error of a star for the zero point [mag].
    photometry_min_stars : int
        Fewer stars than this for the zero point are an error.
    measurement : MeasurementConfig
        Apertures.
    psf : PsfFitConfig
        PSF stars and model.
    astrometry : AstrometryConfig
        Matching and WCS.
    """

    background_mesh_pixel: int = 64
    footprint_grow_pixel: int = 3
    initial_fwhm_pixel: float = 4.0
    threshold: float = 5.0
    min_pixels: int = 3
    deblend_levels: int = 32
    deblend_contrast: float = 0.0005
    aperture_correction_radius_pixel: float = 12.0
    astrometry_min_snr: float = 20.0
    photometry_min_snr: float = 20.0
    photometry_max_err_mag: float = 0.05
    photometry_min_stars: int = 3
    measurement: MeasurementConfig = field(default_factory=MeasurementConfig)
    psf: PsfFitConfig = field(default_factory=PsfFitConfig)
    astrometry: AstrometryConfig = field(default_factory=AstrometryConfig)


@dataclass(frozen=True)
class ProcessCcdResult:
    """What `process_ccd` makes.

    Parameters
    ----------
    calexp : Exposure
        Calibrated, sky subtracted [nJy], with WCS, PSF and photometric calibration.
    background : float32 ndarray, shape (ny, nx)
        The sky that was subtracted [nJy].
    sources : structured ndarray, shape (n,)
        The catalogue; see `astra.images.measurement.source_dtype`.
    matches : structured ndarray, shape (m,)
        ``source_id``, ``reference_id``, ``separation_arcsec``, ``used`` (for the WCS).
    metrics : dict of str to float
        Quality figures, units in the names.
    """

    calexp: Exposure
    background: NDArray[np.float32]
    sources: NDArray[np.void]
    matches: NDArray[np.void]
    metrics: dict[str, float]


def process_ccd(
    exposure: Exposure, reference: NDArray[np.void], config: ProcessCcdConfig | None = None
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

    Returns
    -------
    result : ProcessCcdResult

    Raises
    ------
    DataError
        If no pixel is usable or the exposure has no WCS.
    TooFewSourcesError
        If PSF, WCS or zero point find fewer stars than they need.
    """
    config = config or ProcessCcdConfig()
    _check(exposure)
    first = _characterise(exposure, config)
    psf = first.psf_fit.psf
    background = fit_background(exposure, mesh_pixel=config.background_mesh_pixel, masked=first.footprints)
    science = remove_own_noise(subtract_background(exposure, background), first.footprints)
    detections = _detect(science, psf, config)
    sources = measure_sources(science, psf, detections, config.measurement)
    sources["calib_psf_used"] = _are_near(sources, first.star_positions)
    correction = _correct_psf_fluxes(sources, exposure.shape, config)
    astrometry = _fit_astrometry(exposure, sources, reference, config)
    set_sky_positions(sources, astrometry.wcs)
    zero_point = _fit_zero_point(sources, reference, astrometry, config)
    set_calibrated_fluxes(sources, zero_point.njy_per_count)
    metrics = _metrics(sources, background, correction, astrometry, zero_point)
    metrics |= _psf_metrics(psf, science.shape, first.psf_fit)
    return ProcessCcdResult(
        calexp=_calibrate(
            science, detections, psf=psf, astrometry=astrometry, zero_point=zero_point, metrics=metrics
        ),
        background=background.model * np.float32(zero_point.njy_per_count),
        sources=sources,
        matches=_make_matches(sources, reference, astrometry),
        metrics=metrics,
    )


@dataclass(frozen=True)
class _Characterisation:
    """The first pass: PSF, the positions of its stars (n, 2) [pixel], and the grown footprints (ny, nx)."""

    psf_fit: PsfFit
    star_positions: FloatArray
    footprints: NDArray[np.bool_]


def _check(exposure: Exposure) -> None:
    """Refuse what cannot be calibrated."""
    where = f"visit {exposure.info.visit}, detector {exposure.info.detector}"
    if exposure.wcs is None:
        raise DataError(f"the exposure has no initial WCS ({where})", visit=exposure.info.visit)
    if is_unusable(exposure).all():
        message = f"no pixel is usable: all are masked, not finite or without variance ({where})"
        raise DataError(message, visit=exposure.info.visit, detector=exposure.info.detector)


def _characterise(exposure: Exposure, config: ProcessCcdConfig) -> _Characterisation:
    """Fit the PSF on a first sky subtraction."""
    psf = exposure.psf or gaussian_psf(config.initial_fwhm_pixel)
    science = subtract_background(exposure, fit_background(exposure, mesh_pixel=config.background_mesh_pixel))
    detections = _detect(science, psf, config)
    sources = measure_sources(science, psf, detections, config.measurement)
    stars = sources[select_psf_stars(sources, config.psf)]
    pixels = make_pixels(science, detections.segments)
    psf_fit = fit_psf(pixels, stars, _stellar_sigma(stars), config.psf)
    footprints: NDArray[np.bool_] = binary_dilation(
        detections.segments > 0, iterations=config.footprint_grow_pixel
    )
    return _Characterisation(psf_fit, positions_of(stars[psf_fit.used]), footprints)


def _stellar_sigma(stars: NDArray[np.void]) -> float:
    """Median width of the PSF stars [pixel]."""
    return float(np.median(np.sqrt((stars["ixx"] + stars["iyy"]) / 2)))


def _detect(science: Exposure, psf: Psf, config: ProcessCcdConfig) -> Detections:
    """Detect with the options of the configuration."""
    return detect_sources(
        science,
        psf,
        threshold=config.threshold,
        min_pixels=config.min_pixels,
        deblend_levels=config.deblend_levels,
        deblend_contrast=config.deblend_contrast,
    )


def _are_near(sources: NDArray[np.void], positions: FloatArray) -> NDArray[np.bool_]:
    """Tell which sources are within a pixel of given positions."""
    near = np.zeros(len(sources), dtype=np.bool_)
    found, _ = match_mutual(positions_of(sources), positions, 1.0)
    near[found] = True
    return near


def _correct_psf_fluxes(
    sources: NDArray[np.void], shape: tuple[int, int], config: ProcessCcdConfig
) -> ApertureCorrection:
    """Bring the PSF fluxes to the scale of the large aperture, in place."""
    column = f"apInstFlux_{aperture_suffix(config.aperture_correction_radius_pixel)}"
    correction = fit_aperture_correction(sources[sources["calib_psf_used"]], column, shape)
    factor = correction.at(sources["x"], sources["y"])
    sources["psfInstFlux"] *= factor
    sources["psfInstFluxErr"] *= factor
    return correction


def _fit_astrometry(
    exposure: Exposure, sources: NDArray[np.void], reference: NDArray[np.void], config: ProcessCcdConfig
) -> Astrometry:
    """Match the clean, bright sources to the standards and correct the WCS; indices are of the catalogues."""
    clean = (sources["snr"] > config.astrometry_min_snr) & ~sources["flag_centroid"] & ~sources["flag_edge"]
    clean &= ~sources["flag_saturated"] & ~sources["flag_interpolatedCenter"]
    index = np.flatnonzero(clean)
    stars = np.flatnonzero(reference["isStar"])
    fitted = fit_astrometry(sources[index], reference[stars], exposure.wcs, exposure.shape, config.astrometry)
    matched = index[fitted.source_index]
    sources["calib_astrometry_used"][matched[fitted.used]] = True
    return replace(fitted, source_index=matched, reference_index=stars[fitted.reference_index])


def set_sky_positions(sources: NDArray[np.void], wcs: WCS) -> None:
    """Fill ra, dec and their errors [deg], in place; ``raErr`` is on the sky: it includes cos(dec)."""
    if len(sources) == 0:
        return
    sources["ra"], sources["dec"] = wcs.all_pix2world(sources["x"], sources["y"], 0)
    cd = wcs.pixel_scale_matrix
    var_x, var_y = sources["xErr"] ** 2, sources["yErr"] ** 2
    sources["raErr"] = np.sqrt(cd[0, 0] ** 2 * var_x + cd[0, 1] ** 2 * var_y)
    sources["decErr"] = np.sqrt(cd[1, 0] ** 2 * var_x + cd[1, 1] ** 2 * var_y)
    sources["ra_dec_Cov"] = cd[0, 0] * cd[1, 0] * var_x + cd[0, 1] * cd[1, 1] * var_y


def _fit_zero_point(
    sources: NDArray[np.void], reference: NDArray[np.void], astrometry: Astrometry, config: ProcessCcdConfig
) -> ZeroPoint:
    """Zero point from the matched stars; marks those used."""
    matched, standards = sources[astrometry.source_index], reference[astrometry.reference_index]
    clean = ~matched["flag_psfFlux"] & (matched["snr"] > config.photometry_min_snr)
    index = astrometry.source_index[clean]
    zero_point = fit_zero_point(
        matched["psfInstFlux"][clean],
        matched["psfInstFluxErr"][clean],
        standards["flux"][clean],
        standards["fluxErr"][clean],
        max_err_mag=config.photometry_max_err_mag,
        min_stars=config.photometry_min_stars,
    )
    sources["calib_photometry_used"][index[zero_point.used]] = True
    return zero_point


def set_calibrated_fluxes(sources: NDArray[np.void], njy_per_count: float) -> None:
    """Fill the fluxes [nJy] from the instrumental ones, in place."""
    for name in sources.dtype.names or ():
        if "InstFlux" in name and name.replace("Inst", "") in (sources.dtype.names or ()):
            sources[name.replace("Inst", "")] = sources[name] * njy_per_count


def _metrics(
    sources: NDArray[np.void],
    background: Background,
    correction: ApertureCorrection,
    astrometry: Astrometry,
    zero_point: ZeroPoint,
) -> dict[str, float]:
    """Quality figures of catalogue and calibrations."""
    return {
        "n_sources": float(len(sources)),
        "sky_adu": background.level,
        "sky_noise_adu": background.noise,
        "aperture_correction": float(correction.coefficients[0]),
        "aperture_correction_scatter": correction.scatter,
        "n_astrometry_matches": float(len(astrometry.used)),
        "n_astrometry_used": float(astrometry.used.sum()),
        "astrometry_order": float(astrometry.order),
        "astrometry_offset_x_arcsec": astrometry.offset_arcsec[0],
        "astrometry_offset_y_arcsec": astrometry.offset_arcsec[1],
        "astrometry_scatter_ra_arcsec": astrometry.scatter_ra_arcsec,
        "astrometry_scatter_dec_arcsec": astrometry.scatter_dec_arcsec,
        "zero_point_njy_per_adu": zero_point.njy_per_count,
        "zero_point_err_njy_per_adu": zero_point.njy_per_count_err,
        "zero_point_scatter_mag": zero_point.scatter_mag,
        "n_photometry_used": float(zero_point.used.sum()),
    }


def _psf_metrics(psf: Psf, shape: tuple[int, int], psf_fit: PsfFit) -> dict[str, float]:
    """Quality figures of the PSF."""
    return {
        "psf_fwhm_pixel": psf.fwhm_pixel((shape[1] - 1) / 2, (shape[0] - 1) / 2),
        "psf_order": float(psf.order),
        "psf_residual": psf_fit.residual,
        "n_psf_stars": float(psf_fit.used.sum()),
    }


def _calibrate(
    science: Exposure,
    detections: Detections,
    *,
    psf: Psf,
    astrometry: Astrometry,
    zero_point: ZeroPoint,
    metrics: dict[str, float],
) -> Exposure:
    """Turn the sky-subtracted image into nJy and attach what was fitted."""
    scale = np.float32(zero_point.njy_per_count)
    return science.replace(
        image=science.image * scale,
        variance=science.variance * scale**2,
        mask=mark_detected(science.mask, detections.segments),
        unit="nJy",
        wcs=astrometry.wcs,
        psf=psf,
        photo_calib=PhotoCalib(1.0, zero_point.njy_per_count_err / zero_point.njy_per_count),
        metadata={**science.metadata, **_history(metrics)},
    )


def _history(metrics: dict[str, float]) -> dict[str, Any]:
    """FITS-like keys that say what was done."""
    return {
        "BKGSUB": True,
        "SKYLEVEL": metrics["sky_adu"],
        "SKYNOISE": metrics["sky_noise_adu"],
        "NJYADU": metrics["zero_point_njy_per_adu"],
        "NJYADUER": metrics["zero_point_err_njy_per_adu"],
        "ZPSCAT": metrics["zero_point_scatter_mag"],
        "APCORR": metrics["aperture_correction"],
        "ASTSCRA": metrics["astrometry_scatter_ra_arcsec"],
        "ASTSCDEC": metrics["astrometry_scatter_dec_arcsec"],
        "PSFFWHM": metrics["psf_fwhm_pixel"],
    }


def _make_matches(
    sources: NDArray[np.void], reference: NDArray[np.void], astrometry: Astrometry
) -> NDArray[np.void]:
    """List the pairs behind the WCS."""
    matched, standards = sources[astrometry.source_index], reference[astrometry.reference_index]
    matches = np.zeros(len(matched), dtype=MATCH_DTYPE)
    matches["source_id"], matches["reference_id"] = matched["id"], standards["id"]
    matches["used"] = astrometry.used
    east = ((matched["ra"] - standards["ra"] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(standards["dec"]))
    matches["separation_arcsec"] = 3600.0 * np.hypot(east, matched["dec"] - standards["dec"])
    return matches
