"""Choose point sources and fit the PSF to them.

Each star is shifted to the middle of its stamp and scaled to unit flux, and every pixel of the stamp is
fitted by a polynomial in position; wings, where single stars carry no information, share one constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astra.errors import TooFewSourcesError
from astra.images.measurement import FOOTPRINT_FLAGS, positions_of
from astra.images.moments import Pixels
from astra.images.psf import Psf, polynomial_powers
from astra.images.stamps import cut_stamps, shift_stamps
from astra.images.tan_sip import polynomial_design

FloatArray = NDArray[np.float64]

STARS_PER_TERM = 4  # fewer stars than this per polynomial term lower the order
CLIP_ROUNDS = 4
PIXEL_CLIP_SIGMA = 5.0
MODEL_ERROR = 0.02  # of the model's value; keeps the bright cores from being clipped
STAR_CLIP_SIGMA = 4.0
SIZE_SCATTER = 0.02  # least relative scatter of stellar sizes; keeps a perfect image from losing its stars
SIZE_CLIP_SIGMA = 4.0
NEIGHBOUR_FRACTION = 0.1  # of the star's flux: fainter neighbours do no harm
RIM_FRACTION = 0.9  # of half the stamp: beyond it, the sky is taken
CORE_RADIUS_SIGMA = 3.0  # within which residuals of a star are judged


@dataclass(frozen=True)
class PsfFitConfig:
    """How to choose stars and fit the PSF.

    Parameters
    ----------
    size_pixel : int
        Side of the PSF stamp, odd [pixel].
    order : int
        Highest total degree of the variation over the image.
    min_snr : float
        Least S/N of a PSF star.
    max_stars, min_stars : int
        The brightest so many are used; fewer than ``min_stars`` are an error.
    isolation_pixel : float
        No neighbour brighter than a tenth of the star may be nearer than this [pixel].
    core_sigma : float
        The PSF varies within this many sigma of its centre, and is constant outside.
    """

    size_pixel: int = 41
    order: int = 2
    min_snr: float = 50.0
    max_stars: int = 300
    min_stars: int = 8
    isolation_pixel: float = 9.0
    core_sigma: float = 4.0


@dataclass(frozen=True)
class PsfFit:
    """A PSF, the stars that made it, and how well it fits them.

    Parameters
    ----------
    psf : Psf
        The model.
    used : bool ndarray, shape (n,)
        Which of the given stars survived the clipping.
    residual : float
        Median over the stars of the rms residual in the core, as a fraction of the peak.
    """

    psf: Psf
    used: NDArray[np.bool_]
    residual: float


def select_psf_stars(sources: NDArray[np.void], config: PsfFitConfig) -> NDArray[np.bool_]:
    """Choose bright, clean, isolated sources of the commonest size.

    Parameters
    ----------
    sources : structured ndarray, shape (n,)
        As `astra.images.measurement.measure_sources` returns them.
    config : PsfFitConfig
        Limits.

    Returns
    -------
    chosen : bool ndarray, shape (n,)

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_stars`` remain.
    """
    clean = sources["snr"] > config.min_snr
    for name in [*FOOTPRINT_FLAGS, "flag_edge", "flag_centroid", "flag_shape", "flag_psfFlux"]:
        clean &= ~sources[name]
    clean &= is_isolated(sources, config.isolation_pixel)
    index = np.flatnonzero(clean)
    size = np.sqrt((sources["ixx"][index] + sources["iyy"][index]) / 2).astype(np.float64)
    index = index[is_common_size(size)]
    index = index[np.argsort(-sources["snr"][index])][: config.max_stars]
    if len(index) < config.min_stars:
        message = (
            f"{len(index)} sources are usable as PSF stars (S/N > {config.min_snr:g}, clean, isolated), but "
            f"{config.min_stars} are required; {int(np.sum(sources['snr'] > config.min_snr))} of "
            f"{len(sources)} sources are bright enough"
        )
        raise TooFewSourcesError(message, n_sources=len(index), n_required=config.min_stars)
    chosen = np.zeros(len(sources), dtype=np.bool_)
    chosen[index] = True
    return chosen


def is_isolated(sources: NDArray[np.void], radius_pixel: float) -> NDArray[np.bool_]:
    """Tell which sources have no neighbour of a tenth of their flux within a radius [pixel]."""
    isolated = np.ones(len(sources), dtype=np.bool_)
    if len(sources) < 2:
        return isolated
    pairs = cKDTree(positions_of(sources)).query_pairs(radius_pixel, output_type="ndarray")
    flux = np.nan_to_num(sources["psfInstFlux"])
    for first, second in (pairs.T, pairs.T[::-1]):
        disturbed = flux[second] > NEIGHBOUR_FRACTION * flux[first]
        isolated[first[disturbed]] = False
    return isolated


def is_common_size(size: FloatArray) -> NDArray[np.bool_]:
    """Members of the densest clump of sizes [pixel]: the stars, for galaxies scatter widely."""
    if len(size) < 3:
        return np.ones(len(size), dtype=np.bool_)
    centre = half_sample_mode(size)
    chosen = np.abs(size - centre) < 0.1 * centre
    for _ in range(CLIP_ROUNDS):
        deviation = np.abs(size - np.median(size[chosen]))
        scatter = max(1.4826 * float(np.median(deviation[chosen])), SIZE_SCATTER * centre)
        chosen = deviation < SIZE_CLIP_SIGMA * scatter
    return chosen


def half_sample_mode(values: FloatArray) -> float:
    """Mode of a sample: the densest half of the densest half and so on (Bickel & Fruehwirth 2006)."""
    ordered = np.sort(values)
    while len(ordered) > 3:
        half = (len(ordered) + 1) // 2
        width = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        start = int(np.argmin(width))
        ordered = ordered[start : start + half]
    return float(np.median(ordered))


def fit_psf(pixels: Pixels, stars: NDArray[np.void], sigma: float, config: PsfFitConfig) -> PsfFit:
    """Fit a spatially varying PSF to stars.

    Parameters
    ----------
    pixels : Pixels
        Image, variance and owners; see `astra.images.measurement.make_pixels`.
    stars : structured ndarray, shape (n,)
        Rows of the catalogue with ``id``, ``x`` and ``y``.
    sigma : float
        Width of the PSF, roughly [pixel].
    config : PsfFitConfig
        Stamp size and order.

    Returns
    -------
    fit : PsfFit

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_stars`` survive the clipping.
    """
    stamps = _StarStamps.cut(pixels, stars, config.size_pixel)
    order = affordable_order(len(stars), config.order)
    ny, nx = pixels.image.shape
    centre, scale = ((nx - 1) / 2, (ny - 1) / 2), max(nx, ny) / 2
    design = polynomial_design((stars["x"] - centre[0]) / scale, (stars["y"] - centre[1]) / scale, order)
    radius = _radius(config.size_pixel)
    taper = np.clip(1.5 - radius / (2.0 * config.core_sigma * sigma), 0.0, 1.0)
    used = np.ones(len(stars), dtype=np.bool_)
    usable = stamps.usable
    model = stamps.shift(np.exp(-0.5 * (radius / sigma) ** 2)[None] / (2.0 * np.pi * sigma**2))
    coefficients, residual = np.zeros((1, *radius.shape)), np.zeros(len(stars))
    for _ in range(CLIP_ROUNDS):
        flux, sky, flux_err = stamps.fit_amplitudes(model, usable)
        normal = (stamps.values - sky[:, None, None]) / flux[:, None, None]
        centred = stamps.unshift(np.where(usable, normal, model))
        coefficients = _fit_pixels(centred, used * flux / flux_err, design, taper)
        at_stars = np.tensordot(design, coefficients, axes=1)
        residual = _core_residual(centred, at_stars, radius <= CORE_RADIUS_SIGMA * sigma)
        used = _keep_stars(residual, flux_err / flux, config.min_stars)
        model = stamps.shift(at_stars)
        usable = stamps.usable & stamps.is_plausible(model, flux, sky)
    psf = Psf(coefficients, order=order, x_centre=centre[0], y_centre=centre[1], scale=scale)
    return PsfFit(psf, used, float(np.median(residual[used])))


def affordable_order(n_stars: int, order: int) -> int:
    """Highest total degree up to ``order`` for which every term has some stars."""
    return max(k for k in range(order + 1) if k == 0 or STARS_PER_TERM * len(polynomial_powers(k)) <= n_stars)


@dataclass(frozen=True)
class _StarStamps:
    """Stamps of stars as they fall on the pixels, (n, size, size), and their sub-pixel offsets, (n,)."""

    values: FloatArray
    variance: FloatArray
    usable: NDArray[np.bool_]
    dx: FloatArray
    dy: FloatArray

    @classmethod
    def cut(cls, pixels: Pixels, stars: NDArray[np.void], size: int) -> _StarStamps:
        """Cut them out; pixels of neighbours, unusable ones and those outside the image are not usable."""
        columns, rows = np.rint(stars["x"]).astype(np.int64), np.rint(stars["y"]).astype(np.int64)
        values = cut_stamps(pixels.image, columns, rows, size)
        variance = cut_stamps(pixels.variance, columns, rows, size)
        owners = cut_stamps(pixels.owner, columns, rows, size)
        usable = (
            ((owners == 0) | (owners == stars["id"][:, None, None])) & np.isfinite(values) & (variance > 0)
        )
        return cls(
            values=np.where(usable, values, 0.0),
            variance=np.where(usable, variance, 1.0),
            usable=usable,
            dx=stars["x"] - columns,
            dy=stars["y"] - rows,
        )

    def shift(self, stamps: FloatArray) -> FloatArray:
        """Move centred stamps (or one for all) to where the stars are, at unit sum."""
        stamps = stamps / stamps.sum(axis=(1, 2), keepdims=True)
        return shift_stamps(np.broadcast_to(stamps, self.values.shape), self.dx, self.dy)

    def unshift(self, stamps: FloatArray) -> FloatArray:
        """Move stamps of the stars to the centre."""
        return shift_stamps(stamps, -self.dx, -self.dy)

    def fit_amplitudes(
        self, model: FloatArray, usable: NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Flux, local sky and error of the flux of each star.

        The sky is that of the stamp's rim, where the PSF is taken to be zero: fitted together with the flux
        it would trade places with the PSF's own wings.
        """
        rim = _radius(model.shape[1]) > RIM_FRACTION * model.shape[1] / 2
        sky = _masked_median(self.values[:, rim], usable[:, rim])
        p = np.where(usable, model, 0.0)
        sum_pp = np.maximum(np.einsum("kij,kij->k", p, p), 1e-12)
        flux = np.einsum("kij,kij->k", p, self.values - sky[:, None, None]) / sum_pp
        error = np.sqrt(np.einsum("kij,kij,kij->k", p, p, self.variance)) / sum_pp
        floor = 1e-3 * float(np.median(np.abs(flux)))  # a star without signal must not divide by zero
        return np.maximum(flux, max(floor, 1e-12)), sky, error

    def is_plausible(self, model: FloatArray, flux: FloatArray, sky: FloatArray) -> NDArray[np.bool_]:
        """Pixels that agree with the model within noise and model error: not those of a faint neighbour."""
        expected = flux[:, None, None] * model + sky[:, None, None]
        tolerance = np.sqrt(self.variance + (5.0 * MODEL_ERROR * flux[:, None, None] * model) ** 2)
        plausible: NDArray[np.bool_] = np.abs(self.values - expected) < PIXEL_CLIP_SIGMA * tolerance
        return plausible


