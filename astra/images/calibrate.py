"""Sky positions and fluxes [nJy] of a catalogue: aperture correction, astrometry, photometric zero point."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.errors import AlgorithmError
from astra.images.aperture_correction import ApertureCorrection, fit_aperture_correction
from astra.images.astrometry import Astrometry, fit_astrometry
from astra.images.exposure import Exposure
from astra.images.failures import Attempts
from astra.images.measurement import aperture_suffix
from astra.images.photometry import ZeroPoint, fit_zero_point
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf_stars import is_isolated

MATCH_DTYPE = np.dtype(
    [
        *(("source_id", "i8"), ("reference_id", "i8")),
        *(
            (name, "f8")
            for name in ("x", "y", "separation_arcsec", "ra_residual_arcsec", "dec_residual_arcsec")
        ),
        ("mag_residual", "f8"),
        *((name, "?") for name in ("calib_astrometry_used", "calib_photometry_used")),
    ]
)


@dataclass(frozen=True)
class Calibration:
    """What was fitted to a catalogue; what found no solution is None.

    Parameters
    ----------
    aperture_correction : ApertureCorrection, optional
        Of the PSF fluxes.
    astrometry : Astrometry, optional
        WCS and matches; its indices are those of the catalogue and of the reference.
    zero_point : ZeroPoint, optional
        Flux scale.
    """

    aperture_correction: ApertureCorrection | None
    astrometry: Astrometry | None
    zero_point: ZeroPoint | None


def calibrate_sources(
    sources: NDArray[np.void],
    exposure: Exposure,
    reference: NDArray[np.void],
    config: ProcessCcdConfig,
    attempts: Attempts,
    *,
    has_psf: bool = True,
) -> Calibration:
    """Fill the catalogue's positions on the sky and its fluxes [nJy], in place.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        As `astra.images.measurement.measure_sources` makes them, with ``calib_psf_used``.
    exposure : Exposure
        With the initial WCS.
    reference : structured ndarray, shape (k,)
        Standards.
    config : ProcessCcdConfig
        Options.
    attempts : Attempts
        Takes the reasons of what cannot be fitted; the columns that need it stay NaN.
    has_psf : bool
        False if the sources were measured without a PSF of their own: their PSF fluxes are then unknown.
    """
    correction = None
    if has_psf:
        correction = _correct_psf_fluxes(sources, exposure.shape, config)
    else:
        _forget_psf_fluxes(sources)
    astrometry = attempts.attempt("wcs", lambda: _fit_astrometry(exposure, sources, reference, config))
    if astrometry is not None:
        set_sky_positions(sources, astrometry.wcs)
    zero_point = attempts.attempt(
        "photoCalib", lambda: _fit_zero_point(sources, reference, correction, astrometry, config)
    )
    if zero_point is not None:
        set_calibrated_fluxes(sources, zero_point.njy_per_count)
    return Calibration(correction, astrometry, zero_point)


def _correct_psf_fluxes(
    sources: NDArray[np.void], shape: tuple[int, int], config: ProcessCcdConfig
) -> ApertureCorrection:
    """Bring the PSF fluxes to the scale of the large aperture, in place."""
    column = f"apInstFlux_{aperture_suffix(config.aperture_correction_radius_pixel)}"
    correction = fit_aperture_correction(sources[sources["calib_psf_used"]], column, shape)
    factor, error = (find(sources["x"], sources["y"]) for find in (correction.at, correction.error_at))
    sources["psfInstFluxErr"] = np.hypot(factor * sources["psfInstFluxErr"], error * sources["psfInstFlux"])
    sources["psfInstFlux"] *= factor
    return correction


def _forget_psf_fluxes(sources: NDArray[np.void]) -> None:
    """Set to unknown, in place, what was measured with a guess of the PSF; S/N is that of the aperture."""
    for name in ("psfInstFlux", "psfInstFluxErr", "psfChi2", "ixxPSF", "iyyPSF", "ixyPSF", "extendedness"):
        sources[name] = np.nan
    sources["flag_psfFlux"] = True
    with np.errstate(invalid="ignore", divide="ignore"):
        sources["snr"] = sources["apInstFlux"] / sources["apInstFluxErr"]


def _fit_astrometry(
    exposure: Exposure, sources: NDArray[np.void], reference: NDArray[np.void], config: ProcessCcdConfig
) -> Astrometry:
    """Match the clean, bright sources to the standards and correct the WCS; indices are of the catalogues."""
    clean = (sources["snr"] > config.astrometry_min_snr) & ~sources["flag_centroid"] & ~sources["flag_edge"]
    clean &= ~sources["flag_saturated"] & ~sources["flag_interpolatedCenter"]
    clean &= is_isolated(sources, config.psf.isolation_pixel)  # a brighter neighbour pulls at the centroid
    index = np.flatnonzero(clean)
    chosen = sources[index]
    unknown = np.isnan(chosen["psfInstFlux"])
    chosen["psfInstFlux"][unknown] = chosen["apInstFlux"][unknown]
    stars = np.flatnonzero(reference["isStar"])
    fitted = fit_astrometry(chosen, reference[stars], exposure.wcs, exposure.shape, config.astrometry)
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
    sources: NDArray[np.void],
    reference: NDArray[np.void],
    correction: ApertureCorrection | None,
    astrometry: Astrometry | None,
    config: ProcessCcdConfig,
) -> ZeroPoint:
    """Zero point from the matched stars; marks those used."""
    if correction is None or astrometry is None:
        needed = "a PSF" if correction is None else "stars that match the reference catalogue"
        raise AlgorithmError(f"a photometric zero point needs {needed}, and there is none", needed=needed)
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


def make_matches(
    sources: NDArray[np.void], reference: NDArray[np.void], astrometry: Astrometry | None
) -> NDArray[np.void]:
    """List the pairs of sources and standards.

    Returns
    -------
    matches : structured ndarray, shape (m,)
        ``source_id``, ``reference_id``, ``x`` and ``y`` [pixel], ``separation_arcsec``, and source minus
        standard as ``ra_residual_arcsec`` (times cos(dec)), ``dec_residual_arcsec`` and ``mag_residual``
        (NaN without zero point); which pairs the fits used. Empty without a WCS.
    """
    if astrometry is None:
        return np.zeros(0, dtype=MATCH_DTYPE)
    matched, standards = sources[astrometry.source_index], reference[astrometry.reference_index]
    matches = np.zeros(len(matched), dtype=MATCH_DTYPE)
    matches["source_id"], matches["reference_id"] = matched["id"], standards["id"]
    for name in ("x", "y", "calib_astrometry_used", "calib_photometry_used"):
        matches[name] = matched[name]
    east = ((matched["ra"] - standards["ra"] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(standards["dec"]))
    matches["ra_residual_arcsec"] = 3600.0 * east
    matches["dec_residual_arcsec"] = 3600.0 * (matched["dec"] - standards["dec"])
    matches["separation_arcsec"] = np.hypot(matches["ra_residual_arcsec"], matches["dec_residual_arcsec"])
    with np.errstate(invalid="ignore", divide="ignore"):
        matches["mag_residual"] = -2.5 * np.log10(matched["psfFlux"] / standards["flux"])
    return matches
