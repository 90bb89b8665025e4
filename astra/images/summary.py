"""Summary statistics of one detector of one visit, spelled as in the Rubin data products.

A statistic whose ingredient is missing is NaN; `why_missing` says which ingredient that is. Counts are in the
unit of the raw image [adu] also where the image is calibrated already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.aperture_correction import ApertureCorrection
from astra.images.astrometry_fit import ARCSEC_PER_DEGREE, reference_on_image
from astra.images.exposure import NJY_AB_ZERO_POINT_MAG, Exposure, MaskPlane
from astra.images.fiducial import Fiducial
from astra.images.measurement import positions_of
from astra.images.psf import Psf
from astra.images.psf_statistics import (
    clean_psf_stars,
    farthest_from_stars,
    psf_at_centre,
    psf_ranges,
    psf_star_figures,
    residual_correlations,
)
from astra.images.tan_sip import project_gnomonic

NO_SKY = np.uint32(MaskPlane.NO_DATA | MaskPlane.SUSPECT)
CLIP_SIGMA = 3.0
CLIP_ROUNDS = 2
SKY_PIXELS = 1 << 17  # that the noise is taken from, regularly spaced
IQR_PER_SIGMA = 1.349
_TE = [f"psfTE{k}{part}" for k in range(1, 5) for part in ("e1", "e2", "ex")]
_DELTAS = [f"psfStarDelta{name}{kind}" for name in ("E1", "E2", "Size") for kind in ("Median", "Scatter")]
_HIGHER = ["Coma1", "Coma2", "Trefoil1", "Trefoil2", "Kurtosis", "E41", "E42"]
_CORNERS = [f"{name}Corners{k}" for k in range(1, 5) for name in ("ra", "dec")]

# What each statistic needs.
INGREDIENTS: Mapping[str, str] = {
    **dict.fromkeys(("psfSigma", "psfIxx", "psfIyy", "psfIxy", "psfArea"), "a PSF"),
    **dict.fromkeys(("psfTraceRadiusDelta", "psfApFluxDelta"), "a PSF and good pixels"),
    "psfApCorrSigmaScaledDelta": "a PSF, an aperture correction and good pixels",
    "nPsfStar": "sources",
    **dict.fromkeys((*_DELTAS, "psfStarScaledDeltaSizeScatter"), "sources with clean PSF stars"),
    **dict.fromkeys(("starEMedian", "starUnNormalizedEMedian"), "sources with clean PSF stars"),
    **{f"star{name}Median": "sources with third and fourth moments" for name in _HIGHER},
    **dict.fromkeys(_TE, "pairs of clean PSF stars at such separations, and a WCS"),
    "maxDistToNearestPsf": "clean PSF stars and good pixels",
    **dict.fromkeys(("ra", "dec", "pixelScale", *_CORNERS), "a WCS"),
    "zenithDistance": "the zenith distance",
    "zeroPoint": "a zero point",
    "skyBg": "the sky level",
    **dict.fromkeys(("skyNoise", "meanVar"), "good pixels, and for a calibrated image the zero point"),
    "magLim": "a PSF, the sky level, a zero point, and the read noise or the variance",
    "effTime": "magLim and the band's fiducial depth and exposure time",
    "effTimePsfSigmaScale": "a PSF and the band's fiducial width",
    "effTimeSkyBgScale": "the sky level and the band's fiducial sky",
    "effTimeZeroPointScale": "a zero point and the band's fiducial one",
    **dict.fromkeys(("astromOffsetMean", "astromOffsetStd"), "matches with the reference catalogue"),
    "expTime": "a positive exposure time",
    **dict.fromkeys(("nSources", "nStars", "nAstrometryUsed", "nPhotometryUsed"), "sources"),
    "refCatSourceDensity": "the reference catalogue and a WCS",
}


@dataclass(frozen=True)
class SummaryConfig:
    """Options of `summarise`.

    Parameters
    ----------
    mag_lim_snr : float
        S/N of a point source at the depth.
    fiducials : mapping of str to Fiducial
        By band; without that of a band there are no effective times.
    """

    mag_lim_snr: float = 5.0
    fiducials: Mapping[str, Fiducial] = field(default_factory=dict)


def summarise(
    exposure: Exposure,
    sources: NDArray[np.void] | None = None,
    *,
    psf: Psf | None = None,
    wcs: WCS | None = None,
    aperture_correction: ApertureCorrection | None = None,
    njy_per_adu: float | None = None,
    sky_adu: float | None = None,
    read_noise_electron: float | None = None,
    matches: NDArray[np.void] | None = None,
    reference: NDArray[np.void] | None = None,
    config: SummaryConfig | None = None,
) -> dict[str, float]:
    """Summarise what is known of an exposure.

    Parameters
    ----------
    exposure : Exposure
        Sky subtracted [adu or nJy].
    sources : structured ndarray, shape (n,), optional
        As `astra.images.measurement.measure_sources` returns them, with the ``calib_*`` flags.
    psf : Psf, optional
        Default: that of the exposure.
    wcs : astropy.wcs.WCS, optional
        Default: that of the exposure.
    aperture_correction : ApertureCorrection, optional
        Of the PSF fluxes.
    njy_per_adu : float, optional
        Zero point [nJy/adu].
    sky_adu : float, optional
        Level of the sky that was subtracted [adu].
    read_noise_electron : float, optional
        [e-]; without it, the variance plane tells the noise of blank sky.
    matches : structured ndarray, shape (m,), optional
        As `astra.images.calibrate.make_matches` makes them.
    reference : structured ndarray, shape (k,), optional
        Reference catalogue: ``ra``, ``dec`` [deg].
    config : SummaryConfig, optional
        Options.

    Returns
    -------
    summary : dict of str to float
        A value for each of `INGREDIENTS`, NaN where an ingredient is missing. Of ``raCorners`` and
        ``decCorners`` those at the least x and y, then counter-clockwise.
    """
    config, psf, wcs = config or SummaryConfig(), psf or exposure.psf, wcs or exposure.wcs
    summary = dict.fromkeys(INGREDIENTS, math.nan)
    known = {"zenithDistance": exposure.info.zenith_distance_deg, "skyBg": sky_adu}
    summary |= {name: float(value) for name, value in known.items() if value is not None}
    if exposure.info.exposure_time_s > 0:
        summary["expTime"] = float(exposure.info.exposure_time_s)
    if njy_per_adu is not None and njy_per_adu > 0:
        summary["zeroPoint"] = NJY_AB_ZERO_POINT_MAG - 2.5 * math.log10(njy_per_adu)
    summary |= _pixel_figures(exposure, njy_per_adu)
    if psf is not None:
        summary |= psf_at_centre(psf, exposure.shape)
        summary |= psf_ranges(psf, exposure.mask, aperture_correction, summary["psfSigma"])
    if wcs is not None:
        summary |= _wcs_figures(wcs, exposure.shape)
    if sources is not None:
        summary |= _source_figures(sources, exposure, summary["pixelScale"])
    if matches is not None and matches["calib_astrometry_used"].any():
        offsets = matches["separation_arcsec"][matches["calib_astrometry_used"]]
        summary |= {"astromOffsetMean": float(offsets.mean()), "astromOffsetStd": float(offsets.std())}
    if reference is not None and wcs is not None:
        summary["refCatSourceDensity"] = _density(reference, wcs, exposure.shape)
    summary["magLim"] = _mag_lim(summary, exposure.gain, read_noise_electron, config.mag_lim_snr)
    return summary | _effective_times(summary, config.fiducials.get(exposure.info.band))


def why_missing(summary: Mapping[str, float]) -> dict[str, str]:
    """Say of each statistic that is NaN what it needs."""
    return {name: f"needs {INGREDIENTS[name]}" for name, value in summary.items() if math.isnan(value)}


def magnitude_limit(
    sky_variance: float, psf_area: float, zero_point: float, gain: float, snr: float = 5.0
) -> float:
    """Magnitude of a point source that has a given S/N (LSST SMTN-002; LSE-40, equation 45).

    Parameters
    ----------
    sky_variance : float
        Of a pixel without sources [adu**2].
    psf_area : float
        Effective area of the PSF [pixel**2].
    zero_point : float
        Magnitude of a source of 1 adu [AB mag].
    gain : float
        [e-/adu]
    snr : float, optional
        S/N.
    """
    own = snr**2 / (2.0 * gain)  # of the source's photons
    return zero_point - 2.5 * math.log10(own + math.sqrt(own**2 + snr**2 * sky_variance * psf_area))


def _pixel_figures(exposure: Exposure, njy_per_adu: float | None) -> dict[str, float]:
    """Noise of the sky [adu] and mean variance [adu**2]."""
    scale = 1.0 if exposure.unit == "adu" else njy_per_adu
    if not scale:
        return {}
    # An odd step, so that no column pattern is in step with it.
    step = int(math.sqrt(exposure.image.size / SKY_PIXELS)) // 2 * 2 + 1
    sampled = (slice(None, None, step), slice(None, None, step))
    image, variance = exposure.image[sampled], exposure.variance[sampled]
    good = ((exposure.mask[sampled] & NO_SKY) == 0) & np.isfinite(image) & (variance > 0)
    if good.sum() < 2:
        return {}
    noise, mean_variance = float(np.std(_clipped(image[good]))), float(np.mean(_clipped(variance[good])))
    return {"skyNoise": noise / scale, "meanVar": mean_variance / scale**2}


def _clipped(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Values within some standard deviations of the mean, at first by the quartiles."""
    quartiles = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    centre, sigma = quartiles[1], (quartiles[2] - quartiles[0]) / IQR_PER_SIGMA
    kept = values.astype(np.float64)
    for _ in range(CLIP_ROUNDS):
        kept = kept[np.abs(kept - centre) <= CLIP_SIGMA * sigma]
        centre, sigma = float(np.mean(kept)), float(np.std(kept))
    return kept


