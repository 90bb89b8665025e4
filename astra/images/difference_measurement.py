"""Measurement of detections on a difference image; one structured array, columns as in the Rubin `DiaSource`.

``raErr`` is the error of ra * cos(dec), as Rubin's. Shapes are in [arcsec**2] along the pixel axes. For a
negative source ``psfFlux`` and ``apFlux`` are negative and the shape is that of the mirrored image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.images.dia_measurement_config import DiaMeasurementConfig
from astra.images.difference_detection import Peaks
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    MASK_SUSPECT,
    Exposure,
)
from astra.images.fluxes import aperture_sums
from astra.images.forced import aperture_correction, forced_photometry
from astra.images.moments import Pixels, adaptive_moments
from astra.images.point_fit import STAMP_HALF_WIDTH, UNUSABLE, PointFits, fit_points
from astra.images.psf import sigma_from_fwhm
from astra.images.stamps import cut_stamps

if TYPE_CHECKING:
    from astropy.wcs import WCS

FLOAT_COLUMNS = (
    "x", "xErr", "y", "yErr", "ra", "raErr", "dec", "decErr", "ra_dec_Cov", "snr",
    "psfFlux", "psfFluxErr", "psfChi2", "psfLnL", "apFlux", "apFluxErr",
    "scienceFlux", "scienceFluxErr", "templateFlux", "templateFluxErr",
    "ixx", "iyy", "ixy", "ixxPSF", "iyyPSF", "ixyPSF", "midpointMjdTai",
)  # fmt: skip
INTEGER_COLUMNS = ("psfNdata", "bboxSize")
FLAG_PLANES = {
    "bad": MASK_BAD,
    "cr": MASK_CR,
    "edge": MASK_EDGE,
    "nodata": MASK_NO_DATA,
    "interpolated": MASK_INTRP,
    "saturated": MASK_SAT | MASK_SAT_TEMPLATE,
    "suspect": MASK_SUSPECT,
}
CENTRE_FLAGS = ("cr", "nodata", "interpolated", "saturated", "suspect")
FLAG_COLUMNS = (
    "isNegative", "isDipole", "centroid_flag",
    "psfFlux_flag", "psfFlux_flag_edge", "psfFlux_flag_noGoodPixels",
    "apFlux_flag", "apFlux_flag_apertureTruncated",
    "forced_PsfFlux_flag", "forced_PsfFlux_flag_edge", "forced_PsfFlux_flag_noGoodPixels",
    "shape_flag", "pixelFlags", "pixelFlags_offimage",
    *(f"pixelFlags_{name}" for name in FLAG_PLANES),
    *(f"pixelFlags_{name}Center" for name in CENTRE_FLAGS),
)  # fmt: skip
DIA_SOURCE_DTYPE = np.dtype(
    [(name, "f8") for name in FLOAT_COLUMNS]
    + [(name, "i4") for name in INTEGER_COLUMNS]
    + [(name, "?") for name in FLAG_COLUMNS]
)

CENTRE_HALF_WIDTH = 1  # "Center" flags: the 3 x 3 pixels round the centroid
DIPOLE_RATIO = 0.4  # least ratio of the lobes of a dipole
MIN_APERTURE_FRACTION = 0.95
LARGEST_SHAPE_PIXEL = 8.0


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
    """
    dia_sources = np.zeros(len(peaks.x), dtype=DIA_SOURCE_DTYPE)
    if len(peaks.x) == 0:
        return dia_sources
    fits = fit_points(difference, peaks.x.astype(float), peaks.y.astype(float))
    _fill_points(dia_sources, fits, peaks, aperture_correction(difference))
    _fill_sky(dia_sources, fits, difference.wcs)
    _fill_aperture(dia_sources, difference, config.aperture_radius_pixel)
    _fill_shapes(dia_sources, difference)
    _fill_forced(dia_sources, science, matched_template)
    _fill_flags(dia_sources, difference)
    dia_sources["midpointMjdTai"] = difference.midpoint_mjd_tai_at(dia_sources["y"])
    return dia_sources


