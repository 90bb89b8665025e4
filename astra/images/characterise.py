"""First look at a CCD image: its PSF and where its sources lie, from what is bright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.errors import TooFewSourcesError
from astra.images.background import fit_background, subtract_background
from astra.images.cosmic_rays import repair_cosmic_rays
from astra.images.detection import Detections, extract_sources, filter_with_psf
from astra.images.exposure import MASK_CR, Exposure
from astra.images.failures import Attempts
from astra.images.masks import grow_square
from astra.images.measurement import make_pixels, measure_sources, positions_of
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf import Psf, fwhm_from_sigma, gaussian_psf
from astra.images.psf_fit import PsfFit, fit_psf, select_psf_stars

FloatArray = NDArray[np.float64]

REPAIRED = "CRREPAIR"  # card of images whose cosmic rays are replaced


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
    first_sky : float32 ndarray, shape (ny, nx)
        The sky that was subtracted [adu].
    n_cosmic_rays : int, optional
        Events; None if they were not looked for.
    """

    psf: Psf
    psf_fit: PsfFit | None
    star_positions: FloatArray
    footprints: NDArray[np.bool_]
    exposure: Exposure
    sources: NDArray[np.void]
    first_sky: NDArray[np.float32]
    n_cosmic_rays: int | None

    @property
    def repaired(self) -> Exposure:
        """The exposure without cosmic rays, sky included [adu], without PSF."""
        return self.exposure.replace(image=self.exposure.image + self.first_sky, psf=None)


def characterise(exposure: Exposure, config: ProcessCcdConfig, attempts: Attempts) -> Characterisation:
    """Repair cosmic rays and fit the PSF to bright stars, on a first subtraction of the sky.

    Parameters
    ----------
    exposure : Exposure
        Instrument signature removed, sky included; its PSF, if it has one, is the matched filter.
    config : ProcessCcdConfig
        Options.
    attempts : Attempts
        Takes the reasons if cosmic rays or PSF find no solution.
    """
    psf = exposure.psf or gaussian_psf(config.initial_fwhm_pixel)
    background = fit_background(exposure, mesh_pixel=config.background_mesh_pixel)
    science = subtract_background(exposure, background)
    significance = filter_with_psf(science, psf)
    detections = extract_sources(
        significance,
        threshold=max(config.initial_threshold, config.threshold),
        min_pixels=config.min_pixels,
        deblend_levels=config.deblend_levels,
        deblend_contrast=config.deblend_contrast,
    )
    sources = measure_sources(science, psf, detections, config.measurement)
    stars = attempts.attempt("psf", lambda: sources[select_psf_stars(sources, config.psf)])
    if stars is not None:
        psf = gaussian_psf(fwhm_from_sigma(_stellar_sigma(stars)))
    science, n_cosmic_rays = _repair(science, psf, config, attempts)
    psf_fit = None
    if stars is not None:
        stars = stars[~_are_hit(stars, science, detections.segments)]
        psf_fit = attempts.attempt("psf", lambda: _fit(science, detections, stars, config))
    footprints = grow_square(significance > config.threshold, config.footprint_grow_pixel)
    used = stars[psf_fit.used] if psf_fit is not None and stars is not None else sources[:0]
    sources["calib_psf_used"] = np.isin(sources["id"], used["id"])
    return Characterisation(
        psf=psf if psf_fit is None else psf_fit.psf,
        psf_fit=psf_fit,
        star_positions=positions_of(used),
        footprints=footprints,
        exposure=science.replace(psf=None if psf_fit is None else psf_fit.psf),
        sources=sources,
        first_sky=background.model,
        n_cosmic_rays=n_cosmic_rays,
    )


def _repair(
    science: Exposure, psf: Psf, config: ProcessCcdConfig, attempts: Attempts
) -> tuple[Exposure, int | None]:
    """Replace cosmic rays, unless that was done; return their number too, None if it is unknown."""
    if not config.repair_cosmic_rays or science.metadata.get(REPAIRED):
        return science, None
    repaired = attempts.attempt("cosmicRays", lambda: repair_cosmic_rays(science, psf, config.cosmic_rays))
    if repaired is None:
        return science, None
    exposure, cosmic_rays = repaired
    return exposure.replace(metadata={**exposure.metadata, REPAIRED: True}), len(cosmic_rays)


def _are_hit(stars: NDArray[np.void], science: Exposure, segments: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which stars have a cosmic ray in their footprint."""
    owners = segments[(science.mask & MASK_CR) != 0]
    return np.isin(stars["id"], owners)


def _fit(
    science: Exposure, detections: Detections, stars: NDArray[np.void], config: ProcessCcdConfig
) -> PsfFit:
    """Fit the PSF to stars, if they are enough."""
    if len(stars) < config.psf.min_stars:
        message = (
            f"{len(stars)} sources are usable as PSF stars without cosmic rays on them, but "
            f"{config.psf.min_stars} are required"
        )
        raise TooFewSourcesError(message, n_sources=len(stars), n_required=config.psf.min_stars)
    return fit_psf(make_pixels(science, detections.segments), stars, _stellar_sigma(stars), config.psf)


def _stellar_sigma(stars: NDArray[np.void]) -> float:
    """Median width of the PSF stars [pixel]."""
    return float(np.median(np.sqrt((stars["ixx"] + stars["iyy"]) / 2)))
