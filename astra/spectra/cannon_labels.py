"""Labels of stars from their spectra, by the inversion of a Cannon model for many spectra at once.

The model is quadratic, so its derivative is linear in the labels: both come from one small matrix product.
Damped Gauss-Newton steps (Levenberg-Marquardt) of all spectra of a block are taken together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.spectra.cannon import CannonModel
from astra.spectra.flags import SpectrumFlag

_BLOCK_ROWS = 16
_MAX_STEPS = 30
_POOR_CHI2_DOF = 3.0


@dataclass(frozen=True)
class Labels:
    """Labels of spectra.

    Parameters
    ----------
    value : float64 ndarray, shape (n, n_labels)
        In the units of the training labels; NaN if there are none.
    covariance : float64 ndarray, shape (n, n_labels, n_labels)
        Formal, from the noise and the scatter of the model.
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


def infer_labels(model: CannonModel, flux: NDArray[np.float64], ivar: NDArray[np.float64]) -> Labels:
    """Find the labels of spectra.

    Parameters
    ----------
    model : CannonModel
        On the pixels of the spectra.
    flux, ivar : float64 ndarray, shape (n, n_pixels)
        Over continuum, at rest; ivar 0 where there is no measurement.

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
    inverse = _Inverse(model)
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

    def __init__(self, model: CannonModel) -> None:
        n = len(model.names)
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

    def solve(self, flux: NDArray[np.float64], ivar: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return the fields of `Labels` for some spectra."""
        n_labels = len(self.model.names)
        good = (ivar > 0) & np.isfinite(flux) & np.isfinite(ivar)
        good = good[:, self.used]
        known = np.where(good, ivar[:, self.used], 0.0)
        weight = (known / (1.0 + known * self.scatter2)).astype(np.float32)
        data = np.where(good, flux[:, self.used], 1.0).astype(np.float32)
        n_pixels = good.sum(axis=1)
        enough = n_pixels > 2 * n_labels
        labels, normal, chi2, settled = self._descend(data, weight)
        covariance = np.linalg.pinv(normal, hermitian=True)
        value = self.model.centre + self.model.scale * labels
        covariance = covariance * self.model.scale[:, None] * self.model.scale
        chi2_dof = chi2 / np.maximum(n_pixels - n_labels, 1)
        flags = np.where(enough, 0, int(SpectrumFlag.NO_DATA))
        flags |= np.where(2 * n_pixels < self.used.sum(), int(SpectrumFlag.FEW_PIXELS), 0)
        flags |= np.where(enough & ~settled, int(SpectrumFlag.NOT_CONVERGED), 0)
        flags |= np.where(enough & self.model.is_outside(value), int(SpectrumFlag.EXTRAPOLATED), 0)
        flags |= np.where(enough & (chi2_dof > _POOR_CHI2_DOF), int(SpectrumFlag.POOR_FIT), 0)
        value[~enough], covariance[~enough], chi2_dof[~enough] = np.nan, np.nan, np.nan
        return value, covariance, chi2_dof, n_pixels, flags

    def _descend(self, data: NDArray[np.float32], weight: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Return scaled labels, normal matrices, chi-squared, and whether the steps have come to an end."""
        n_rows, n = len(data), len(self.model.names)
        labels, damping = np.zeros((n_rows, n)), np.full(n_rows, 1e-3)
        settled: NDArray[np.bool_] = np.zeros(n_rows, dtype=bool)
        chi2, normal, gradient = self._linearise(labels, data, weight)
        active = np.arange(n_rows)
        for _ in range(_MAX_STEPS):
            matrix = normal[active]
            diagonal = np.einsum("ijj->ij", matrix)
            diagonal += damping[active, None] * diagonal + 1e-12
            step = np.linalg.solve(matrix, gradient[active][..., None])[..., 0]
            trial = np.clip(labels[active] + step, -10.0, 10.0)
            new = self._linearise(trial, data[active], weight[active])
            better = new[0] <= chi2[active] * (1.0 + 1e-6)
            # In units of the errors, squared.
            size = np.einsum("ij,ijk,ik->i", step, normal[active], step)
            damping[active] *= np.where(better, 0.1, 10.0)
            settled[active] = (size < 1e-4) & (better | (damping[active] > 1.0))
            taken = active[better]
            labels[taken] = trial[better]
            for old, value in zip((chi2, normal, gradient), new, strict=True):
                old[taken] = value[better]
            active = active[~settled[active]]
            if not active.size:
                break
        return labels, normal, chi2, settled

    def _linearise(
        self, labels: NDArray[np.float64], data: NDArray[np.float32], weight: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return chi-squared, normal matrix and gradient of each spectrum at some labels."""
        single = labels.astype(np.float32)
        slope = (single @ self.curvature).reshape(*labels.shape, -1)
        slope += self.linear
        residual = data - self.constant
        residual -= 0.5 * (np.matmul(single[:, None], slope)[:, 0] + single @ self.linear)
        weighted = weight * residual
        chi2 = np.einsum("ij,ij->i", weighted, residual).astype(np.float64)
        gradient = np.matmul(slope, weighted[..., None])[..., 0].astype(np.float64)
        root = np.sqrt(weight)
        slope *= root[:, None]
        normal = np.matmul(slope, slope.transpose(0, 2, 1)).astype(np.float64)
        return chi2, normal, gradient
