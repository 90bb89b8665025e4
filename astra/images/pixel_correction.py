"""A polynomial that is added to pixel positions before a WCS is applied, fitted to matched stars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from astra.images.psf import polynomial_powers
from astra.images.tan_sip import polynomial_design

FloatArray = NDArray[np.float64]

CLIP_ROUNDS = 5
MATCHES_PER_TERM = 3
MEDIAN_CHI2 = 2.0 * np.log(2.0)  # of two degrees of freedom
TINY = 1e-12


@dataclass(frozen=True)
class Correction:
    """Polynomial in the position.

    Parameters
    ----------
    coefficients : float64 ndarray, shape (n_terms, 2)
        Displacement along x and y [pixel] for each term of `astra.images.psf.polynomial_powers`, in
        coordinates from the centre in units of half the longer side.
    shape : tuple of int
        Rows and columns of the image [pixel].
    used : bool ndarray, shape (m,)
        Which of the pairs behind it survived the clipping.
    residuals : float64 ndarray, shape (m, 2)
        Of all the pairs [pixel].
    """

    coefficients: FloatArray
    shape: tuple[int, int]
    used: NDArray[np.bool_]
    residuals: FloatArray

    @classmethod
    def linear(cls, shift: FloatArray, slopes: FloatArray, shape: tuple[int, int]) -> Correction:
        """Make one of a shift [pixel] and its change with the distance from the centre, shape (2, 2)."""
        order = int(slopes.any())
        coefficients = np.concatenate([shift[None], slopes * max(shape) / 2])[: 1 + 2 * order]
        return cls(coefficients, shape, np.zeros(0, dtype=np.bool_), np.zeros((0, 2)))

    @property
    def order(self) -> int:
        """Total degree."""
        return int(np.sqrt(2 * len(self.coefficients))) - 1

    def __call__(self, xy: FloatArray) -> FloatArray:
        """Return the displacement [pixel] at positions [pixel], shape (n, 2)."""
        correction: FloatArray = _design(xy, self.order, self.shape) @ self.coefficients
        return correction

    def plus(self, terms: FloatArray, used: NDArray[np.bool_], residuals: FloatArray) -> Correction:
        """Add the terms of the lowest degrees; higher ones of this correction stay."""
        total = np.zeros((max(len(terms), len(self.coefficients)), 2))
        total[: len(self.coefficients)] += self.coefficients
        total[: len(terms)] += terms
        return Correction(total, self.shape, used, residuals)

    def compose(self, wcs: WCS) -> Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
        """Return the mapping from pixels to the sky: this correction, then the initial WCS."""

        def to_sky(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
            xy = np.stack([x, y], axis=-1)
            ra, dec = wcs.all_pix2world(xy + self(xy), 0).T
            return ra, dec

        return to_sky

    @property
    def scatter(self) -> float:
        """Robust scatter per axis of the residuals [pixel]."""
        squares = np.sum(self.residuals**2, axis=1)
        return float(np.sqrt(np.median(squares) / MEDIAN_CHI2)) if len(squares) else 0.0

    def floor(self, error: FloatArray, among: NDArray[np.bool_]) -> float:
        """Error per axis [pixel] that, beside the given ones, explains the residuals of some of the pairs.

        Parameters
        ----------
        error : float64 ndarray, shape (m,)
            1-sigma error per axis [pixel].
        among : bool ndarray, shape (m,)
            The pairs.
        """
        squares, variance = np.sum(self.residuals[among] ** 2, axis=1), error[among] ** 2
        low, high = 0.0, float(np.median(squares)) / MEDIAN_CHI2
        for _ in range(30):  # the median of chi2 falls as the floor rises
            middle = (low + high) / 2.0
            if np.median(squares / np.maximum(variance + middle, TINY)) > MEDIAN_CHI2:
                low = middle
            else:
                high = middle
        return float(np.sqrt(high))


def choose_correction(
    xy: FloatArray,
    expected: FloatArray,
    error: FloatArray,
    first: Correction,
    max_order: int,
    *,
    clip_sigma: float,
) -> Correction:
    """Improve a correction by the degree that has the least Bayesian information criterion.

    Parameters
    ----------
    xy, expected : float64 ndarray, shape (m, 2)
        Matched positions [pixel].
    error : float64 ndarray, shape (m,)
        1-sigma error per axis [pixel].
    first : Correction
        What is improved: terms above the chosen degree are kept as they are.
    max_order : int
        Highest degree.
    clip_sigma : float
        Pairs further off than this many typical errors are left out.

    Returns
    -------
    correction : Correction
        Too few pairs for a linear one may still turn and scale the first one.
    """
    powers = {order: len(polynomial_powers(order)) for order in range(max_order + 1)}
    orders = [order for order, n in powers.items() if order == 0 or MATCHES_PER_TERM * n <= len(xy)]
    design, target = _design(xy, orders[-1], first.shape), expected - xy - first(xy)
    if orders[-1] == 0 and max_order > 0 and len(xy) >= MATCHES_PER_TERM:
        return _choose_similarity(xy, target, error, first, clip_sigma)
    _, used = _solve_clipped(design, target, error, clip_sigma)
    normal, right = _normal_equations(design[used], target[used], error[used])
    power = float(np.sum((target[used] / error[used, None]) ** 2))
    criteria = {}
    for order in orders:  # all degrees on the same pairs, so that clipping more is no way to a better fit
        own = slice(powers[order])
        solution = np.linalg.lstsq(normal[own, own], right[own], rcond=None)[0]
        chi2 = power - float(np.sum(solution * right[own]))
        criteria[order] = _criterion(chi2, 2 * int(used.sum()), 2 * powers[order])
    best = min(orders, key=criteria.__getitem__)
    design = design[:, : powers[best]]
    solution, used = _solve_clipped(design, target, error, clip_sigma, used)
    return first.plus(solution, used, target - design @ solution)


def _choose_similarity(
    xy: FloatArray, target: FloatArray, error: FloatArray, first: Correction, clip_sigma: float
) -> Correction:
    """Shift, or shift, rotation and scale: of complex numbers a line through the pairs."""
    u, v = _design(xy, 1, first.shape)[:, 1:].T
    design = np.stack([np.ones(len(xy)), u + 1j * v], axis=-1)
    fits = []
    for n_terms in (1, 2):
        solution, used = _solve_clipped(
            design[:, :n_terms], target[:, :1] + 1j * target[:, 1:], error, clip_sigma
        )
        a, b = np.append(solution.ravel(), 0.0)[:2]
        terms = np.array([[a.real, a.imag], [b.real, b.imag], [-b.imag, b.real]])[: 2 * n_terms - 1]
        residuals = target - _design(xy, n_terms - 1, first.shape) @ terms
        chi2 = float(np.sum((residuals[used] / error[used, None]) ** 2))
        criterion = _criterion(chi2, 2 * int(used.sum()), 2 * n_terms)
        fits.append((criterion, first.plus(terms, used, residuals)))
    return min(fits, key=lambda fit: fit[0])[1]


def _criterion(chi2: float, n_data: int, n_terms: int) -> float:
    """Bayesian information criterion with errors known up to a factor."""
    return float(n_data * np.log(max(chi2, TINY) / n_data) + n_terms * np.log(n_data))


def _design(xy: FloatArray, order: int, shape: tuple[int, int]) -> FloatArray:
    """Polynomial terms in coordinates that run from -1 to 1 along the longer side."""
    half = max(shape) / 2
    u, v = (xy[:, 0] - (shape[1] - 1) / 2) / half, (xy[:, 1] - (shape[0] - 1) / 2) / half
    return polynomial_design(u, v, order)


def _normal_equations(
    design: NDArray[Any], target: NDArray[Any], error: FloatArray
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Matrix (n_terms, n_terms) and right-hand sides (n_terms, k) of weighted least squares."""
    weighted = (design / error[:, None] ** 2).conj().T
    return weighted @ design, weighted @ target


def _solve_clipped(
    design: NDArray[Any],
    target: NDArray[Any],
    error: FloatArray,
    clip_sigma: float,
    used: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Weighted least squares by the normal equations, clipped until the same pairs remain."""
    used = np.ones(len(design), dtype=np.bool_) if used is None else used
    solution: NDArray[Any] = np.zeros((design.shape[1], target.shape[1]))
    for _ in range(CLIP_ROUNDS):
        normal, right = _normal_equations(design[used], target[used], error[used])
        solution = np.linalg.lstsq(normal, right, rcond=None)[0]
        chi2 = np.sum(np.abs(target - design @ solution) ** 2, axis=1) / error**2
        typical = max(float(np.median(chi2[used])) / MEDIAN_CHI2, TINY)  # scales wrong errors right
        before, used = used, chi2 < clip_sigma**2 * typical
        if (before == used).all():
            break
    return solution, used
