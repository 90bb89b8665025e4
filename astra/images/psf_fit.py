"""Fit a PSF that varies over the image to stars.

Every node of the PSF is fitted by a polynomial in position to all stars at once, each pixel weighted by its
own noise: in the wings the brightest decide, in the core, where they differ by more than their noise, all do.
What the stars differ by is found on the way, and where they are few so is the order of the polynomial.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astra.errors import TooFewSourcesError
from astra.images.moments import Pixels
from astra.images.psf import Psf, fwhm_from_sigma, polynomial_powers
from astra.images.psf_centre import centre_on_core
from astra.images.psf_stars import PsfFitConfig, affordable_order
from astra.images.robust import SIGMA_PER_MAD
from astra.images.stamps import psf_design, psf_stamps
from astra.images.star_stamps import StarStamps, radius_of
from astra.images.tan_sip import polynomial_design

FloatArray = NDArray[np.float64]

ROUNDS = {1: 3, 2: 8}  # by oversampling: a finer grid is approached, not interpolated
OVERSAMPLED_BELOW_FWHM_PIXEL = 2.5
MODEL_ERROR_RANGE = 0.003, 0.02  # of the PSF's value: by how much stars may differ from it beyond their noise
SMOOTH = np.array([1, 2, 3, 4, 3, 2, 1]) / 16
HIGH_FREQUENCY = 0.45  # [cycles a node]
RIDGE = 1e-9  # of the trace of the normal matrix
CLIP_SIGMA = 3.5
STAR_CLIP_SIGMA = 4.0
STAR_ERROR = 0.005  # of the peak: residuals below are not held against a star
CORE_RADIUS_SIGMA = 3.0  # within which residuals of a star are judged
MANY_STARS = 120  # they bear any order that is asked for
FOLDS = 5


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


@dataclass(frozen=True)
class _Samples:
    """Stars at unit flux on the nodes of the PSF.

    ``values``, their ``error`` by noise, the PSF there as it was (``model``) and ``weight`` are (n, nodes);
    the weight of a node lacks the errors.
    """

    values: FloatArray
    error: FloatArray
    model: FloatArray
    weight: FloatArray

    def inverse_variance(self, model_error: float, used: NDArray[np.bool_], clip_sigma: float) -> FloatArray:
        """Weights of the fit; 0 for pixels far from the model and for stars that are not used."""
        variance = self.error**2 + (model_error * self.model) ** 2
        deviant = (self.values - self.model) ** 2 > clip_sigma**2 * variance
        return np.where(deviant | ~used[:, None], 0.0, self.weight / variance)


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
        Of two nodes a pixel if the FWHM is below `OVERSAMPLED_BELOW_FWHM_PIXEL`.

    Raises
    ------
    TooFewSourcesError
        If fewer than ``min_stars`` survive the clipping.
    """
    stamps = StarStamps.cut(pixels, stars, config.size_pixel)
    psf = _first_guess(pixels.image.shape, sigma, config)
    radius = radius_of(psf.coefficients.shape[1]) / psf.oversampling
    core = (radius <= CORE_RADIUS_SIGMA * sigma).ravel()
    taper = np.clip(1.5 - radius / (2.0 * config.core_sigma * sigma), 0.0, 1.0)
    unit = np.stack(
        [(stars["x"] - psf.x_centre) / psf.scale, (stars["y"] - psf.y_centre) / psf.scale], axis=-1
    )
    order = affordable_order(len(stars), config.order)
    used, usable = np.ones(len(stars), dtype=np.bool_), stamps.usable
    model_error, residual, model = MODEL_ERROR_RANGE[1], np.zeros(len(stars)), _at_stars(psf, stars)
    n_rounds = ROUNDS[psf.oversampling]
    for k in range(n_rounds):
        samples, plausible = _sample(stamps, psf, stars, model, usable)
        # The first model is a Gaussian, which the wings of bright stars are not: no pixel is judged by it.
        usable = plausible if k > 0 else usable
        weights = samples.inverse_variance(model_error, used, CLIP_SIGMA if k > 0 else np.inf)
        if k == n_rounds // 2 and len(stars) < MANY_STARS:
            order = _choose_order(samples.values, weights, unit, order, core)
        psf = _solve(samples.values, weights, psf, polynomial_design(unit[:, 0], unit[:, 1], order), taper)
        model = _at_stars(psf, stars)
        samples = replace(samples, model=model)
        residual, noise = _core_rms(samples, core)
        model_error = _model_error(samples, residual, noise, core)
        used = _keep_stars(residual, noise, config.min_stars)
    psf = centre_on_core(psf, (pixels.image.shape[0], pixels.image.shape[1]), sigma)
    return PsfFit(psf, used, float(np.median(residual[used])))


