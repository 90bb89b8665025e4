"""Match a catalogue to reference stars and correct the image's WCS.

The alignment is found by votes (`astra.images.star_match`), made sure not to be by chance, and refined by a
polynomial in the pixels, of the degree that the data support; it corrects the given solution, whose
distortion it thus keeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.astrometry_fit import ARCSEC_PER_DEGREE, AstrometryConfig, Fitter, pixel_scale_arcsec
from astra.images.star_match import FloatArray, IntArray
from astra.images.tan_sip import approximate_tan_sip

MEASURED = ("x", "y", "xErr", "yErr")
MAX_WCS_ORDER = 5  # for first solutions of another form, such as TPV

__all__ = ["Astrometry", "AstrometryConfig", "fit_astrometry", "pixel_scale_arcsec"]


@dataclass(frozen=True)
class Astrometry:
    """A corrected WCS and the matches behind it.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        TAN-SIP.
    source_index, reference_index : int64 ndarray, shape (m,)
        The matched pairs.
    used : bool ndarray, shape (m,)
        Pairs that survived the clipping.
    order : int
        Degree of the correction.
    offset_arcsec : tuple of float
        Correction along x and y in the middle of the image [arcsec].
    scatter_ra_arcsec, scatter_dec_arcsec : float
        Standard deviation of source minus reference over the used pairs, ra times cos(dec) [arcsec].
    floor_arcsec : float
        Error per axis beside the centroids' own that the residuals show [arcsec].
    chance : float
        Probability that the matches came by accident.
    """

    wcs: WCS
    source_index: IntArray
    reference_index: IntArray
    used: NDArray[np.bool_]
    order: int
    offset_arcsec: tuple[float, float]
    scatter_ra_arcsec: float
    scatter_dec_arcsec: float
    floor_arcsec: float
    chance: float


def fit_astrometry(
    sources: NDArray[np.void],
    reference: NDArray[np.void],
    wcs: WCS,
    shape: tuple[int, int],
    config: AstrometryConfig,
) -> Astrometry:
    """Match sources to reference stars and fit the WCS.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        Columns ``x``, ``y``, ``xErr``, ``yErr`` [pixel] and ``psfInstFlux``; those without a position or its
        errors are left out. With ``extendedness``, sources that look extended get an error of their own.
    reference : structured ndarray, shape (k,)
        Columns ``ra``, ``dec`` [deg] and ``flux``; those that fall far outside the image do no harm.
    wcs : astropy.wcs.WCS
        Initial solution.
    shape : tuple of int
        Rows and columns of the image [pixel].
    config : AstrometryConfig
        Limits and degrees.

    Returns
    -------
    astrometry : Astrometry

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_matches`` pairs are found.
    NotConvergedError
        If no alignment within the limits has more matches than come by accident.
    """
    scale = pixel_scale_arcsec(wcs)
    measured = np.flatnonzero(np.all([np.isfinite(sources[name]) for name in MEASURED], axis=0))
    fitter = Fitter.prepare(sources[measured], reference, wcs, shape, config)
    fitted = fitter.solve()
    fit, (first, second) = fitted.correction, fitted.pairs
    degree = max(config.wcs_order, fit.order, _distortion_order(wcs))
    new_wcs = approximate_tan_sip(fit.compose(wcs), order=degree, shape=shape, max_order=MAX_WCS_ORDER)
    second = fitter.inside[second]
    scatter = _scatter_arcsec(fitter.xy[first[fit.used]], reference[second[fit.used]], new_wcs)
    offset = fit(np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]]))[0] * scale
    return Astrometry(
        wcs=new_wcs,
        source_index=measured[first],
        reference_index=second,
        used=fit.used,
        order=fit.order,
        offset_arcsec=(float(offset[0]), float(offset[1])),
        scatter_ra_arcsec=scatter[0],
        scatter_dec_arcsec=scatter[1],
        floor_arcsec=fitted.floor_pixel * scale,
        chance=fitted.chance,
    )


def _distortion_order(wcs: WCS) -> int:
    """Degree of the SIP polynomials of a solution; 1 without."""
    return 1 if wcs.sip is None else max(int(wcs.sip.a_order or 1), int(wcs.sip.b_order or 1))


def _scatter_arcsec(xy: FloatArray, reference: NDArray[np.void], wcs: WCS) -> tuple[float, float]:
    """Return the standard deviations of source minus reference, ra times cos(dec) and dec [arcsec]."""
    ra, dec = wcs.all_pix2world(xy, 0).T
    dra = (ra - reference["ra"] + 180.0) % 360.0 - 180.0
    d_east = dra * np.cos(np.radians(dec)) * ARCSEC_PER_DEGREE
    d_north = (dec - reference["dec"]) * ARCSEC_PER_DEGREE
    return float(np.std(d_east)), float(np.std(d_north))
