"""Measure detected sources: centroids, shapes, fluxes, flags; one structured array, a row per source.

Columns are spelled as in the Rubin data products. Instrumental fluxes (``...InstFlux``) are in the unit of
the image [adu]; the calibrated ones [nJy] and the sky positions are NaN until `astra.images.process_ccd`
fills them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.images.background import UNUSABLE
from astra.images.blended_fluxes import fit_blended_fluxes
from astra.images.detection import Detections, bits_of_labels
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_EDGE,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SUSPECT,
    Exposure,
)
from astra.images.fluxes import PsfFluxes, aperture_sums, fit_psf_fluxes
from astra.images.higher_moments import COLUMNS as HIGHER_MOMENTS
from astra.images.moments import Pixels, adaptive_moments, windowed_centroids
from astra.images.psf import Psf, sigma_from_fwhm
from astra.images.psf_centre import centroid_offsets
from astra.images.tan_sip import grid_positions, polynomial_design

FloatArray = NDArray[np.float64]

FOOTPRINT_FLAGS = {
    "flag_interpolated": MASK_INTRP,
    "flag_saturated": MASK_SAT,
    "flag_cr": MASK_CR,
    "flag_bad": MASK_BAD | MASK_NO_DATA,
    "flag_suspect": MASK_SUSPECT,
}
CENTRE_FLAGS = {
    "flag_interpolatedCenter": MASK_INTRP,
    "flag_saturatedCenter": MASK_SAT,
    "flag_crCenter": MASK_CR,
    "flag_edge": MASK_EDGE | MASK_NO_DATA,
}
OTHER_FLAGS = ("flag_blended", "flag_centroid", "flag_shape", "flag_psfFlux", "flag_apFlux")
CALIB_FLAGS = ("calib_psf_used", "calib_astrometry_used", "calib_photometry_used")
MIN_APERTURE_FRACTION = 0.95  # of its area that must be usable
MAX_CENTROID_SHIFT = 2.0  # [PSF sigma] from the peak
MAX_SHAPE_SIGMA = 10.0  # [PSF sigma]
EXTENDED_RATIO = 1.15  # trace of the moments over that of the PSF: above it, a source is extended


@dataclass(frozen=True)
class MeasurementConfig:
    """What to measure.

    Parameters
    ----------
    aperture_radii_pixel : tuple of float
        Radii of the circular apertures [pixel].
    aperture_radius_pixel : float
        The one that fills ``apFlux`` [pixel].
    edge_pixel : float
        Sources nearer than this to the border are flagged [pixel].
    """

    aperture_radii_pixel: tuple[float, ...] = (3.0, 4.5, 6.0, 9.0, 12.0, 17.0)
    aperture_radius_pixel: float = 6.0
    edge_pixel: float = 8.0


def aperture_suffix(radius_pixel: float) -> str:
    """Suffix of the columns of an aperture: ``12`` or ``4_5``."""
    return f"{radius_pixel:g}".replace(".", "_")


def source_dtype(config: MeasurementConfig) -> np.dtype[np.void]:
    """Columns of a source catalogue."""
    doubles = ["x", "y", "xErr", "yErr", "ra", "dec", "raErr", "decErr", "ra_dec_Cov"]
    kinds = ["psf", "ap"]
    fluxes = [f"{kind}{unit}Flux{err}" for kind in kinds for unit in ("", "Inst") for err in ("", "Err")]
    suffixes = [aperture_suffix(radius) for radius in config.aperture_radii_pixel]
    apertures = [f"ap{unit}Flux_{s}{err}" for s in suffixes for unit in ("", "Inst") for err in ("", "Err")]
    singles = ["snr", "psfChi2", "gaussianInstFlux", "ixx", "iyy", "ixy", "ixxPSF", "iyyPSF", "ixyPSF"]
    flags = [*FOOTPRINT_FLAGS, *CENTRE_FLAGS, *OTHER_FLAGS, *CALIB_FLAGS]
    return np.dtype(
        [
            ("id", "i8"),
            *((name, "f8") for name in doubles + fluxes + apertures),
            *((name, "f4") for name in [*singles, "extendedness", *HIGHER_MOMENTS]),
            ("psfNdata", "i4"),
            ("footprintArea", "i4"),
            *((name, "?") for name in flags),
        ]
    )


def make_pixels(exposure: Exposure, segments: NDArray[np.int32]) -> Pixels:
    """Bundle image, variance and owners: label of a source, 0 nobody's, -1 unusable."""
    owner = owners(exposure.image, exposure.variance, exposure.mask, segments, UNUSABLE)
    return Pixels(exposure.image, exposure.variance, owner)