def _first_guess(shape: tuple[int, ...], sigma: float, config: PsfFitConfig) -> Psf:
    """Return a constant Gaussian with the geometry that the fit shall have."""
    oversampling = 2 if fwhm_from_sigma(sigma) < OVERSAMPLED_BELOW_FWHM_PIXEL else 1
    radius = radius_of(oversampling * (config.size_pixel - 1) + 1) / oversampling
    profile = np.exp(-0.5 * (radius / sigma) ** 2) / (2.0 * np.pi * sigma**2)
    ny, nx = shape
    return Psf(profile[None], 0, (nx - 1) / 2, (ny - 1) / 2, max(nx, ny) / 2, oversampling)


def _at_stars(psf: Psf, stars: NDArray[np.void]) -> FloatArray:
    """Nodes of the PSF of each star at unit sum, (n, nodes)."""
    design = psf_design(psf, stars["x"], stars["y"])
    step = psf.oversampling
    sums = design @ psf.coefficients[:, ::step, ::step].sum(axis=(1, 2))
    nodes: FloatArray = design @ psf.coefficients.reshape(len(psf.coefficients), -1) / sums[:, None]
    return nodes


def _sample(
    stamps: StarStamps, psf: Psf, stars: NDArray[np.void], model: FloatArray, usable: NDArray[np.bool_]
) -> tuple[_Samples, NDArray[np.bool_]]:
    """Bring the stars to the nodes of the PSF, and tell which pixels agree with the given one.

    ``model`` is what `_at_stars` returns.
    """
    drawn = psf_stamps(psf, stars["x"], stars["y"])
    fitted = stamps.fit_amplitudes(drawn, usable)
    residual = stamps.residuals(drawn, fitted)
    plausible = stamps.is_plausible(residual, drawn, fitted.flux)
    noise = stamps.noise(fitted)
    photons, sky_noise = noise.per_count / fitted.flux, noise.sky_variance / fitted.flux**2
    seen, weight = stamps.nearest(usable.astype(np.float64), psf.oversampling)
    residual[~usable] = 0.0
    samples = _Samples(
        values=model + stamps.to_nodes(residual, psf.oversampling).reshape(len(stars), -1),
        error=np.sqrt(sky_noise[:, None] + photons[:, None] * np.maximum(model, 0.0)),
        model=model,
        weight=(seen * weight).reshape(len(stars), -1),
    )
    return samples, plausible


