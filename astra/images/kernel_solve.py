"""Solution of the spatially varying matching kernel from the normal equations of its stamps.

Unknowns: one flux ratio, a polynomial in position for every zero-sum function, a polynomial sky.
The degree in position is the one that predicts left-out stamps best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from astra.errors import KernelFitError
from astra.images.kernel_stamps import StampEquations
from astra.images.psf import polynomial_powers
from astra.images.robust import SIGMA_PER_MAD
from astra.images.spatial import frame_geometry, spatial_terms

N_FOLDS = 5


@dataclass(frozen=True)
class SpatialModel:
    """Which polynomial in position every function has.

    Parameters
    ----------
    shape : tuple of int
        Frame (ny, nx) [pixel].
    n_basis : int
        Functions of the kernel basis.
    order : int
        Degree of all other functions.
    background_order : int
        Degree of the sky.
    n_constant : int
        Functions that are constant over the frame: the first ones, of which the very first has the flux.
    """

    shape: tuple[int, int]
    n_basis: int
    order: int
    background_order: int
    n_constant: int = 1

    def layout(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the function and the polynomial term of every unknown."""
        n_kernel, n_sky = (len(polynomial_powers(k)) for k in (self.order, self.background_order))
        constant, varying = np.arange(self.n_constant), np.arange(self.n_constant, self.n_basis)
        function = np.r_[constant, np.repeat(varying, n_kernel), np.full(n_sky, self.n_basis)]
        term = np.r_[0 * constant, np.tile(np.arange(n_kernel), len(varying)), np.arange(n_sky)]
        return function.astype(np.int64), term.astype(np.int64)

    def terms(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Polynomial terms at positions [pixel], shape (n, n_terms)."""
        highest = max(self.order, self.background_order)
        return spatial_terms(x, y, highest, frame_geometry(self.shape)).T

    def assemble(
        self, equations: StampEquations
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Sum the stamps into one matrix, one vector and the noise part of the matrix."""
        function, term = self.layout()
        values = self.terms(equations.x, equations.y)
        n, n_functions = equations.vector.shape
        n_terms = values.shape[1]
        outer = (values[:, :, None] * values[:, None, :]).reshape(n, -1)
        blocks = (outer.T @ equations.matrix.reshape(n, -1)).reshape(
            n_terms, n_terms, n_functions, n_functions
        )
        matrix = blocks[term[:, None], term[None, :], function[:, None], function[None, :]]
        vector = (values.T @ equations.vector)[term, function]
        weights = (equations.noise @ outer).reshape(n_terms, n_terms)[term[:, None], term[None, :]]
        noise = weights * equations.gram[function[:, None], function[None, :]]
        return matrix, vector, noise

    def coefficients_at(
        self, solution: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Coefficients of every function at positions [pixel], shape (n, n_basis + 1)."""
        return self.terms(x, y) @ self.table(solution)

    def table(self, solution: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients by polynomial term and function, shape (n_terms, n_basis + 1)."""
        function, term = self.layout()
        highest = max(self.order, self.background_order)
        table = np.zeros((len(polynomial_powers(highest)), self.n_basis + 1))
        table[term, function] = solution
        return table


def solve(
    equations: StampEquations, model: SpatialModel, max_noise_share: float = 0.0
) -> NDArray[np.float64]:
    """Solve the normal equations, free of the bias that noise in the convolved image makes.

    Noise in the convolved image adds a known matrix to the normal equations and pulls the kernel, and with it
    the flux ratio, towards zero. It is taken out along every direction that is not noise alone; along
    the others it stays, as a prior.

    Parameters
    ----------
    equations : StampEquations
    model : SpatialModel
    max_noise_share : float, optional
        Directions with a larger share of noise are left as they are; 0 leaves all, and is the plain solution.

    Returns
    -------
    solution : ndarray, shape (n_unknowns,)

    Raises
    ------
    KernelFitError
        If the matrix is singular or the solution not finite.
    """
    matrix, vector, noise = model.assemble(equations)
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    matrix, noise, vector = matrix / np.outer(scale, scale), noise / np.outer(scale, scale), vector / scale
    matrix[np.diag_indices_from(matrix)] += 1e-10
    try:
        if max_noise_share == 0:
            return _finite(linalg.cho_solve(linalg.cho_factor(matrix), vector) / scale, equations)
        # noise v = ratio matrix v with v' matrix v = 1: the solution is diagonal in v.
        ratio, vectors = linalg.eigh(noise, matrix)
    except (linalg.LinAlgError, ValueError) as exc:
        message = (
            f"the equations of the matching kernel ({len(vector)} unknowns, {len(equations.x)} stamps) "
            "are singular"
        )
        raise KernelFitError(message, n_unknowns=len(vector), n_stamps=len(equations.x)) from exc
    gain = np.where(ratio < max_noise_share, 1.0 / (1.0 - np.minimum(ratio, max_noise_share)), 1.0)
    return _finite(vectors @ (gain * (vectors.T @ vector)) / scale, equations)


def _finite(solution: NDArray[np.float64], equations: StampEquations) -> NDArray[np.float64]:
    """Refuse a solution that is not finite."""
    if not np.isfinite(solution).all():
        message = f"the matching kernel of {len(equations.x)} stamps has coefficients that are not finite"
        raise KernelFitError(message, n_stamps=len(equations.x))
    return solution


def reduced_chi2(
    equations: StampEquations, model: SpatialModel, solution: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Chi square per pixel of every stamp."""
    coefficients = model.coefficients_at(solution, equations.x, equations.y)
    return equations.chi2(coefficients) / np.maximum(equations.n_pixels, 1)


def condition_number(equations: StampEquations, model: SpatialModel) -> float:
    """Condition number of the normal equations, their unknowns scaled to unit weight; inf if singular."""
    matrix = model.assemble(equations)[0]
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    values = np.linalg.eigvalsh(matrix / np.outer(scale, scale))
    return float(values[-1] / values[0]) if values[0] > 0 else float("inf")


def flux_scatter(equations: StampEquations, model: SpatialModel, solution: NDArray[np.float64]) -> float:
    """Scatter of the flux ratios of single stamps beyond their noise, as a fraction of that of the solution.

    Of the brighter half of the stamps. The shape of the kernel is that of the solution at each stamp, and so
    is the sky.
    """
    coefficients = model.coefficients_at(solution, equations.x, equations.y)
    kernel = coefficients * (np.arange(coefficients.shape[1]) < model.n_basis)
    sky = coefficients - kernel
    target = equations.vector - np.einsum("nij,nj->ni", equations.matrix, sky)
    power = np.maximum(np.einsum("ni,nij,nj->n", kernel, equations.matrix, kernel), 1e-300)
    bright = power >= np.median(power)
    scales = np.einsum("ni,ni->n", kernel, target)[bright] / power[bright]
    scatter = SIGMA_PER_MAD * np.median(np.abs(scales - np.median(scales)))
    return float(np.sqrt(max(scatter**2 - np.median(1 / power[bright]), 0.0)))


def clip_stamps(
    equations: StampEquations, model: SpatialModel, *, n_sigma: float, max_iterations: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Solve and drop stamps that do not fit, until none is dropped.

    Returns
    -------
    solution : ndarray, shape (n_unknowns,)
    keep : bool ndarray, shape (n_stamps,)
    """
    keep = np.ones(len(equations.x), dtype=bool)
    solution = solve(equations, model)
    for _ in range(max_iterations):
        chi2 = reduced_chi2(equations, model, solution)
        middle = np.median(chi2[keep])
        # Poisson width of chi2 per pixel as a floor: a MAD of few stamps can be tiny.
        width = max(
            SIGMA_PER_MAD * np.median(np.abs(chi2[keep] - middle)),
            np.sqrt(2.0 / np.median(equations.n_pixels)),
        )
        good = chi2 < middle + n_sigma * width
        if np.array_equal(good, keep) or good.sum() < max(3, len(good) // 3):
            break
        keep = good
        solution = solve(equations.select(keep), model)
    return solution, keep


def left_out_chi2(equations: StampEquations, model: SpatialModel) -> float:
    """Mean logarithm of the chi square per pixel of stamps that the solution has not seen.

    The logarithm lets neither the few brightest stars nor a variable one decide alone.
    """
    fold = np.arange(len(equations.x)) % N_FOLDS
    chi2 = np.empty(len(fold))
    for k in range(N_FOLDS):
        solution = solve(equations.select(fold != k), model)
        chi2[fold == k] = reduced_chi2(equations.select(fold == k), model, solution)
    return float(np.mean(np.log(np.maximum(chi2, 1e-6))))