@compiled
def owners(image, variance, mask, segments, bits):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Labels of the pixels, -1 for those without information; see `has_no_information`."""
    ny, nx = segments.shape
    owner = np.empty((ny, nx), dtype=np.int32)
    for y in range(ny):
        for x in range(nx):
            known = (image[y, x] - image[y, x] == 0.0) & (variance[y, x] > 0.0) & (mask[y, x] & bits == 0)
            owner[y, x] = segments[y, x] if known else np.int32(-1)
    return owner


def measure_sources(
    exposure: Exposure,
    psf: Psf,
    detections: Detections,
    config: MeasurementConfig,
    *,
    pixels: Pixels | None = None,
) -> NDArray[np.void]:
    """Measure all detections.

    Parameters
    ----------
    exposure : Exposure
        Sky subtracted.
    psf : Psf
        Point-spread function.
    detections : Detections
        Peaks and footprints.
    config : MeasurementConfig
        Apertures and edge.
    pixels : Pixels, optional
        What `make_pixels` makes of exposure and footprints, if that is at hand.

    Returns
    -------
    sources : structured ndarray, shape (n,)
        Columns of `source_dtype`; ``id`` counts from 1 and is the label of the footprint.
    """
    sources = _blank(len(detections), config)
    if len(detections) == 0:
        return sources
    pixels = pixels or make_pixels(exposure, detections.segments)
    sigma = central_sigma(psf, exposure.shape)
    _set_positions(sources, pixels, psf, detections)
    _set_psf_fluxes(sources, fit_blended_fluxes(pixels, labels_of(sources), positions_of(sources), psf))
    _set_shapes(sources, pixels, psf, sigma)
    _set_apertures(sources, pixels, config)
    _set_mask_flags(sources, exposure, detections.segments, config.edge_pixel)
    return sources


def measure_candidates(
    exposure: Exposure, psf: Psf, detections: Detections, config: MeasurementConfig, min_snr: float
) -> tuple[NDArray[np.void], Pixels]:
    """Measure what the choice of PSF stars needs.

    Parameters
    ----------
    exposure, psf, detections, config
        See `measure_sources`.
    min_snr : float
        Fainter sources get positions and fluxes alone.

    Returns
    -------
    sources : structured ndarray, shape (n,)
        As of `measure_sources`; apertures, and shapes of faint sources, are NaN.
    pixels : Pixels
        What they were measured on.
    """
    sources = _blank(len(detections), config)
    pixels = make_pixels(exposure, detections.segments)
    if len(detections) == 0:
        return sources, pixels
    _set_positions(sources, pixels, psf, detections)
    _set_psf_fluxes(sources, fit_psf_fluxes(pixels, labels_of(sources), positions_of(sources), psf))
    bright = sources["snr"] > min_snr
    measured = sources[bright]
    _set_shapes(measured, pixels, psf, central_sigma(psf, exposure.shape))
    sources[bright] = measured
    _set_mask_flags(sources, exposure, detections.segments, config.edge_pixel)
    return sources, pixels


def _set_positions(sources: NDArray[np.void], pixels: Pixels, psf: Psf, detections: Detections) -> None:
    """Fill footprints and positions."""
    shape = pixels.image.shape
    sources["footprintArea"] = detections.n_pixels
    sources["flag_blended"] = detections.blended
    sigma = central_sigma(psf, shape)
    _set_centroids(sources, pixels, detections, sigma)
    offsets = centroid_offsets(psf, sources["x"], sources["y"], shape, sigma)
    found = ~sources["flag_centroid"]
    sources["x"][found] -= offsets[found, 0]
    sources["y"][found] -= offsets[found, 1]


def _set_psf_fluxes(sources: NDArray[np.void], fluxes: PsfFluxes) -> None:
    """Fill the instrumental PSF fluxes and what comes with them."""
    sources["psfInstFlux"], sources["psfInstFluxErr"] = fluxes.flux, fluxes.flux_err
    sources["psfChi2"], sources["psfNdata"] = fluxes.chi2, fluxes.n_data
    sources["flag_psfFlux"] = fluxes.failed
    sources["snr"] = fluxes.flux / fluxes.flux_err


def add_flux_noise(sources: NDArray[np.void], noise: float) -> None:
    """Add noise beside that of the pixels [image unit] to the errors of the PSF fluxes, in place."""
    sources["psfInstFluxErr"] = np.hypot(sources["psfInstFluxErr"], noise)
    sources["snr"] = sources["psfInstFlux"] / sources["psfInstFluxErr"]


def central_sigma(psf: Psf, shape: tuple[int, int]) -> float:
    """Width [pixel] of the Gaussian that matches the core of the PSF in the middle of the image.

    By the effective area it would be wider, for that counts the wings.
    """
    start = sigma_from_fwhm(psf.fwhm_pixel((shape[1] - 1) / 2, (shape[0] - 1) / 2))
    stamp = psf.stamp((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    moments = _stamp_moments(stamp, start)
    return float(np.sqrt((moments[0] + moments[2]) / 2)) if np.isfinite(moments).all() else start


def _stamp_moments(stamp: FloatArray, sigma: float) -> FloatArray:
    """Adaptive moments ixx, ixy, iyy [pixel**2] of one noiseless stamp about its middle; NaN if they fail."""
    middle = np.full((1, 2), stamp.shape[0] // 2, dtype=np.float64)
    pixels = Pixels(stamp, np.ones(stamp.shape), np.zeros(stamp.shape, dtype=np.int32))
    measured = adaptive_moments(pixels, np.ones(1, dtype=np.int64), middle, sigma, MAX_SHAPE_SIGMA * sigma)
    moments: FloatArray = measured[0, :3]
    return moments


def _blank(n: int, config: MeasurementConfig) -> NDArray[np.void]:
    """Catalogue of n rows with ids from 1 and NaN in all floating-point columns."""
    dtype = source_dtype(config)
    sources = np.zeros(n, dtype=dtype)
    for name in dtype.names or ():
        if dtype[name].kind == "f":
            sources[name] = np.nan
    sources["id"] = np.arange(1, n + 1)
    return sources


def labels_of(sources: NDArray[np.void]) -> NDArray[np.int64]:
    """Labels of the footprints, shape (n,), contiguous: what is so everywhere is compiled once."""
    return np.ascontiguousarray(sources["id"])


def positions_of(sources: NDArray[np.void]) -> FloatArray:
    """Positions x, y [pixel], shape (n, 2)."""
    return np.stack([sources["x"], sources["y"]], axis=-1)


def _set_centroids(sources: NDArray[np.void], pixels: Pixels, detections: Detections, sigma: float) -> None:
    """Fill positions; a failed centroid is the peak."""
    peaks = np.stack([detections.x, detections.y], axis=-1)
    found = windowed_centroids(pixels, labels_of(sources), peaks, sigma, MAX_CENTROID_SHIFT * sigma)
    for k, name in enumerate(("x", "y", "xErr", "yErr")):
        sources[name] = found[:, k]
    sources["flag_centroid"] = found[:, 4] > 0


def _set_shapes(sources: NDArray[np.void], pixels: Pixels, psf: Psf, sigma: float) -> None:
    """Fill the moments of sources and PSF [pixel**2] and the classification."""
    arguments = pixels, labels_of(sources), positions_of(sources)
    found = adaptive_moments(*arguments, sigma, MAX_SHAPE_SIGMA * sigma)
    of_psf = psf_moments(psf, sources["x"], sources["y"], pixels.image.shape)
    for k, name in enumerate(("ixx", "ixy", "iyy")):
        sources[name] = found[:, k]
        sources[f"{name}PSF"] = of_psf[:, k]
    sources["gaussianInstFlux"] = found[:, 3]
    sources["flag_shape"] = found[:, 5] > 0
    ratio = (found[:, 0] + found[:, 2]) / (of_psf[:, 0] + of_psf[:, 2])
    sources["extendedness"] = np.where(np.isnan(ratio), np.nan, ratio > EXTENDED_RATIO)


def psf_moments(psf: Psf, x: FloatArray, y: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Adaptive moments ixx, ixy, iyy [pixel**2] of the PSF at positions [pixel], shape (n, 3).

    They are measured on a grid over the image and interpolated by a quartic polynomial.
    """
    grid_x, grid_y = grid_positions(shape, 6)
    sigma = central_sigma(psf, shape)
    stamps = (psf.stamp(px, py) for px, py in zip(grid_x, grid_y, strict=True))
    measured = np.array([_stamp_moments(stamp, sigma) for stamp in stamps])
    order, scale = 4 if psf.order > 0 else 0, max(shape)
    good = np.isfinite(measured).all(axis=1)
    design = polynomial_design(grid_x[good] / scale, grid_y[good] / scale, order)
    fitted = np.linalg.lstsq(design, measured[good], rcond=None)[0]
    moments: FloatArray = polynomial_design(x / scale, y / scale, order) @ fitted
    return moments


