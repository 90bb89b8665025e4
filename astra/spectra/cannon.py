"""The Cannon: a quadratic model of each pixel in the labels of stars, trained on stars of known labels.

Ness et al. (2015, arXiv:1501.07604) describe it. A pixel's flux is a quadratic function of the labels with
a scatter of its own. Training solves a weighted least-squares problem for each pixel;
`astra.spectra.cannon_labels` inverts the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from astra.compiled import compiled

_CHUNK_PIXELS = 256
_CHUNK_STARS = 2000
_KEPT_CHUNKS = 4  # of that many stars, at most 75 MB each for 15 labels
_RIDGE = 1e-7  # of the mean diagonal of the normal equations, so that single precision can factor them
_N_REFINEMENTS = 3
_MAX_SCATTER = 1.0  # squared
_N_SCORES = 9
_MAX_LEVERAGE = 0.95


@dataclass(frozen=True)
class CannonModel:
    """A trained model.

    Parameters
    ----------
    names : tuple of str
        The labels.
    centre, scale : float64 ndarray, shape (n_labels,)
        A label less its centre, over its scale, is what the model is quadratic in.
    coefficients : float64 ndarray, shape (n_terms, n_pixels)
        Of 1, the labels, and their products (of label k with labels k, k + 1, ...).
    scatter2 : float64 ndarray, shape (n_pixels,)
        Square of the scatter of a pixel around the model; infinite where nothing was learnt.
    low, high : float64 ndarray, shape (n_labels,)
        Range of the training labels, in their own units.
    precision : float64 ndarray, shape (n_labels, n_labels)
        Inverse covariance of the scaled training labels.
    max_distance : float
        Largest Mahalanobis distance of a training star.
    unit_covariance : float64 ndarray, shape (n_terms, n_terms)
        Covariance of the coefficients of a pixel, for training spectra of unit variance.
    training_variance : float64 ndarray, shape (n_pixels,)
        Variance of the training spectra, their scatter included: that times ``unit_covariance`` is the
        covariance of a pixel's coefficients. Infinite where nothing was learnt.
    n_stars : int
        Number of training stars.
    """

    names: tuple[str, ...]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    coefficients: NDArray[np.float64] = field(repr=False)
    scatter2: NDArray[np.float64] = field(repr=False)
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    precision: NDArray[np.float64] = field(repr=False)
    max_distance: float
    unit_covariance: NDArray[np.float64] = field(repr=False)
    training_variance: NDArray[np.float64] = field(repr=False)
    n_stars: int

    def __post_init__(self) -> None:
        n = len(self.names)
        shapes = (self.centre.shape, self.scale.shape, self.low.shape, self.high.shape)
        terms = (n_terms(n), self.scatter2.size)
        square = (terms[0], terms[0])
        if (
            any(shape != (n,) for shape in shapes)
            or self.coefficients.shape != terms
            or self.unit_covariance.shape != square
            or self.training_variance.shape != self.scatter2.shape
        ):
            message = (
                f"a model of {n} labels must have {n} centres, scales and ranges and coefficients of"
                f" shape {terms}, not {shapes} and {self.coefficients.shape}"
            )
            raise ValueError(message)

    def spectra(self, labels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the spectra of labels, from shape (n, n_labels) to (n, n_pixels)."""
        terms = quadratic_terms((labels - self.centre) / self.scale)
        model: NDArray[np.float64] = terms @ self.coefficients
        return model

    def leverage(self, labels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the variance of the model's spectra over `training_variance`, at labels (n, n_labels).

        The training stars have ``n_terms / n_stars`` in the mean.
        """
        terms = quadratic_terms((labels - self.centre) / self.scale)
        return np.asarray(np.einsum("ij,jk,ik->i", terms, self.unit_covariance, terms), np.float64)

    def is_outside(self, labels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say which labels, shape (n, n_labels), lie outside of the training stars.

        Outside is what exceeds the range of a label, or lies farther from the centre, in the metric of the
        training stars' covariance, than any of these.
        """
        scaled = (labels - self.centre) / self.scale
        distance = np.sqrt(np.einsum("ij,jk,ik->i", scaled, self.precision, scaled))
        beyond = ((labels < self.low) | (labels > self.high)).any(axis=1)
        return np.asarray(beyond | (distance > self.max_distance), np.bool_)


def n_terms(n_labels: int) -> int:
    """Return the number of terms of a quadratic function."""
    return 1 + n_labels + n_labels * (n_labels + 1) // 2


def quadratic_terms(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1, the labels and their products, from shape (n, n_labels) to (n, n_terms)."""
    first, second = np.triu_indices(scaled.shape[1])
    return np.concatenate([np.ones((len(scaled), 1)), scaled, scaled[:, first] * scaled[:, second]], axis=1)


def train_cannon(
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    labels: NDArray[np.float64],
    names: tuple[str, ...],
    *,
    n_iterations: int = 2,
) -> CannonModel:
    """Train a model.

    Parameters
    ----------
    flux, ivar : float64 ndarray, shape (n_stars, n_pixels)
        Over continuum, at rest; ivar 0 where there is no measurement.
    labels : float64 ndarray, shape (n_stars, n_labels)
        What is known of the stars.
    names : tuple of str
        Of the labels.
    n_iterations : int, optional
        How often coefficients and scatter are determined in turn.

    Returns
    -------
    model : CannonModel

    Raises
    ------
    ValueError
        If shapes differ, labels are not finite or do not vary, or there are fewer stars than terms.
    """
    scaled, centre, scale = _scaled_labels(flux, ivar, labels, names)
    terms = quadratic_terms(scaled)
    good = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    n_pixels = flux.shape[1]
    coefficients, scatter2 = np.zeros((terms.shape[1], n_pixels)), np.full(n_pixels, np.inf)
    training_variance = np.full(n_pixels, np.inf)
    products = _TermProducts(terms)
    shared = np.linalg.pinv(terms)
    leverage = np.einsum("ij,ji->i", terms, shared)
    for begin in range(0, n_pixels, _CHUNK_PIXELS):
        part = slice(begin, begin + _CHUNK_PIXELS)
        used = good[:, part]
        enough = used.sum(axis=0) > terms.shape[1]
        data = np.where(used, flux[:, part], 1.0)
        variance = np.where(used, 1.0 / np.where(used, ivar[:, part], 1.0), np.inf)
        freedom = _freedom(leverage, used)
        theta = shared @ data
        spread2 = fit_scatter((data - terms @ theta) / freedom, variance)
        for _ in range(n_iterations):
            theta = _solve(terms, products, data, 1.0 / (variance + spread2))
            spread2 = fit_scatter((data - terms @ theta) / freedom, variance)
        coefficients[:, part] = np.where(enough, theta, 0.0)
        scatter2[part] = np.where(enough, spread2, np.inf)
        total = (1.0 / (variance + np.maximum(spread2, 1e-12))).sum(axis=0)
        training_variance[part] = np.where(enough, len(flux) / np.maximum(total, 1e-300), np.inf)
    covariance = np.atleast_2d(np.cov(scaled, rowvar=False))
    precision = np.asarray(np.linalg.pinv(covariance), np.float64)
    distance = np.sqrt(np.einsum("ij,jk,ik->i", scaled, precision, scaled))
    return CannonModel(
        names=tuple(names),
        centre=centre,
        scale=scale,
        coefficients=coefficients,
        scatter2=scatter2,
        low=labels.min(axis=0),
        high=labels.max(axis=0),
        precision=precision,
        max_distance=float(distance.max()),
        unit_covariance=shared @ shared.T,
        training_variance=training_variance,
        n_stars=len(flux),
    )


def _freedom(leverage: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return by how much residuals of a fit are smaller than what it was made of, shape (n_stars, n_pixels).

    A fit of many terms follows the noise of its own stars: their residuals have the variance 1 - leverage.
    """
    share = len(used) / np.maximum(used.sum(axis=0), 1)
    freedom: NDArray[np.float64] = np.sqrt(1.0 - np.minimum(leverage[:, None] * share, _MAX_LEVERAGE))
    return freedom


def fit_scatter(residual: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the most likely variance that Gaussian residuals have beside their own.

    Parameters
    ----------
    residual, variance : float64 ndarray, shape (n_stars, n_pixels)
        Variances may be infinite, where a residual is unknown.

    Returns
    -------
    scatter2 : float64 ndarray, shape (n_pixels,)
        Not negative.
    """
    known = np.isfinite(variance)
    scatter2 = np.empty(residual.shape[1])
    score_scatter(residual, np.where(known, variance, -1.0), scatter2)
    return scatter2


@compiled(fastmath={"reassoc", "contract"})
def score_scatter(
    residual: NDArray[np.float64], variance: NDArray[np.float64], scatter2: NDArray[np.float64]
) -> None:
    """Fill the most likely scatter of each pixel by Fisher scoring; negative variances mean no data."""
    n_stars, n_pixels = residual.shape
    scatter2[:] = 0.0
    for step in range(_N_SCORES):
        above, below = np.zeros(n_pixels), np.zeros(n_pixels)
        for star in range(n_stars):
            for pixel in range(n_pixels):
                own = variance[star, pixel]
                # The first step is unweighted: without scatter good stars alone would count.
                weight = 1.0 if step == 0 else 1.0 / (own + scatter2[pixel] + 1e-12)
                weight = weight * weight if own >= 0.0 else 0.0
                above[pixel] += weight * (residual[star, pixel] ** 2 - own)
                below[pixel] += weight
        for pixel in range(n_pixels):
            mean = above[pixel] / below[pixel] if below[pixel] > 0.0 else 0.0
            scatter2[pixel] = min(max(mean, 0.0), _MAX_SCATTER)


def _scaled_labels(
    flux: NDArray[np.float64], ivar: NDArray[np.float64], labels: NDArray[np.float64], names: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Check what is given, and return the scaled labels with their centre and scale."""
    n_stars = len(flux)
    if flux.ndim != 2 or ivar.shape != flux.shape or labels.shape != (n_stars, len(names)) or not names:
        message = (
            "flux and ivar must have shape (n_stars, n_pixels) and labels (n_stars, n_labels), not"
            f" {flux.shape}, {ivar.shape} and {labels.shape} for labels {names}"
        )
        raise ValueError(message)
    if n_stars <= n_terms(len(names)):
        message = (
            f"{n_terms(len(names))} terms of {len(names)} labels need more training stars than {n_stars}"
        )
        raise ValueError(message)
    # Half of the range from the 2.5th to the 97.5th percentile is near one for most labels once scaled.
    low, centre, high = np.percentile(labels, [2.5, 50.0, 97.5], axis=0)
    scale = 0.5 * (high - low)
    if not np.isfinite(labels).all() or not (scale > 0).all():
        wrong = [name for name, value in zip(names, scale, strict=True) if not value > 0]
        message = f"training labels must be finite and vary, which {', '.join(wrong) or 'some'} do not"
        raise ValueError(message)
    return (labels - centre) / scale, centre, scale


class _TermProducts:
    """Products of all pairs of terms, in single precision; kept for few stars, made anew for many."""

    def __init__(self, terms: NDArray[np.float64]) -> None:
        self.terms = terms.astype(np.float32)
        self.first, self.second = np.triu_indices(terms.shape[1])
        self.parts = [slice(begin, begin + _CHUNK_STARS) for begin in range(0, len(terms), _CHUNK_STARS)]
        self.kept = [self._make(part) for part in self.parts] if len(self.parts) <= _KEPT_CHUNKS else None

    def _make(self, part: slice) -> NDArray[np.float32]:
        return self.terms[part][:, self.first] * self.terms[part][:, self.second]

    def weighted_sums(self, weight: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return sums over stars, shape (n_pixels, n_pairs), for weights of shape (n_stars, n_pixels)."""
        total = np.zeros((weight.shape[1], self.first.size), np.float32)
        for number, part in enumerate(self.parts):
            products = self.kept[number] if self.kept is not None else self._make(part)
            total += np.ascontiguousarray(weight[part].T, np.float32) @ products
        return total


def _solve(
    terms: NDArray[np.float64],
    products: _TermProducts,
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Solve the weighted least squares of some pixels; return coefficients, shape (n_terms, n_pixels).

    The normal equations, which cost most, are summed and factored in single precision with a small ridge;
    refinement with residuals in double precision then removes what both have done.
    """
    n, n_pixels = terms.shape[1], data.shape[1]
    mean = np.maximum(weight.mean(axis=0), 1e-300)
    relative = weight / mean
    packed = products.weighted_sums(relative)
    theta = np.zeros((n, n_pixels))
    right = terms.T @ (relative * data)
    normal = np.zeros((n, n))
    factors = []
    for pixel in range(n_pixels):
        normal[products.second, products.first] = packed[pixel]
        normal[range(n), range(n)] += _RIDGE * np.trace(normal) / n + 1e-12
        factors.append(cho_factor(normal, lower=True, check_finite=False))
    for _ in range(_N_REFINEMENTS):
        for pixel, factor in enumerate(factors):
            theta[:, pixel] += cho_solve(factor, right[:, pixel], check_finite=False)
        right = terms.T @ (relative * (data - terms @ theta))
    return theta
