"""The best template of a spectrum as a model: what it leaves, where it fails, what continuum it calls for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.spectra.continuum import ContinuumConfig, NormalMatrix, design_matrix, pixels_of, solve_ridge
from astra.spectra.deposit import Deposit
from astra.spectra.masks import widened
from astra.spectra.peaks import Peaks, shifted_templates
from astra.spectra.templates import TemplateSet

_SAMPLE = 5  # each of so many pixels tells the spread of the residuals
_CLIP_WIDEN = 3  # the wings of what is clipped are hidden in the noise, and still pull


def model_of(
    templates: TemplateSet, best: NDArray[np.int64], start: NDArray[np.int64], peak: Peaks
) -> NDArray[np.float64]:
    """Return the best template of each spectrum at its shift, with its amplitude and level."""
    model = shifted_templates(templates.residual, best, start + peak.offset)
    model *= peak.amplitude[:, None]
    model += peak.level[:, None]
    return model


def residuals_of(prepared: Deposit, model: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a model leaves, in units of the noise; 0 where there are no data."""
    residual = np.zeros_like(model)
    for row in range(len(model)):
        normalise_row(
            prepared.data[row], prepared.weight[row], prepared.noise[row], model[row], residual[row]
        )
    return residual


@compiled
def normalise_row(
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
    noise: NDArray[np.float64],
    model: NDArray[np.float64],
    residual: NDArray[np.float64],
) -> None:
    """Fill the residuals of one spectrum, in units of their noise."""
    for i in range(data.size):
        if noise[i] > 0.0:
            residual[i] = (data[i] - weight[i] * model[i]) / math.sqrt(noise[i])


class SmoothResidual:
    """What the continua of spectra and templates differ by: smooth in each region, and fitted with the lines.

    A continuum follows the lines that it was fitted through. It does so at rest for a template, and
    elsewhere for a star that moves, and what they differ by pulls velocities by some 30 m/s.

    Parameters
    ----------
    wavelength : float64 ndarray, shape (n_pixels,)
        Of the grid [Angstrom].
    config : ContinuumConfig
        Terms and regions.
    """

    def __init__(self, wavelength: NDArray[np.float64], config: ContinuumConfig) -> None:
        self.ridge = config.ridge
        self.parts = [pixels_of(wavelength, region) for region in config.regions]
        self.designs = [
            design_matrix(wavelength[part], config, region)
            for part, region in zip(self.parts, config.regions, strict=True)
        ]

    def subtract(self, prepared: Deposit, kept: NDArray[np.bool_], model: NDArray[np.float64]) -> Deposit:
        """Return spectra less what is smooth in their differences from a model of their lines."""
        data = prepared.data.copy()
        for part, design in zip(self.parts, self.designs, strict=True):
            if part.stop - part.start <= len(design):
                continue
            used, weight = kept[:, part], prepared.weight[:, part]
            lines = 1.0 + model[:, part]
            right = np.where(used, (data[:, part] - weight * model[:, part]) * lines, 0.0) @ design.T
            normal = NormalMatrix(design, len(data))(np.where(used, weight * lines**2, 0.0))
            ridge = self.ridge * np.trace(normal, axis1=1, axis2=2)
            data[:, part] -= weight * lines * (solve_ridge(normal, right, ridge) @ design)
        return replace(prepared, data=data)


def outliers_of(z: NDArray[np.float64], kept: NDArray[np.bool_], clip_sigma: float) -> NDArray[np.bool_]:
    """Return pixels that differ by more than a number of errors, or of spreads, with their neighbours."""
    size = np.abs(z)
    some = [row[use] for row, use in zip(size[:, ::_SAMPLE], kept[:, ::_SAMPLE], strict=True)]
    median = np.array([np.median(values) if values.size else 0.0 for values in some])
    limit = clip_sigma * np.maximum(1.4826 * median, 1.0)
    return widened(kept & (size > limit[:, None]), _CLIP_WIDEN)
