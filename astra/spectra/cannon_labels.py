"""Labels of stars from their spectra, by the inversion of a Cannon model for many spectra at once.

The model is quadratic, so its derivative is linear in the labels: both come from one small matrix product.
Damped Gauss-Newton steps (Levenberg-Marquardt) of all spectra of a block are taken together.

The coefficients theta of a pixel come from noisy training spectra and have errors d of the covariance v G:
v is the pixel's variance and G is common to all pixels. With q(l) for the terms of the labels l, the residual
of a spectrum then has the variance sigma^2 + s^2 + v q'Gq. Besides, the noise of the model's derivatives is
that of the model: the gradient of chi-squared is wrong by twice S (dq/dl)'Gq, where S is the sum of weights
times v, and its curvature looks larger by S (dq/dl)'G(dq/dl), as in any regression with errors in its
variables (Fuller 1987, Measurement Error Models). So what is lowered is chi-squared - S q'Gq, and errors are
those of the curvature without that part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.spectra.cannon import CannonModel, quadratic_terms
from astra.spectra.flags import SpectrumFlag

_BLOCK_ROWS = 16
_MAX_STEPS = 30
_POOR_CHI2_DOF = 3.0
_MAX_NOISE_SHARE = 0.9


@dataclass(frozen=True)
class Labels:
    """Labels of spectra.

    Parameters
    ----------
    value : float64 ndarray, shape (n, n_labels)
        In the units of the training labels; NaN if there are none.
    covariance : float64 ndarray, shape (n, n_labels, n_labels)
        From the noise of the spectrum, the scatter of the model, and the errors of the model that the noise
        of its training stars has left.
    chi2_dof : float64 ndarray, shape (n,)
        Mean square of the residuals over noise and scatter.
    n_pixels : int64 ndarray, shape (n,)
        Pixels that count.
    flags : int64 ndarray, shape (n,)
        `SpectrumFlag`.
    """

    value: NDArray[np.float64]
    covariance: NDArray[np.float64]
    chi2_dof: NDArray[np.float64]
    n_pixels: NDArray[np.int64]
    flags: NDArray[np.int64]

    @property
    def error(self) -> NDArray[np.float64]:
        """Standard deviation of each label, shape (n, n_labels)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))


