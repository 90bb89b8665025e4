"""Match a catalogue to reference stars and correct the image's WCS.

The shift is where the offsets of all pairs within a search radius crowd most; a polynomial in the pixels, of
the degree that the data support, then corrects the given solution, whose distortion it thus keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.errors import TooFewSourcesError
from astra.images.psf import polynomial_powers
from astra.images.tan_sip import approximate_tan_sip, polynomial_design, project_gnomonic

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CLIP_ROUNDS = 3
CLIP_SIGMA = 4.0
BRIGHTEST = 500  # sources and references in the search for the shift
MATCHES_PER_TERM = 3
ARCSEC_PER_DEGREE = 3600.0


@dataclass(frozen=True)
class AstrometryConfig:
    """How to match and fit.

    Parameters
    ----------
    search_arcsec : float
        Largest error of the initial WCS.
    match_arcsec : float
        Match radius once the shift is known.
    floor_arcsec : float
        Error per axis of the reference positions and the atmosphere, added in quadrature to the centroids'.
    max_order : int
        Highest degree of the correction; the Bayesian information criterion chooses up to it.
    wcs_order : int
        Degree of the TAN-SIP solution that is returned.
    min_matches : int
        Fewer are an error.
    """

    search_arcsec: float = 12.0
    match_arcsec: float = 1.0
    floor_arcsec: float = 0.03
    max_order: int = 3
    wcs_order: int = 3
    min_matches: int = 6


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
        Mean correction along x and y [arcsec].
    scatter_ra_arcsec, scatter_dec_arcsec : float
        Standard deviation of source minus reference over the used pairs, ra times cos(dec) [arcsec].
    """

    wcs: WCS
    source_index: IntArray
    reference_index: IntArray
    used: NDArray[np.bool_]
    order: int
    offset_arcsec: tuple[float, float]
    scatter_ra_arcsec: float
    scatter_dec_arcsec: float


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
        Columns ``x``, ``y``, ``xErr``, ``yErr`` [pixel] and ``psfInstFlux``.
    reference : structured ndarray, shape (k,)
        Columns ``ra``, ``dec`` [deg] and ``flux``; those that fall far outside the image do no harm.
    wcs : astropy.wcs.WCS
        Initial solution.
    shape : tuple of int
        Rows and columns of the image [pixel].
    config : AstrometryConfig
        Radii and degrees.

    Returns
    -------
    astrometry : Astrometry

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_matches`` pairs are found or kept.
    """
    scale = pixel_scale_arcsec(wcs)
    xy = np.stack([sources["x"], sources["y"]], axis=-1)
    inside, expected = reference_on_image(reference, wcs, shape, config.search_arcsec / scale)
    flux = np.nan_to_num(sources["psfInstFlux"]), np.nan_to_num(reference["flux"][inside])
    radius = config.match_arcsec / scale
    shift = find_shift(
        xy[brightest(flux[0])], expected[brightest(flux[1])], config.search_arcsec / scale, radius
    )
    fit = _Correction.constant(shift, shape)
    error = np.hypot(np.hypot(sources["xErr"], sources["yErr"]) / np.sqrt(2.0), config.floor_arcsec / scale)
    pairs = _no_pairs()
    for _ in range(2):  # once with the shift, once with what it led to
        pairs = match_mutual(xy + fit(xy), expected, radius)
        fit = _choose_correction(xy[pairs[0]], expected[pairs[1]], error[pairs[0]], shape, config)
    new_wcs = approximate_tan_sip(fit.compose(wcs), order=max(config.wcs_order, fit.order), shape=shape)
    used = fit.used
    pairs = pairs[0], inside[pairs[1]]
    scatter = _scatter_arcsec(xy[pairs[0]][used], reference[pairs[1]][used], new_wcs)
    offset = fit(np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]]))[0] * scale
    return Astrometry(new_wcs, *pairs, used, fit.order, (float(offset[0]), float(offset[1])), *scatter)


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Side of a pixel [arcsec], from its area at the reference pixel."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * ARCSEC_PER_DEGREE


def reference_on_image(
    reference: NDArray[np.void], wcs: WCS, shape: tuple[int, int], margin_pixel: float
) -> tuple[IntArray, FloatArray]:
    """Find the reference stars on the image or a margin of it: their indices and positions [pixel]."""
    ny, nx = shape
    centre = wcs.all_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0)[0]
    reach = (np.hypot(nx, ny) / 2 + margin_pixel) * pixel_scale_arcsec(wcs) / ARCSEC_PER_DEGREE
    # all_world2pix diverges far from the image, so only stars near it are asked for.
    distance = np.hypot(*project_gnomonic(reference["ra"], reference["dec"], *centre))
    near = np.flatnonzero(distance < 1.05 * reach)
    if len(near) == 0:
        return near, np.zeros((0, 2))
    sky = np.stack([reference["ra"][near], reference["dec"][near]], axis=-1)
    xy: FloatArray = wcs.all_world2pix(sky, 0, quiet=True)
    inside = (xy >= -margin_pixel).all(axis=1) & (xy <= np.array([nx, ny]) - 1 + margin_pixel).all(axis=1)
    return near[inside], xy[inside]


def brightest(flux: FloatArray) -> IntArray:
    """Find the brightest `BRIGHTEST`; return their indices."""
    order: IntArray = np.argsort(-flux)[:BRIGHTEST]
    return order


def find_shift(xy: FloatArray, expected: FloatArray, search_pixel: float, clump_pixel: float) -> FloatArray:
    """Shift [pixel] from positions ``xy`` to ``expected`` that most pairs share, shape (2,).

    Neighbours are counted about each offset, so that no clump is split as by the bins of a histogram.
    """
    if len(xy) == 0 or len(expected) == 0:
        return np.zeros(2)
    close = cKDTree(xy).query_ball_point(expected, search_pixel)
    offsets = np.concatenate([expected[k] - xy[members] for k, members in enumerate(close)])
    if len(offsets) == 0:
        return np.zeros(2)
    crowd = cKDTree(offsets)
    neighbours = crowd.query_ball_point(offsets, clump_pixel, return_length=True)
    peak = offsets[int(np.argmax(neighbours))]
    shift: FloatArray = np.median(offsets[crowd.query_ball_point(peak, clump_pixel)], axis=0)
    return shift


def match_mutual(first: FloatArray, second: FloatArray, radius: float) -> tuple[IntArray, IntArray]:
    """Pairs that are each other's nearest within a radius; indices into both."""
    if len(first) == 0 or len(second) == 0:
        return _no_pairs()
    distance, nearest = cKDTree(first).query(second, distance_upper_bound=radius)
    _, back = cKDTree(second).query(first)
    index = np.flatnonzero(np.isfinite(distance))
    index = index[back[nearest[index]] == index]
    return nearest[index].astype(np.int64), index