def _set_apertures(sources: NDArray[np.void], pixels: Pixels, config: MeasurementConfig) -> None:
    """Fill the instrumental aperture fluxes."""
    radii = np.array(sorted({*config.aperture_radii_pixel, config.aperture_radius_pixel}))
    flux, error, usable = aperture_sums(pixels, labels_of(sources), positions_of(sources), radii)
    for k, radius in enumerate(radii):
        if radius in config.aperture_radii_pixel:
            sources[f"apInstFlux_{aperture_suffix(radius)}"] = flux[:, k]
            sources[f"apInstFlux_{aperture_suffix(radius)}Err"] = error[:, k]
        if radius == config.aperture_radius_pixel:
            sources["apInstFlux"], sources["apInstFluxErr"] = flux[:, k], error[:, k]
            sources["flag_apFlux"] = usable[:, k] < MIN_APERTURE_FRACTION


def _set_mask_flags(
    sources: NDArray[np.void], exposure: Exposure, segments: NDArray[np.int32], edge_pixel: float
) -> None:
    """Fill the flags that come from the mask plane: anywhere in the footprint, or in the central 3 x 3."""
    n, (ny, nx) = len(sources), exposure.shape
    bits = bits_of_labels(exposure.mask, segments, n)[1:]
    for name, bit in FOOTPRINT_FLAGS.items():
        sources[name] = (bits & bit) != 0
    x, y = np.rint(sources["x"]).astype(np.int64), np.rint(sources["y"]).astype(np.int64)
    centre = np.zeros(n, dtype=np.uint32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            centre |= exposure.mask[np.clip(y + dy, 0, ny - 1), np.clip(x + dx, 0, nx - 1)]
    for name, bit in CENTRE_FLAGS.items():
        sources[name] = (centre & bit) != 0
    distance = np.minimum.reduce([sources["x"], sources["y"], nx - 1 - sources["x"], ny - 1 - sources["y"]])
    sources["flag_edge"] |= distance < edge_pixel