def _fill_points(dia_sources: NDArray[Any], fits: PointFits, peaks: Peaks, factor: float) -> None:
    """Positions, PSF fluxes and what the detection knows."""
    dia_sources["x"], dia_sources["y"] = fits.x, fits.y
    error = np.sqrt(np.maximum(np.einsum("nii->ni", fits.covariance), 0.0))
    dia_sources["xErr"], dia_sources["yErr"] = error[:, 0], error[:, 1]
    dia_sources["centroid_flag"] = fits.failed
    dia_sources["snr"] = np.abs(peaks.snr)
    dia_sources["isNegative"] = peaks.snr < 0
    dia_sources["psfFlux"], dia_sources["psfFluxErr"] = factor * fits.flux, factor * fits.flux_err
    dia_sources["psfChi2"], dia_sources["psfNdata"] = fits.chi2, fits.n_data
    dia_sources["psfLnL"] = -0.5 * fits.chi2
    dia_sources["psfFlux_flag_noGoodPixels"] = fits.n_data == 0
    dia_sources["psfFlux_flag"] = ~np.isfinite(fits.flux)
    dia_sources["bboxSize"] = peaks.box_pixel
    dia_sources["isDipole"] = peaks.opposite > DIPOLE_RATIO * np.abs(peaks.snr)


def _fill_sky(dia_sources: NDArray[Any], fits: PointFits, wcs: WCS | None) -> None:
    """Sky positions and their covariance."""
    names = ("ra", "dec", "raErr", "decErr", "ra_dec_Cov")
    if wcs is None:
        for name in names:
            dia_sources[name] = np.nan
        return
    step = 0.5
    x, y = fits.x, fits.y
    ra, dec = wcs.all_pix2world(x, y, 0)
    columns = []
    for dx, dy in ((step, 0.0), (0.0, step)):
        high, low = wcs.all_pix2world(x + dx, y + dy, 0), wcs.all_pix2world(x - dx, y - dy, 0)
        delta_ra = (high[0] - low[0] + 180.0) % 360.0 - 180.0
        columns.append(np.stack([delta_ra * np.cos(np.radians(dec)), high[1] - low[1]], axis=1) / (2 * step))
    jacobian = np.stack(columns, axis=2)
    covariance = jacobian @ fits.covariance[:, :2, :2] @ np.swapaxes(jacobian, 1, 2)
    values = (
        ra, dec, np.sqrt(covariance[:, 0, 0]), np.sqrt(covariance[:, 1, 1]), covariance[:, 0, 1]
    )  # fmt: skip
    for name, value in zip(names, values, strict=True):
        dia_sources[name] = value


def _owner(difference: Exposure) -> NDArray[np.int32]:
    """0 for pixels that can be used, -1 for others."""
    unusable = ((difference.mask & UNUSABLE) > 0) | ~np.isfinite(difference.image)
    return np.where(unusable, np.int32(-1), np.int32(0)).astype(np.int32)


def _fill_aperture(dia_sources: NDArray[Any], difference: Exposure, radius: float) -> None:
    """Flux in a circle."""
    labels = np.zeros(len(dia_sources), dtype=np.int64)
    pixels = Pixels(difference.image, difference.variance, _owner(difference))
    positions = np.stack([dia_sources["x"], dia_sources["y"]], axis=1)
    flux, error, area = aperture_sums(pixels, labels, positions, np.array([radius]))
    dia_sources["apFlux"], dia_sources["apFluxErr"] = flux[:, 0], error[:, 0]
    dia_sources["apFlux_flag_apertureTruncated"] = area[:, 0] < MIN_APERTURE_FRACTION
    dia_sources["apFlux_flag"] = dia_sources["apFlux_flag_apertureTruncated"]


def _fill_shapes(dia_sources: NDArray[Any], difference: Exposure) -> None:
    """Adaptive moments of the sources and of the PSF [arcsec**2]."""
    ny, nx = difference.shape
    scale = _pixel_scale_arcsec(difference.wcs, nx / 2, ny / 2)
    psf = difference.psf
    if psf is None:
        return
    sigma = sigma_from_fwhm(psf.fwhm_pixel(nx / 2, ny / 2))
    owner = _owner(difference)
    for negative in (False, True):
        rows = np.flatnonzero(dia_sources["isNegative"] == negative)
        image = -difference.image if negative else difference.image
        labels = np.zeros(len(rows), dtype=np.int64)
        positions = np.stack([dia_sources["x"][rows], dia_sources["y"][rows]], axis=1)
        pixels = Pixels(image, difference.variance, owner)
        found = adaptive_moments(pixels, labels, positions, sigma, LARGEST_SHAPE_PIXEL)
        for name, column in (("ixx", 0), ("ixy", 1), ("iyy", 2)):
            dia_sources[name][rows] = found[:, column] * scale**2
        dia_sources["shape_flag"][rows] = found[:, 5] > 0
    for row in range(len(dia_sources)):
        moments = psf_moments(psf.stamp(dia_sources["x"][row], dia_sources["y"][row]), sigma)
        for name, value in zip(("ixxPSF", "ixyPSF", "iyyPSF"), moments, strict=True):
            dia_sources[name][row] = value * scale**2


