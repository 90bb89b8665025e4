"""Options of the calibration of one CCD image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from astra.images.astrometry_fit import AstrometryConfig
from astra.images.cosmic_rays import CosmicRayConfig
from astra.images.exposure import mask_bits
from astra.images.measurement import MeasurementConfig
from astra.images.photometry import ColorTerm
from astra.images.psf_stars import PsfFitConfig
from astra.images.summary import SummaryConfig


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
    initial_threshold : float
        Detection limit of the first pass, which looks for PSF stars: S/N of a point source.
    repair_cosmic_rays : bool
        Find cosmic rays and interpolate over them; not done again where a camera's frames come without.
    keep_first_pass : bool
        Keep the image of the first pass in the result.
    interpolate : bool
        Interpolate over bad pixels of the calibrated image, after the measurements, which leave them out.
        They get ``INTRP`` and keep what is wrong with them.
    interpolate_planes : tuple of str
        Mask planes of which this is true. Cosmic rays are replaced as soon as they are found.
    threshold : float
        Detection limit: S/N of a point source.
    min_pixels : int
        Connected pixels above the limit.
    deblend_rise, deblend_contrast : float
        How blends are split; see `astra.images.detection.detect_sources`.
    aperture_correction_radius_pixel : float
        Aperture that holds all the flux of a star; one of the measured radii [pixel].
    astrometry_min_snr, photometry_min_snr : float
        Least S/N of sources for the WCS and the zero point.
    photometry_max_err_mag : float
        Largest combined error of a star for the zero point [mag].
    photometry_min_stars : int
        Fewer stars than this for the zero point are an error.
    n_sky_sources : int
        Positions on blank sky where fluxes are measured: what those scatter more than the variance tells is
        added to the errors of the PSF fluxes; not if there are fewer than 100.
    measurement : MeasurementConfig
        Apertures.
    psf : PsfFitConfig
        PSF stars and model.
    astrometry : AstrometryConfig
        Matching and WCS.
    cosmic_rays : CosmicRayConfig
        What counts as a cosmic ray.
    summary : SummaryConfig
        Depth, and the conditions that exposures are compared with.
    color_terms : mapping of str to ColorTerm
        By band of the camera, from the bands of the reference catalogue; without one its flux in a band of
        that name is taken. `astra.images.process_ccd.process_ccd` gets the fluxes with them applied.
    """

    background_mesh_pixel: int = 64
    footprint_grow_pixel: int = 3
    initial_fwhm_pixel: float = 4.0
    initial_threshold: float = 10.0
    repair_cosmic_rays: bool = True
    keep_first_pass: bool = False
    interpolate: bool = True
    interpolate_planes: tuple[str, ...] = ("BAD", "SAT", "UNMASKEDNAN")
    threshold: float = 5.0
    min_pixels: int = 3
    deblend_rise: float = 0.75
    deblend_contrast: float = 0.02
    aperture_correction_radius_pixel: float = 12.0
    astrometry_min_snr: float = 20.0
    photometry_min_snr: float = 20.0
    photometry_max_err_mag: float = 0.05
    photometry_min_stars: int = 3
    n_sky_sources: int = 1000
    measurement: MeasurementConfig = field(default_factory=MeasurementConfig)
    psf: PsfFitConfig = field(default_factory=PsfFitConfig)
    astrometry: AstrometryConfig = field(default_factory=AstrometryConfig)
    cosmic_rays: CosmicRayConfig = field(default_factory=CosmicRayConfig)
    summary: SummaryConfig = field(default_factory=SummaryConfig)
    color_terms: Mapping[str, ColorTerm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mask_bits(self.interpolate_planes)
