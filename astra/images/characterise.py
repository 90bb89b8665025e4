"""First look at a CCD image: its PSF and where its sources lie, from what is bright."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astra.images.background import fit_background, subtract_background
from astra.images.cosmic_rays import CosmicRayConfig, repair_cosmic_rays
from astra.images.detection import extract_sources, filter_with_psf
from astra.images.exposure import Exposure
from astra.images.failures import Attempts
from astra.images.masks import grow_square
from astra.images.measurement import measure_candidates, positions_of
from astra.images.moments import Pixels
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf import Psf, gaussian_psf
from astra.images.psf_fit import PsfFit, fit_psf
from astra.images.psf_stars import select_psf_stars

FloatArray = NDArray[np.float64]

GUESSED_PSF_FRACTION = 0.35  # for the first cosmic rays: spares stars narrower than the guessed PSF
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
    exposure : Exposure, optional
        Sky subtracted for the first time [adu], with the fitted PSF; None unless it was to be kept.
    sources : structured ndarray, shape (m,)
        Bright sources, as measured with the PSF that the pass began with.
    n_cosmic_rays : int, optional
        Events; None if they were not looked for.
    """

    psf: Psf
    psf_fit: PsfFit | None
    star_positions: FloatArray
    footprints: NDArray[np.bool_]
    exposure: Exposure | None
    sources: NDArray[np.void]
    n_cosmic_rays: int | None


def characterise(
    exposure: Exposure, config: ProcessCcdConfig, attempts: Attempts
) -> tuple[Exposure, Characterisation]:
    """Repair cosmic rays and fit the PSF to bright stars, on a first subtraction of the sky.

    Parameters
    ----------
    exposure : Exposure
        Instrument signature removed, sky included; its PSF, if it has one, is the matched filter. Its
        planes are changed.
    config : ProcessCcdConfig
        Options.
    attempts : Attempts
        Takes the reasons if cosmic rays or PSF find no solution.

    Returns
    -------
    exposure : Exposure
        The same planes, cosmic rays replaced, sky included.
    characterisation : Characterisation
    """
    psf = exposure.psf or gaussian_psf(config.initial_fwhm_pixel)
    background = fit_background(exposure, mesh_pixel=config.background_mesh_pixel)
    careful = replace(config.cosmic_rays, psf_fraction=GUESSED_PSF_FRACTION)
    repair = _Repair(config, attempts)
    science = repair(subtract_background(exposure, background, overwrite=True), psf, careful)
    significance = filter_with_psf(science, psf)
    detections = extract_sources(
        significance,
        threshold=max(config.initial_threshold, config.threshold),
        min_pixels=config.min_pixels,
        deblend_rise=config.deblend_rise,
        deblend_contrast=config.deblend_contrast,
    )
    footprints = grow_square(significance > config.threshold, config.footprint_grow_pixel)
    sources, pixels = measure_candidates(science, psf, detections, config.measurement, config.psf.min_snr)
    del significance, detections  # as large as the image each, and the fit below takes as much
    fitted = attempts.attempt("psf", lambda: _fit(pixels, sources, config))
    psf_fit, stars = fitted or (None, sources[:0])
    if psf_fit is not None:
        psf = psf_fit.psf
        science = repair(science, psf, config.cosmic_rays)
    sources["calib_psf_used"] = np.isin(sources["id"], stars["id"])
    kept = science.copy().replace(psf=psf_fit and psf) if config.keep_first_pass else None
    np.add(science.image, background.model, out=science.image)
    return science, Characterisation(
        psf=psf,
        psf_fit=psf_fit,
        star_positions=positions_of(stars),
        footprints=footprints,
        exposure=kept,
        sources=sources,
        n_cosmic_rays=repair.n_events,
    )


class _Repair:
    """Replaces cosmic rays, unless that was done or is not wanted, and counts them.

    ``n_events`` is None as long as they were not looked for.
    """

    def __init__(self, config: ProcessCcdConfig, attempts: Attempts) -> None:
        self.wanted, self.attempts = config.repair_cosmic_rays, attempts
        self.n_events: int | None = None

    def __call__(self, science: Exposure, psf: Psf, config: CosmicRayConfig) -> Exposure:
        if not self.wanted or (self.n_events is None and science.metadata.get(REPAIRED)):
            return science
        repaired = self.attempts.attempt(
            "cosmicRays", lambda: repair_cosmic_rays(science, psf, config, overwrite=True)
        )
        if repaired is None:
            self.wanted = False
            return science
        exposure, cosmic_rays = repaired
        self.n_events = (self.n_events or 0) + len(cosmic_rays)
        return exposure.replace(metadata={**exposure.metadata, REPAIRED: True})


def _fit(
    pixels: Pixels, sources: NDArray[np.void], config: ProcessCcdConfig
) -> tuple[PsfFit, NDArray[np.void]]:
    """Fit the PSF; return the stars behind it too."""
    stars = sources[select_psf_stars(sources, config.psf)]
    fit = fit_psf(pixels, stars, _stellar_sigma(stars), config.psf)
    return fit, stars[fit.used]


def _stellar_sigma(stars: NDArray[np.void]) -> float:
    """Median width of the PSF stars [pixel]."""
    return float(np.median(np.sqrt((stars["ixx"] + stars["iyy"]) / 2)))