def _wcs_figures(wcs: WCS, shape: tuple[int, int]) -> dict[str, float]:
    """Centre and corners [deg] and the scale in the middle [arcsec/pixel]."""
    ny, nx = shape
    middle_x, middle_y = (nx - 1) / 2, (ny - 1) / 2
    # The corners, the middle, and half a pixel to all its sides.
    x = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5, *(middle_x + np.array([0.0, 0.5, -0.5, 0.0, 0.0]))])
    y = np.array([-0.5, -0.5, ny - 0.5, ny - 0.5, *(middle_y + np.array([0.0, 0.0, 0.0, 0.5, -0.5]))])
    ra, dec = wcs.all_pix2world(x, y, 0)
    xi, eta = project_gnomonic(ra[5:], dec[5:], float(ra[4]), float(dec[4]))
    area = (xi[0] - xi[1]) * (eta[2] - eta[3]) - (xi[2] - xi[3]) * (eta[0] - eta[1])
    figures = {"ra": float(ra[4]) % 360.0, "dec": float(dec[4])}
    figures["pixelScale"] = math.sqrt(abs(area)) * ARCSEC_PER_DEGREE
    for k in range(4):
        figures[f"raCorners{k + 1}"], figures[f"decCorners{k + 1}"] = float(ra[k]) % 360.0, float(dec[k])
    return figures