def _no_pairs() -> tuple[IntArray, IntArray]:
    """No matches."""
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class _Correction:
    """Polynomial that is added to pixel positions before the initial WCS is applied."""

    coefficients: NDArray[np.floating[Any]]
    order: int
    shape: tuple[int, int]
    used: NDArray[np.bool_]
    criterion: float = np.inf

    @classmethod
    def constant(cls, shift: FloatArray, shape: tuple[int, int]) -> _Correction:
        """Make a mere shift."""
        return cls(shift[None], 0, shape, np.zeros(0, dtype=np.bool_))

    def __call__(self, xy: FloatArray) -> FloatArray:
        correction: FloatArray = _design(xy, self.order, self.shape) @ self.coefficients
        return correction

    def compose(self, wcs: WCS) -> Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
        """Return the mapping from pixels to the sky: this correction, then the initial WCS."""

        def to_sky(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
            xy = np.stack([x, y], axis=-1)
            ra, dec = wcs.all_pix2world(xy + self(xy), 0).T
            return ra, dec

        return to_sky


def _design(xy: FloatArray, order: int, shape: tuple[int, int]) -> FloatArray:
    """Polynomial terms in coordinates that run from -1 to 1 along the longer side."""
    half = max(shape) / 2
    u, v = (xy[:, 0] - (shape[1] - 1) / 2) / half, (xy[:, 1] - (shape[0] - 1) / 2) / half
    return polynomial_design(u, v, order)


def _choose_correction(
    xy: FloatArray,
    expected: FloatArray,
    error: FloatArray,
    shape: tuple[int, int],
    config: AstrometryConfig,
) -> _Correction:
    """Fit all affordable degrees and return the one with the least Bayesian information criterion."""
    if len(xy) < config.min_matches:
        message = (
            f"{len(xy)} sources match reference stars within {config.match_arcsec:g} arcsec, but "
            f"{config.min_matches} are required; check the reference catalogue's region and the initial WCS"
        )
        raise TooFewSourcesError(message, n_sources=len(xy), n_required=config.min_matches)
    fits = [
        _fit_correction(xy, expected, error, shape, order)
        for order in range(config.max_order + 1)
        if order == 0 or MATCHES_PER_TERM * len(polynomial_powers(order)) <= len(xy)
    ]
    return min(fits, key=lambda fit: fit.criterion)


def _fit_correction(
    xy: FloatArray, expected: FloatArray, error: FloatArray, shape: tuple[int, int], order: int
) -> _Correction:
    """Weighted, clipped least squares of one degree."""
    design, target = _design(xy, order, shape), expected - xy
    used = np.ones(len(xy), dtype=np.bool_)
    solution: NDArray[np.floating[Any]] = np.zeros((design.shape[1], 2))
    chi2 = np.zeros(len(xy))
    for _ in range(CLIP_ROUNDS):
        weight = used / error
        solution = np.linalg.lstsq(design * weight[:, None], target * weight[:, None], rcond=None)[0]
        chi2 = np.sum(((target - design @ solution) / error[:, None]) ** 2, axis=1)
        # Half the median of chi2 of two degrees of freedom is ln 2: scales wrong errors right.
        typical = max(float(np.median(chi2[used])) / (2.0 * np.log(2.0)), 1e-12)
        used = chi2 < CLIP_SIGMA**2 * typical
    # Clipped pairs count with the limit, so that clipping more is no way to a better fit.
    limited = np.minimum(chi2, CLIP_SIGMA**2)
    n = 2 * len(xy)
    criterion = n * np.log(max(float(np.mean(limited)), 1e-12)) + solution.size * np.log(n)
    return _Correction(solution, order, shape, used, float(criterion))


def _scatter_arcsec(xy: FloatArray, reference: NDArray[np.void], wcs: WCS) -> tuple[float, float]:
    """Return the standard deviations of source minus reference, ra times cos(dec) and dec [arcsec]."""
    ra, dec = wcs.all_pix2world(xy, 0).T
    dra = (ra - reference["ra"] + 180.0) % 360.0 - 180.0
    d_east = dra * np.cos(np.radians(dec)) * ARCSEC_PER_DEGREE
    d_north = (dec - reference["dec"]) * ARCSEC_PER_DEGREE
    return float(np.std(d_east)), float(np.std(d_north))