def _polynomials(
    values: FloatArray, weights: FloatArray, design: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted polynomial in position of each node: coefficients and their variance (n_terms, nodes)."""
    n_terms = design.shape[1]
    rows, columns = np.triu_indices(n_terms)
    normal: FloatArray = np.zeros((values.shape[1], n_terms, n_terms))
    normal[:, rows, columns] = weights.T @ (design[:, rows] * design[:, columns])
    normal[:, columns, rows] = normal[:, rows, columns]
    trace = np.trace(normal, axis1=1, axis2=2)
    # A node that no star has must not be singular: it becomes 0.
    ridge = np.where(trace > 0, RIDGE * trace, 1.0)
    normal[:, range(n_terms), range(n_terms)] += ridge[:, None]
    covariance = np.asarray(np.linalg.inv(normal), dtype=np.float64)
    right: FloatArray = (weights * values).T @ design
    variance: FloatArray = np.where(trace > 0, np.diagonal(covariance, axis1=1, axis2=2).T, 0.0)
    solution: FloatArray = np.einsum("kij,kj->ik", covariance, right)
    return solution, variance


def _solve(values: FloatArray, weights: FloatArray, last: Psf, design: FloatArray, taper: FloatArray) -> Psf:
    """Fit the nodes; towards the wings the polynomial gives way to the weighted mean."""
    solution, variance = _polynomials(values, weights, design)
    solution = _suppress_noise(solution.reshape(-1, *taper.shape), variance.sum(axis=1))
    total = weights.sum(axis=0)
    constant = (weights * values).sum(axis=0) / np.where(total > 0, total, 1.0)
    coefficients: FloatArray = taper * solution
    coefficients[0] += (1.0 - taper) * constant.reshape(taper.shape)
    step = last.oversampling
    coefficients /= coefficients[0, ::step, ::step].sum()
    order = max(k for k in range(design.shape[1]) if len(polynomial_powers(k)) <= design.shape[1])
    return replace(last, coefficients=coefficients, order=order)


def _suppress_noise(images: FloatArray, noise_power: FloatArray) -> FloatArray:
    """Wiener filter of images (n, size, size) whose noise is white, of known power a frequency (n,).

    Their own power is the mean over circles of equal frequency, smoothed along the frequency. Where stars
    were interpolated to the nodes their noise is less, as the highest frequencies tell.
    """
    size = images.shape[1]
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    circle = np.rint(frequency * size).astype(np.int64).ravel()
    count = np.bincount(circle)
    filtered = np.empty_like(images)
    for k, transform in enumerate(np.fft.fft2(images)):
        power = np.abs(transform.ravel()) ** 2
        noise = min(noise_power[k], float(power[frequency.ravel() > HIGH_FREQUENCY].mean()))
        mean = np.bincount(circle, weights=power) / count
        smooth = np.convolve(np.pad(mean, len(SMOOTH) // 2, mode="edge"), SMOOTH, mode="valid")
        passed = np.clip(1.0 - noise / np.maximum(smooth, np.finfo(np.float64).tiny), 0.0, 1.0)
        filtered[k] = np.fft.ifft2(transform * passed[circle].reshape(size, size)).real
    return filtered


def _choose_order(
    values: FloatArray, weights: FloatArray, unit: FloatArray, order: int, core: NDArray[np.bool_]
) -> int:
    """Degree up to ``order`` that best predicts the cores of stars that were left out of the fit.

    ``unit`` (n, 2) are the normalised positions.
    """
    values, weights = values[:, core], weights[:, core]
    fold = np.arange(len(values)) % FOLDS
    chi2 = np.zeros(order + 1)
    for degree in range(order + 1):
        design = polynomial_design(unit[:, 0], unit[:, 1], degree)
        for k in range(FOLDS):
            solution, _ = _polynomials(values[fold != k], weights[fold != k], design[fold != k])
            missed = values[fold == k] - design[fold == k] @ solution
            chi2[degree] += np.sum(weights[fold == k] * missed**2)
    return int(np.argmin(chi2))


def _core_rms(samples: _Samples, core: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Root mean square of residual and noise of each star in the core, as fractions of the peak."""
    weight = samples.weight[:, core]
    total, peak = np.maximum(weight.sum(axis=1), 1e-12), samples.model.max(axis=1)
    missed = (samples.values - samples.model)[:, core] ** 2
    residual = np.sqrt((weight * missed).sum(axis=1) / total) / peak
    noise = np.sqrt((weight * samples.error[:, core] ** 2).sum(axis=1) / total) / peak
    return residual, noise


def _model_error(
    samples: _Samples, residual: FloatArray, noise: FloatArray, core: NDArray[np.bool_]
) -> float:
    """By how much the brighter half of the stars differ from the model beyond their noise, as a fraction."""
    bright = noise <= np.median(noise)
    mean_square = (
        np.mean(samples.model[bright][:, core] ** 2, axis=1) / samples.model[bright].max(axis=1) ** 2
    )
    excess = float(np.median((residual[bright] ** 2 - noise[bright] ** 2) / mean_square))
    return float(np.clip(np.sqrt(max(excess, 0.0)), *MODEL_ERROR_RANGE))


def _keep_stars(residual: FloatArray, noise: FloatArray, min_stars: int) -> NDArray[np.bool_]:
    """Stars whose residual is not far above the rest, noise allowed for."""
    excess = residual / np.hypot(noise, STAR_ERROR)
    median = float(np.median(excess))
    scatter = SIGMA_PER_MAD * float(np.median(np.abs(excess - median)))
    kept: NDArray[np.bool_] = excess <= median + STAR_CLIP_SIGMA * max(scatter, 0.1 * median)
    if kept.sum() < min_stars:
        message = (
            f"{int(kept.sum())} of {len(kept)} PSF stars agree with each other, but {min_stars} are required"
        )
        raise TooFewSourcesError(message, n_sources=int(kept.sum()), n_required=min_stars)
    return kept