def infer_labels(
    model: CannonModel,
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    *,
    of_training: bool = False,
) -> Labels:
    """Find the labels of spectra.

    Parameters
    ----------
    model : CannonModel
        On the pixels of the spectra.
    flux, ivar : float64 ndarray, shape (n, n_pixels)
        Over continuum, at rest; ivar 0 where there is no measurement.
    of_training : bool, optional
        Whether these are spectra that the model was trained on. Their noise is in the model, so that its
        errors do not add to theirs: nothing is corrected for.

    Returns
    -------
    labels : Labels

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if flux.shape != ivar.shape or flux.shape[1:] != model.scatter2.shape:
        message = (
            f"flux and ivar must have shape (n, {model.scatter2.size}), not {flux.shape} and {ivar.shape}"
        )
        raise ValueError(message)
    inverse = _Inverse(model, of_training)
    n_labels = len(model.names)
    parts = [
        inverse.solve(flux[first : first + _BLOCK_ROWS], ivar[first : first + _BLOCK_ROWS])
        for first in range(0, len(flux), _BLOCK_ROWS)
    ]
    if not parts:
        empty = np.empty(0, np.int64)
        return Labels(np.empty((0, n_labels)), np.empty((0, n_labels, n_labels)), np.empty(0), empty, empty)
    return Labels(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class _Inverse:
    """A model, arranged for its inversion; in single precision, which halves the traffic with memory."""

    def __init__(self, model: CannonModel, of_training: bool) -> None:
        n = len(model.names)
        self.is_corrected = not of_training
        self.model = model
        self.used = np.isfinite(model.scatter2)
        theta = model.coefficients[:, self.used].astype(np.float32)
        self.constant, self.linear = theta[0], theta[1 : n + 1]
        first, second = np.triu_indices(n)
        curvature = np.zeros((n, n, theta.shape[1]), np.float32)
        curvature[first, second] += theta[n + 1 :]
        curvature[second, first] += theta[n + 1 :]
        self.curvature = curvature.reshape(n, -1)
        self.scatter2 = model.scatter2[self.used]
        self.model_variance = model.training_variance[self.used]

    def solve(self, flux: NDArray[np.float64], ivar: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return the fields of `Labels` for some spectra."""
        n_labels = len(self.model.names)
        good = (ivar > 0) & np.isfinite(flux) & np.isfinite(ivar)
        good = good[:, self.used]
        known = np.where(good, ivar[:, self.used], 0.0)
        leverage = len(self.model.coefficients) / self.model.n_stars
        weight = known / (1.0 + known * (self.scatter2 + leverage * self.model_variance))
        block = _Block(
            data=np.where(good, flux[:, self.used], 1.0).astype(np.float32),
            weight=weight.astype(np.float32),
            error_sum=weight @ self.model_variance * float(self.is_corrected),
        )
        n_pixels = good.sum(axis=1)
        enough = n_pixels > 2 * n_labels
        labels, normal, lowered, settled = self._descend(block)
        value = self.model.centre + self.model.scale * labels
        true_leverage = self.model.leverage(value)
        share = (weight**2 @ self.model_variance) / np.maximum(weight.sum(axis=1), 1e-300)
        growth = 1.0 + share * (true_leverage - leverage) * float(self.is_corrected)
        covariance = self._covariance(labels, normal, block) * growth[:, None, None]
        chi2_dof = (lowered + block.error_sum * true_leverage) / np.maximum(n_pixels - n_labels, 1)
        flags = np.where(enough, 0, int(SpectrumFlag.NO_DATA))
        flags |= np.where(2 * n_pixels < self.used.sum(), int(SpectrumFlag.FEW_PIXELS), 0)
        flags |= np.where(enough & ~settled, int(SpectrumFlag.NOT_CONVERGED), 0)
        flags |= np.where(enough & self.model.is_outside(value), int(SpectrumFlag.EXTRAPOLATED), 0)
        flags |= np.where(enough & (chi2_dof > _POOR_CHI2_DOF), int(SpectrumFlag.POOR_FIT), 0)
        value[~enough], covariance[~enough], chi2_dof[~enough] = np.nan, np.nan, np.nan
        return value, covariance, chi2_dof, n_pixels, flags

    def _covariance(
        self, labels: NDArray[np.float64], normal: NDArray[np.float64], block: _Block
    ) -> NDArray[np.float64]:
        """Return the covariance of the labels: the inverse curvature, the gradient's variance, again it."""
        slope = term_slopes(labels)
        noise = np.einsum("ijk,jl,ilm->ikm", slope, self.model.unit_covariance, slope, optimize=True)
        inverse = _without(normal, noise * block.error_sum[:, None, None])
        covariance: NDArray[np.float64] = inverse @ normal @ inverse
        return covariance * self.model.scale[:, None] * self.model.scale

    def _descend(self, block: _Block) -> tuple[NDArray[Any], ...]:
        """Return scaled labels, normal matrices, what was lowered, and whether the steps came to an end."""
        n_rows, n = len(block.data), len(self.model.names)
        labels, damping = np.zeros((n_rows, n)), np.full(n_rows, 1e-3)
        settled: NDArray[np.bool_] = np.zeros(n_rows, dtype=bool)
        lowered, normal, gradient = self._linearise(labels, block)
        active = np.arange(n_rows)
        for _ in range(_MAX_STEPS):
            matrix = normal[active]
            diagonal = np.einsum("ijj->ij", matrix)
            diagonal += damping[active, None] * diagonal + 1e-12
            step = np.linalg.solve(matrix, gradient[active][..., None])[..., 0]
            trial = np.clip(labels[active] + step, -10.0, 10.0)
            new = self._linearise(trial, block.rows(active))
            better = new[0] <= lowered[active] + 1e-6 * np.abs(lowered[active])
            # In units of the errors, squared.
            size = np.einsum("ij,ijk,ik->i", step, normal[active], step)
            damping[active] *= np.where(better, 0.1, 10.0)
            settled[active] = (size < 1e-4) & (better | (damping[active] > 1.0))
            taken = active[better]
            labels[taken] = trial[better]
            for old, value in zip((lowered, normal, gradient), new, strict=True):
                old[taken] = value[better]
            active = active[~settled[active]]
            if not active.size:
                break
        return labels, normal, lowered, settled

    def _linearise(
        self, labels: NDArray[np.float64], block: _Block
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return what is lowered, normal matrix and downward gradient of each spectrum at some labels."""
        single = labels.astype(np.float32)
        slope = (single @ self.curvature).reshape(*labels.shape, -1)
        slope += self.linear
        residual = block.data - self.constant
        residual -= 0.5 * (np.matmul(single[:, None], slope)[:, 0] + single @ self.linear)
        weighted = block.weight * residual
        chi2 = np.einsum("ij,ij->i", weighted, residual).astype(np.float64)
        gradient = np.matmul(slope, weighted[..., None])[..., 0].astype(np.float64)
        root = np.sqrt(block.weight)
        slope *= root[:, None]
        normal = np.matmul(slope, slope.transpose(0, 2, 1)).astype(np.float64)
        leverage, half_slope = self._leverage(labels)
        error_sum = block.error_sum
        return chi2 - error_sum * leverage, normal, gradient + error_sum[:, None] * half_slope

    def _leverage(self, labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return q'Gq and half of its derivative, at scaled labels."""
        terms, n = quadratic_terms(labels), labels.shape[1]
        product = terms @ self.model.unit_covariance
        first, second = np.triu_indices(n)
        pairs = np.zeros((len(labels), n, n))
        pairs[:, first, second] += product[:, n + 1 :]
        pairs[:, second, first] += product[:, n + 1 :]
        slope = product[:, 1 : n + 1] + np.einsum("ijk,ik->ij", pairs, labels)
        return np.einsum("ij,ij->i", product, terms), slope


@dataclass(frozen=True)
class _Block:
    """Spectra that are inverted together: flux, weights, the sum of weights times the model's variance."""

    data: NDArray[np.float32]
    weight: NDArray[np.float32]
    error_sum: NDArray[np.float64]

    def rows(self, chosen: NDArray[np.intp]) -> _Block:
        """Return some of them."""
        return _Block(self.data[chosen], self.weight[chosen], self.error_sum[chosen])


def term_slopes(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivatives of `quadratic_terms`, from shape (n, n_labels) to (n, n_terms, n_labels)."""
    n, n_labels = scaled.shape
    first, second = np.triu_indices(n_labels)
    number = np.arange(first.size)
    slopes = np.zeros((n, 1 + n_labels + first.size, n_labels))
    slopes[:, range(1, n_labels + 1), range(n_labels)] = 1.0
    slopes[:, 1 + n_labels + number, first] += scaled[:, second]
    slopes[:, 1 + n_labels + number, second] += scaled[:, first]
    return slopes


def _without(normal: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverses of normal matrices without the part that is noise, which is 9 tenths at most."""
    values, vectors = np.linalg.eigh(normal)
    floor = np.maximum(1e-12 * values[:, -1:], 1e-300)
    whitening = vectors / np.sqrt(np.maximum(values, floor))[:, None]
    share, turn = np.linalg.eigh(whitening.transpose(0, 2, 1) @ noise @ whitening)
    basis = whitening @ turn
    inverse: NDArray[np.float64] = (
        basis / (1.0 - np.minimum(share, _MAX_NOISE_SHARE))[:, None] @ basis.transpose(0, 2, 1)
    )
    return inverse