def _source_figures(sources: NDArray[np.void], exposure: Exposure, scale_arcsec: float) -> dict[str, float]:
    """Numbers of sources, and what the stars of the PSF tell."""
    figures = {
        "nSources": float(len(sources)),
        "nStars": float(np.sum(sources["extendedness"] == 0)),
        "nAstrometryUsed": float(sources["calib_astrometry_used"].sum()),
        "nPhotometryUsed": float(sources["calib_photometry_used"].sum()),
        **psf_star_figures(sources),
    }
    if not math.isnan(scale_arcsec):
        figures |= residual_correlations(sources, scale_arcsec)
    stars = positions_of(clean_psf_stars(sources))
    return {**figures, "maxDistToNearestPsf": farthest_from_stars(exposure.mask, stars)}


def _density(reference: NDArray[np.void], wcs: WCS, shape: tuple[int, int]) -> float:
    """Count the reference stars on the image in a square degree."""
    index, _ = reference_on_image(reference, wcs, shape, 0.0)
    return float(len(index) / (abs(np.linalg.det(wcs.pixel_scale_matrix)) * shape[0] * shape[1]))


def _mag_lim(
    summary: Mapping[str, float], gain: float, read_noise_electron: float | None, snr: float
) -> float:
    """Depth; NaN if an ingredient is missing."""
    if read_noise_electron is None:
        sky_variance = summary["meanVar"]
    else:
        sky_variance = summary["skyBg"] / gain + (read_noise_electron / gain) ** 2
    needed = sky_variance, summary["psfArea"], summary["zeroPoint"]
    return magnitude_limit(*needed, gain, snr) if np.isfinite(needed).all() and sky_variance > 0 else math.nan


def _effective_times(summary: Mapping[str, float], fiducial: Fiducial | None) -> dict[str, float]:
    """Time that fiducial conditions would need for the same depth [s], and what it is made of."""
    if fiducial is None:
        return {}
    exposure_time, sky = summary["expTime"], summary["skyBg"]
    zero_point = summary["zeroPoint"] - 2.5 * math.log10(exposure_time)  # of a second; NaN without time
    sky_scale = fiducial.sky_adu_per_s * exposure_time / sky if sky > 0 else math.nan
    return {
        "effTime": fiducial.exposure_time_s * 10.0 ** (0.8 * (summary["magLim"] - fiducial.mag_lim)),
        "effTimePsfSigmaScale": (summary["psfSigma"] / fiducial.psf_sigma_pixel) ** -2,
        "effTimeSkyBgScale": sky_scale,
        "effTimeZeroPointScale": 10.0 ** (0.8 * (zero_point - fiducial.zero_point_mag)),
    }
