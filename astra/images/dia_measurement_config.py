"""Options of the measurement of detections on a difference image."""

from __future__ import annotations

from dataclasses import dataclass, field

# What Rubin leaves out of its catalogue, as far as it is not left out at detection.
RUBIN_REMOVED_FLAGS = (
    "pixelFlags_offimage",
    "pixelFlags_interpolatedCenterAll",
    "pixelFlags_badCenter",
    "pixelFlags_edgeCenter",
    "pixelFlags_nodataCenter",
    "pixelFlags_saturatedCenter",
    "pixelFlags_sat_templateCenter",
    "pixelFlags_spikeCenter",
)


@dataclass(frozen=True)
class DipoleConfig:
    """How dipoles are fitted and told from other sources.

    Parameters
    ----------
    input_weight : float
        Factor on the residuals of science image and matched template, in units of their errors; 0 leaves
        them out.
    max_shift_sigma : float
        Largest distance of a lobe from its peak along either axis, in widths of the PSF.
    max_separation_sigma : float
        Largest distance of the lobes, in widths of the PSF.
    min_lobe_snr : float
        Least signal to noise of either lobe of a dipole, on the difference alone.
    max_flux_fraction : float
        Largest share of the brighter lobe of a dipole in the flux of both.
    """

    input_weight: float = 0.5
    max_shift_sigma: float = 5.0
    max_separation_sigma: float = 5.0
    min_lobe_snr: float = 5.0
    max_flux_fraction: float = 0.65


@dataclass(frozen=True)
class DiaMeasurementConfig:
    """How detections on a difference are measured.

    Parameters
    ----------
    aperture_radius_pixel : float
        Radius of the aperture flux [pixel].
    dipole_candidate_snr : float
        Least signal to noise of the peak of the other sign for a dipole to be fitted.
    dipole : DipoleConfig
        How dipoles are fitted.
    removed_flags : tuple of str
        Detections with any of these flags are left out, as with `RUBIN_REMOVED_FLAGS`; none by default, since
        association has a rule of its own.
    """

    aperture_radius_pixel: float = 6.0
    dipole_candidate_snr: float = 4.0
    dipole: DipoleConfig = field(default_factory=DipoleConfig)
    removed_flags: tuple[str, ...] = ()
