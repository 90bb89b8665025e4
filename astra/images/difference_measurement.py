"""Measurement of detections on a difference image; one structured array, columns as in the Rubin `DiaSource`.

``raErr`` is the error of ra * cos(dec), as Rubin's. Shapes are in [arcsec**2] along the pixel axes. For a
negative source ``psfFlux`` and ``apFlux`` are negative and the shape is that of the mirrored image. Angles
are bearings, from north through east: of a trail in [0, 180), of a dipole from the negative to the positive
lobe in [0, 360) degrees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.images.dia_flags import find_mask_bits
from astra.images.dia_footprints import footprint_moments
from astra.images.dia_measurement_config import DiaMeasurementConfig
from astra.images.dia_shapes import (
    DiaShapes,
    extendedness,
    measure_shapes,
    stamp_moments,
    trace_radius,
)
from astra.images.dia_source_columns import (
    CENTRE_ALL_PLANES,
    DIA_SOURCE_DTYPE,
    FLAG_PLANES,
    FLOAT_COLUMNS,
)
from astra.images.difference_detection import Peaks
from astra.images.dipoles import fit_dipoles
from astra.images.exposure import Exposure
from astra.images.forced import aperture_correction, forced_photometry
from astra.images.local_psf import central_stamps, make_local_psfs
from astra.images.local_sky import LocalSky, make_local_sky
from astra.images.point_fit import STAMP_HALF_WIDTH, PointFits, fit_points
from astra.images.psf import sigma_from_fwhm
from astra.images.trails import fit_trails, guess_trails

__all__ = ["DIA_SOURCE_DTYPE", "measure_dia_sources"]

MIN_APERTURE_FRACTION = 0.95
LONG_BOX_RADII = 10.0  # a footprint that is longer than this, in radii of the PSF, may be that of a trail
LONGEST_PER_BOX = 1.5  # of a trail, by the longer side of its footprint
TRAIL_FROM_ADAPTIVE_MOMENTS = 1  # Rubin's key of what the fit of a trail starts from


def measure_dia_sources(
    difference: Exposure,
    science: Exposure,
    matched_template: Exposure,
    peaks: Peaks,
    config: DiaMeasurementConfig,
) -> NDArray[Any]:
    """Measure all detections of a difference.

    Parameters
    ----------
    difference : Exposure
        White noise, with PSF, and WCS if positions on the sky are wanted.
    science, matched_template : Exposure
        What was subtracted from what, on the same grid, for the fluxes in either.
    peaks : Peaks
        Detections on the difference.
    config : DiaMeasurementConfig

    Returns
    -------
    dia_sources : structured ndarray, dtype `DIA_SOURCE_DTYPE`
        Positions NaN without a WCS. Empty if there is no detection.

    Raises
    ------
    ValueError
        If the difference has no PSF.
    """
    dia_sources = np.zeros(len(peaks.x), dtype=DIA_SOURCE_DTYPE)
    if len(peaks.x) == 0:
        return dia_sources
    for name in FLOAT_COLUMNS:
        dia_sources[name] = np.nan
    fits = fit_points(difference, peaks.x.astype(float), peaks.y.astype(float))
    sky = make_local_sky(difference.wcs, fits.x, fits.y)
    _fill_points(dia_sources, fits, peaks, aperture_correction(difference))
    _fill_sky(dia_sources, fits, sky)
    shapes, of_psf = _measure_shapes(dia_sources, difference, config.aperture_radius_pixel)
    _fill_shapes(dia_sources, shapes, of_psf, sky.scale_arcsec)
    _fill_forced(dia_sources, science, matched_template)
    guesses = _guess_trails(dia_sources, difference, peaks, (shapes, of_psf))
    _fill_trails(dia_sources, difference, guesses, LONGEST_PER_BOX * peaks.box_pixel.astype(float))
    _fill_dipoles(dia_sources, (difference, science, matched_template), peaks, config, sky)
    _fill_flags(dia_sources, difference, peaks)
    dia_sources["midpointMjdTai"] = difference.midpoint_mjd_tai_at(dia_sources["y"])
    dia_sources["exposureTime"] = difference.info.exposure_time_s
    dia_sources["band"] = difference.info.band
    for name in FLOAT_COLUMNS:  # an alert takes numbers, or null
        dia_sources[name][~np.isfinite(dia_sources[name])] = np.nan
    return _without(dia_sources, config.removed_flags)


def _without(dia_sources: NDArray[Any], flags: tuple[str, ...]) -> NDArray[Any]:
    """Leave out detections with any of some flags."""
    flagged = np.zeros(len(dia_sources), dtype=bool)
    for name in flags:
        flagged |= dia_sources[name]
    kept: NDArray[Any] = dia_sources[~flagged]
    return kept


def _fill_points(dia_sources: NDArray[Any], fits: PointFits, peaks: Peaks, factor: float) -> None:
    """Positions, PSF fluxes and what the detection knows."""
    dia_sources["x"], dia_sources["y"] = fits.x, fits.y
    dia_sources["xErr"], dia_sources["yErr"] = np.sqrt(np.einsum("nii->in", fits.covariance))
    dia_sources["centroid_flag"] = fits.failed
    dia_sources["snr"] = np.abs(peaks.snr)
    dia_sources["isNegative"] = peaks.snr < 0
    dia_sources["psfFlux"], dia_sources["psfFluxErr"] = factor * fits.flux, factor * fits.flux_err
    dia_sources["psfChi2"], dia_sources["psfNdata"] = fits.chi2, fits.n_data
    dia_sources["psfLnL"] = fits.log_likelihood
    dia_sources["psfFlux_flag_noGoodPixels"] = fits.n_data == 0
    dia_sources["psfFlux_flag"] = ~np.isfinite(fits.flux)
    dia_sources["bboxSize"] = peaks.box_pixel


def _fill_sky(dia_sources: NDArray[Any], fits: PointFits, sky: LocalSky) -> None:
    """Sky positions and their covariance."""
    dia_sources["ra"], dia_sources["dec"] = sky.ra, sky.dec
    covariance = sky.covariance(fits.covariance)
    dia_sources["raErr"], dia_sources["decErr"] = np.sqrt(np.einsum("nii->in", covariance))
    dia_sources["ra_dec_Cov"] = covariance[:, 0, 1]


def _measure_shapes(
    dia_sources: NDArray[Any], difference: Exposure, radius: float
) -> tuple[DiaShapes, NDArray[np.float64]]:
    """Aperture fluxes and moments of the sources; moments of the PSF [pixel**2]."""
    psf, (ny, nx) = difference.psf, difference.shape
    if psf is None:  # pragma: no cover - refused by the fit of points
        message = "shapes cannot be measured without a PSF"
        raise ValueError(message)
    sigma = sigma_from_fwhm(psf.fwhm_pixel(nx / 2, ny / 2))
    positions = np.stack([dia_sources["x"], dia_sources["y"]], axis=1)
    shapes = measure_shapes(difference, positions, dia_sources["isNegative"], sigma, radius)
    return shapes, stamp_moments(central_stamps(make_local_psfs(psf, *positions.T)), sigma)


def _fill_shapes(
    dia_sources: NDArray[Any],
    shapes: DiaShapes,
    of_psf: NDArray[np.float64],
    scale_arcsec: NDArray[np.float64],
) -> None:
    """Flux in a circle; adaptive moments of the sources and of the PSF [arcsec**2]."""
    dia_sources["apFlux"], dia_sources["apFluxErr"] = shapes.ap_flux, shapes.ap_flux_err
    dia_sources["apFlux_flag_apertureTruncated"] = shapes.ap_area < MIN_APERTURE_FRACTION
    dia_sources["apFlux_flag"] = dia_sources["apFlux_flag_apertureTruncated"]
    for k, name in enumerate(("ixx", "ixy", "iyy")):
        dia_sources[name] = shapes.moments[:, k] * scale_arcsec**2
        dia_sources[f"{name}PSF"] = of_psf[:, k] * scale_arcsec**2
    dia_sources["shape_flag_no_pixels"] = shapes.n_usable == 0
    dia_sources["shape_flag"] = shapes.failed | (shapes.n_usable == 0)
    snr = dia_sources["psfFlux"] / dia_sources["psfFluxErr"]
    dia_sources["extendedness"] = extendedness(shapes.moments, of_psf, snr)


def _fill_forced(dia_sources: NDArray[Any], science: Exposure, matched_template: Exposure) -> None:
    """PSF fluxes at the same positions in the science image and in the matched template."""
    x, y = dia_sources["x"].copy(), dia_sources["y"].copy()
    for name, exposure in (("science", science), ("template", matched_template)):
        forced = forced_photometry(exposure, x, y)
        dia_sources[f"{name}Flux"], dia_sources[f"{name}FluxErr"] = forced["psfFlux"], forced["psfFluxErr"]
        for flag in ("flag", "flag_edge", "flag_noGoodPixels"):
            dia_sources[f"forced_PsfFlux_{flag}"] |= forced[f"psfFlux_{flag}"]


def _guess_trails(
    dia_sources: NDArray[Any],
    difference: Exposure,
    peaks: Peaks,
    moments: tuple[DiaShapes, NDArray[np.float64]],
) -> NDArray[np.float64]:
    """First guesses of trails: adaptive moments, or those of the footprint where no Gaussian matches."""
    shapes, of_psf = moments
    centres, of_source = np.stack([dia_sources["x"], dia_sources["y"]], axis=1), shapes.moments.copy()
    odd = shapes.failed & (peaks.box_pixel > LONG_BOX_RADII * trace_radius(of_psf))
    at_peaks = np.stack([peaks.x, peaks.y], axis=1)[odd]
    found = footprint_moments(
        difference.image, peaks.footprints, at_peaks, peaks.box_pixel[odd], dia_sources["isNegative"][odd]
    )
    of_source[odd] = found[:, 2:]
    centres[odd] = np.where(np.isfinite(found[:, :2]), found[:, :2], centres[odd])
    return guess_trails(centres, of_source, of_psf)


def _fill_trails(
    dia_sources: NDArray[Any],
    difference: Exposure,
    guesses: NDArray[np.float64],
    longest: NDArray[np.float64],
) -> None:
    """Trails: a source that does not move has one of no length."""
    fits = fit_trails(difference, guesses, longest)
    factor = aperture_correction(difference)
    sky = make_local_sky(difference.wcs, fits.x, fits.y)
    length, bearing = sky.vector(np.cos(fits.angle), np.sin(fits.angle))
    dia_sources["trailFlux"], dia_sources["trailFluxErr"] = factor * fits.flux, factor * fits.flux_err
    dia_sources["trailRa"], dia_sources["trailDec"] = sky.ra, sky.dec
    variances = np.einsum("nii->in", sky.covariance(fits.covariance))
    dia_sources["trailRaErr"], dia_sources["trailDecErr"] = np.sqrt(variances)
    dia_sources["trailLength"], dia_sources["trailLengthErr"] = length * fits.length, length * fits.length_err
    dia_sources["trailAngle"] = bearing % 180.0  # a trail has no sense
    dia_sources["trailAngleErr"] = np.degrees(fits.angle_err)
    dia_sources["trailChi2"], dia_sources["trailNdata"] = fits.chi2, fits.n_data
    dia_sources["trailAlgorithm"] = TRAIL_FROM_ADAPTIVE_MOMENTS
    dia_sources["trail_flag"], dia_sources["trail_flag_edge"] = fits.failed, fits.on_edge


def _fill_dipoles(
    dia_sources: NDArray[Any],
    images: tuple[Exposure, Exposure, Exposure],
    peaks: Peaks,
    config: DiaMeasurementConfig,
    sky: LocalSky,
) -> None:
    """Dipoles, where a footprint has peaks of both signs."""
    rows = np.flatnonzero(peaks.opposite >= config.dipole_candidate_snr)
    dia_sources["dipoleFitAttempted"][rows] = True
    own = np.stack([peaks.x, peaks.y], axis=1)[rows].astype(float)
    other = np.stack([peaks.opposite_x, peaks.opposite_y], axis=1)[rows].astype(float)
    lobes = np.where((peaks.snr[rows] < 0)[:, None], np.hstack([other, own]), np.hstack([own, other]))
    fits = fit_dipoles(*images, lobes, config.dipole)
    factor = aperture_correction(images[0])
    local = LocalSky(sky.ra[rows], sky.dec[rows], sky.jacobian[rows])
    length, bearing = local.vector(*fits.separation.T)
    columns = {
        "dipoleMeanFlux": factor * fits.flux.mean(axis=1),
        "dipoleMeanFluxErr": factor * fits.combined_flux_err(1.0) / 2.0,
        "dipoleFluxDiff": factor * (fits.flux[:, 0] - fits.flux[:, 1]),
        "dipoleFluxDiffErr": factor * fits.combined_flux_err(-1.0),
        "dipoleLength": length,
        "dipoleAngle": bearing,
        "dipoleChi2": fits.chi2,
        "dipoleNdata": fits.n_data,
        "isDipole": fits.is_dipole,
    }
    for name, values in columns.items():
        dia_sources[name][rows] = values


def _fill_flags(dia_sources: NDArray[Any], difference: Exposure, peaks: Peaks) -> None:
    """Mask planes in the footprint of the source and at its centre, and what lies off the image."""
    ny, nx = difference.shape
    columns, rows = (np.rint(dia_sources[name]).astype(np.int64) for name in ("x", "y"))
    centroids, at_peaks = np.stack([columns, rows], axis=1), np.stack([peaks.x, peaks.y], axis=1)
    bits = find_mask_bits(difference.mask, peaks.footprints, at_peaks, peaks.box_pixel, centroids)
    for name, plane in FLAG_PLANES.items():
        dia_sources[f"pixelFlags_{name}"] = (bits.near & plane) > 0
        dia_sources[f"pixelFlags_{name}Center"] = (bits.centre & plane) > 0
    for name in CENTRE_ALL_PLANES:
        dia_sources[f"pixelFlags_{name}CenterAll"] = (bits.centre_all & FLAG_PLANES[name]) > 0
    off_image = (columns < 0) | (rows < 0) | (columns >= nx) | (rows >= ny)
    dia_sources["pixelFlags_offimage"] = dia_sources["pixelFlags"] = off_image
    truncated = (columns < STAMP_HALF_WIDTH) | (rows < STAMP_HALF_WIDTH)
    truncated |= (columns >= nx - STAMP_HALF_WIDTH) | (rows >= ny - STAMP_HALF_WIDTH)
    dia_sources["psfFlux_flag_edge"] = truncated
    dia_sources["pixelFlags_edge"] |= truncated
    dia_sources["shape_flag_not_contained"] = ~bits.is_contained
    dia_sources["shape_flag"] |= ~bits.is_contained