def _masked_median(values: FloatArray, usable: NDArray[np.bool_]) -> FloatArray:
    """Median of each row over its usable items; 0 for a row without any."""
    masked = np.where(usable, values, np.nan)
    masked[~usable.any(axis=1)] = 0.0
    median: FloatArray = np.nanmedian(masked, axis=1)
    return median


def _radius(size: int) -> FloatArray:
    """Distance of each pixel of a stamp from its middle [pixel]."""
    offset = np.arange(size) - size // 2
    distance: FloatArray = np.hypot(offset[:, None], offset[None, :])
    return distance


def _fit_pixels(centred: FloatArray, snr: FloatArray, design: FloatArray, taper: FloatArray) -> FloatArray:
    """Weighted polynomial of each pixel; towards the wings it gives way to the weighted mean.

    In the core the stars differ by more than their noise, so none may outweigh the rest; in the wings only
    the brightest rise above the noise and the errors of the sky.
    """
    n, size = len(centred), centred.shape[1]
    pixels = centred.reshape(n, -1)
    weight = 1.0 / np.hypot(1.0 / np.maximum(snr, 1e-6), MODEL_ERROR) * (snr > 0)
    solution = np.linalg.pinv(weight[:, None] * design) @ (weight[:, None] * pixels)
    constant = (snr**2 @ pixels / np.sum(snr**2)).reshape(size, size)
    coefficients: FloatArray = taper * solution.reshape(-1, size, size)
    coefficients[0] += (1.0 - taper) * constant
    coefficients /= coefficients[0].sum()
    return coefficients


def _core_residual(centred: FloatArray, model: FloatArray, core: NDArray[np.bool_]) -> FloatArray:
    """Root mean square of the residuals of each star in the core, as a fraction of the peak."""
    difference = (centred - model)[:, core]
    rms: FloatArray = np.sqrt(np.mean(difference**2, axis=1)) / model.max(axis=(1, 2))
    return rms


def _keep_stars(residual: FloatArray, relative_err: FloatArray, min_stars: int) -> NDArray[np.bool_]:
    """Stars whose residual is not far above the rest, noise allowed for."""
    excess = residual / np.hypot(relative_err, 0.25 * MODEL_ERROR)
    median = float(np.median(excess))
    scatter = 1.4826 * float(np.median(np.abs(excess - median)))
    kept: NDArray[np.bool_] = excess <= median + STAR_CLIP_SIGMA * max(scatter, 0.1 * median)
    if kept.sum() < min_stars:
        message = (
            f"{int(kept.sum())} of {len(kept)} PSF stars agree with each other, but {min_stars} are required"
        )
        raise TooFewSourcesError(message, n_sources=int(kept.sum()), n_required=min_stars)
    return kept
