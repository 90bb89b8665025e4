"""First look at a CCD image: its PSF and where its sources lie, from what is bright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from astra.images.background import fit_background, subtract_background
from astra.images.detection import extract_sources, filter_with_psf
from astra.images.exposure import Exposure
from astra.images.failures import Attempts
from astra.images.measurement import make_pixels, measure_sources, positions_of
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf import Psf, gaussian_psf
from astra.images.psf_fit import PsfFit, fit_psf, select_psf_stars

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Characterisation:
    """What the first pass found.

    Parameters
    ----------
    psf : Psf
        The fitted one, else the one that the pass began with.
    psf_fit : PsfFit, optional
        None if the PSF could not be fitted.
    star_positions : float64 ndarray, shape (n, 2)
        Stars behind the fit [pixel].
    footprints : bool ndarray, shape (ny, nx)
        Pixels of sources, grown.
    exposure : Exposure
        Sky subtracted for the first time [adu], with the fitted PSF.
    sources : structured ndarray, shape (m,)
        Bright sources, as measured with the PSF that the pass began with.
    """

    psf: Psf
    psf_fit: PsfFit | None
    star_positions: FloatArray
    footprints: NDArray[np.bool_]
    exposure: Exposure
    sources: NDArray[np.void]


def characterise(exposure: Exposure, config: ProcessCcdConfig, attempts: Attempts) -> Characterisation:
    """Fit the PSF to bright stars, on a first subtraction of the sky.

    Parameters
    ----------
    exposure : Exposure
        Instrument signature removed, sky included; its PSF, if it has one, is the matched filter.
    config : ProcessCcdConfig
        Options.
    attempts : Attempts
        Takes the reason if the PSF cannot be fitted.
    """
    psf = exposure.psf or gaussian_psf(config.initial_fwhm_pixel)
    science = subtract_background(exposure, fit_background(exposure, mesh_pixel=config.background_mesh_pixel))
    significance = filter_with_psf(science, psf)
    detections = extract_sources(
        significance,
        threshold=max(config.initial_threshold, config.threshold),
        min_pixels=config.min_pixels,
        deblend_levels=config.deblend_levels,
        deblend_contrast=config.deblend_contrast,
    )
    sources = measure_sources(science, psf, detections, config.measurement)
    pixels = make_pixels(science, detections.segments)

    def fit() -> tuple[PsfFit, NDArray[np.void]]:
        stars = sources[select_psf_stars(sources, config.psf)]
        return fit_psf(pixels, stars, _stellar_sigma(stars), config.psf), stars

    fitted = attempts.attempt("psf", fit)
    footprints: NDArray[np.bool_] = binary_dilation(
        significance > config.threshold, iterations=config.footprint_grow_pixel
    )
    if fitted is None:
        return Characterisation(psf, None, np.zeros((0, 2)), footprints, science, sources)
    psf_fit, stars = fitted
    used = stars[psf_fit.used]
    sources["calib_psf_used"] = np.isin(sources["id"], used["id"])
    return Characterisation(
        psf_fit.psf, psf_fit, positions_of(used), footprints, science.replace(psf=psf_fit.psf), sources
    )


def _stellar_sigma(stars: NDArray[np.void]) -> float:
    """Median width of the PSF stars [pixel]."""
    return float(np.median(np.sqrt((stars["ixx"] + stars["iyy"]) / 2)))