def psf_moments(stamp: NDArray[np.float64], sigma_pixel: float) -> tuple[float, float, float]:
    """Adaptive moments xx, xy, yy of a centred PSF stamp [pixel**2]."""
    image = stamp.astype(np.float32)
    middle = np.full((1, 2), float(stamp.shape[0] // 2))
    pixels = Pixels(image, np.ones_like(image), np.zeros(stamp.shape, dtype=np.int32))
    found = adaptive_moments(pixels, np.zeros(1, dtype=np.int64), middle, sigma_pixel, LARGEST_SHAPE_PIXEL)
    return float(found[0, 0]), float(found[0, 1]), float(found[0, 2])


def _pixel_scale_arcsec(wcs: WCS | None, x: float, y: float) -> float:
    """Mean side of a pixel [arcsec]; NaN without a WCS."""
    if wcs is None:
        return float("nan")
    ra, dec = wcs.all_pix2world(np.array([x, x + 1, x]), np.array([y, y, y + 1]), 0)
    cos_dec = np.cos(np.radians(dec[0]))
    delta_ra = ((ra[1:] - ra[0] + 180.0) % 360.0 - 180.0) * cos_dec
    delta_dec = dec[1:] - dec[0]
    area = abs(delta_ra[0] * delta_dec[1] - delta_ra[1] * delta_dec[0])
    return float(3600.0 * np.sqrt(area))


def _fill_forced(dia_sources: NDArray[Any], science: Exposure, matched_template: Exposure) -> None:
    """PSF fluxes at the same positions in the science image and in the matched template."""
    x, y = dia_sources["x"].copy(), dia_sources["y"].copy()
    for name, exposure in (("science", science), ("template", matched_template)):
        forced = forced_photometry(exposure, x, y)
        dia_sources[f"{name}Flux"], dia_sources[f"{name}FluxErr"] = forced["psfFlux"], forced["psfFluxErr"]
        for flag in ("flag", "flag_edge", "flag_noGoodPixels"):
            dia_sources[f"forced_PsfFlux_{flag}"] |= forced[f"psfFlux_{flag}"]


def _fill_flags(dia_sources: NDArray[Any], difference: Exposure) -> None:
    """Mask planes in the box of the source and at its centre."""
    columns, rows = (np.rint(dia_sources[name]).astype(np.int64) for name in ("x", "y"))
    ny, nx = difference.shape
    dia_sources["pixelFlags_offimage"] = (columns < 0) | (rows < 0) | (columns >= nx) | (rows >= ny)
    for name, plane in FLAG_PLANES.items():
        bits = ((difference.mask & plane) > 0).astype(np.float32)
        near = np.nan_to_num(cut_stamps(bits, columns, rows, 7)).max(axis=(1, 2)) > 0
        dia_sources[f"pixelFlags_{name}"] = near
        if name in CENTRE_FLAGS:
            centre = cut_stamps(bits, columns, rows, 2 * CENTRE_HALF_WIDTH + 1)
            dia_sources[f"pixelFlags_{name}Center"] = np.nan_to_num(centre).max(axis=(1, 2)) > 0
    truncated = (columns < STAMP_HALF_WIDTH) | (rows < STAMP_HALF_WIDTH)
    truncated |= (columns >= nx - STAMP_HALF_WIDTH) | (rows >= ny - STAMP_HALF_WIDTH)
    dia_sources["psfFlux_flag_edge"] = truncated
    dia_sources["pixelFlags_edge"] |= truncated
    dia_sources["pixelFlags"] = dia_sources["pixelFlags_offimage"] | dia_sources["pixelFlags_nodata"]
