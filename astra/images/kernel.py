"""The kernel that makes one image look like another (Alard & Lupton 1998; Alard 2000).

Noise in the convolved image biases a plain least-squares kernel towards zero flux; the solution here is
corrected for it (`astra.images.kernel_solve`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.errors import KernelFitError, TooFewSourcesError
from astra.images.exposure import Exposure
from astra.images.kernel_basis import KernelBasis, make_kernel_basis
from astra.images.kernel_solve import (
    SpatialModel,
    clip_stamps,
    condition_number,
    flux_scatter,
    left_out_chi2,
    reduced_chi2,
    solve,
)
from astra.images.kernel_sources import find_stamp_centres
from astra.images.kernel_stamps import StampEquations, cut_stamps
from astra.images.matching_config import MatchingConfig
from astra.images.psf import polynomial_powers
from astra.images.spatial import SpatialKernel, frame_geometry

BAND_ROWS = 64  # of which the sky is made at once
NOMINAL_FWHM_PIXEL = 4.0  # seeing for which the widths of the basis are given
STAMPS_PER_TERM = 5  # stamps that one polynomial term in position needs
MAX_FLUX_RATIO_OFFSET = 0.9
MAX_NOISE_SHARE = 0.9
MAX_CHI2_GROWTH = 1.5


@dataclass(frozen=True)
class MatchingKernel:
    """A fitted kernel, its sky and how well it fits.

    Parameters
    ----------
    kernel : SpatialKernel
        Convolves the reference into the target.
    background : float64 ndarray, shape (n_terms,)
        Polynomial sky, target minus convolved reference [nJy].
    background_order : int
        Its degree.
    flux_ratio : float
        Sum of the kernel, the same over the frame.
    n_stamps, n_kept : int
        Stamps offered and used.
    chi2 : float
        Median chi square per pixel of the stamps used; below 1 where interpolation has smoothed the noise.
    condition_number : float
        Of the normal equations, their unknowns scaled to unit weight.
    flux_scatter : float
        Scatter of the flux ratio between the stamps used beyond their noise, as a fraction of it.
    """

    kernel: SpatialKernel
    background: NDArray[np.float64]
    background_order: int
    flux_ratio: float
    n_stamps: int
    n_kept: int
    chi2: float
    condition_number: float = float("nan")
    flux_scatter: float = float("nan")

    def add_background(self, image: NDArray[np.float32], factor: float = 1.0) -> None:
        """Add the sky, times a factor, to an image (ny, nx) [nJy], in place."""
        centre_x, centre_y, scale = frame_geometry((image.shape[0], image.shape[1]))
        table = np.zeros((self.background_order + 1, self.background_order + 1))
        for value, (i, j) in zip(self.background, polynomial_powers(self.background_order), strict=True):
            table[j, i] = factor * value
        powers = np.arange(self.background_order + 1)
        along_x = table @ ((np.arange(image.shape[1]) - centre_x) / scale) ** powers[:, None]
        along_y = ((np.arange(image.shape[0]) - centre_y) / scale)[:, None] ** powers
        for y0 in range(0, image.shape[0], BAND_ROWS):
            band = along_y[y0 : y0 + BAND_ROWS] @ along_x
            image[y0 : y0 + BAND_ROWS] += band.astype(np.float32)


def fit_kernel(
    reference: Exposure,
    target: Exposure,
    config: MatchingConfig,
    *,
    noise_power: NDArray[np.float64] | None = None,
) -> MatchingKernel:
    """Fit the kernel that convolves the reference into the target.

    Parameters
    ----------
    reference, target : Exposure, shape (ny, nx)
        On one grid, background subtracted, in one flux unit; the target has a PSF.
    config : MatchingConfig
    noise_power : ndarray, shape (m, m), optional
        Power spectrum of the reference's noise; white if it is not given.

    Returns
    -------
    matching : MatchingKernel

    Raises
    ------
    TooFewSourcesError
        If fewer than ``config.min_stamps`` sources can be used.
    KernelFitError
        If there is no solution, or its flux ratio is absurd.
    """
    basis = _scaled_basis(reference, target, config)
    equations = _make_equations(reference, target, config, basis, noise_power)
    first = SpatialModel(target.shape, basis.n_basis, 0, 0, 1 + config.fit_central_pixel)
    _, keep = clip_stamps(equations, first, n_sigma=2 * config.stamp_clip_sigma, max_iterations=3)
    model = _choose_model(equations.select(keep), target.shape, basis, config)
    solution, keep = clip_stamps(equations, model, n_sigma=config.stamp_clip_sigma, max_iterations=5)
    used = equations.select(keep)
    solution, chi2 = _remove_noise_bias(used, model, solution)
    table = model.table(solution)
    n_kernel, n_sky = (len(polynomial_powers(k)) for k in (model.order, model.background_order))
    stamps = np.tensordot(table[:n_kernel, : basis.n_basis], basis.images(), axes=1)
    flux_ratio = float(table[0, 0])
    if abs(flux_ratio - 1.0) > MAX_FLUX_RATIO_OFFSET:
        message = f"the matching kernel has a flux ratio of {flux_ratio:.3f}; both images must be in one unit"
        raise KernelFitError(message, flux_ratio=flux_ratio, n_stamps=int(keep.sum()))
    kernel = SpatialKernel(stamps, model.order, *frame_geometry(target.shape))
    return MatchingKernel(
        kernel,
        table[:n_sky, basis.n_basis],
        model.background_order,
        flux_ratio,
        len(keep),
        int(keep.sum()),
        chi2,
        condition_number(used, model),
        flux_scatter(used, model, solution),
    )


def _scaled_basis(reference: Exposure, target: Exposure, config: MatchingConfig) -> KernelBasis:
    """Basis whose widths follow the seeing of the broader image."""
    ny, nx = target.shape
    widths = [e.psf.fwhm_pixel(nx / 2, ny / 2) for e in (reference, target) if e.psf is not None]
    scale = float(np.clip(max(widths, default=NOMINAL_FWHM_PIXEL) / NOMINAL_FWHM_PIXEL, 0.75, 2.0))
    sigmas = tuple(scale * sigma for sigma in config.kernel_sigmas_pixel)
    half_width, with_pixel = config.kernel_half_width_pixel, config.fit_central_pixel
    return make_kernel_basis(sigmas, config.kernel_degrees, half_width, with_pixel=with_pixel)


def _make_equations(
    reference: Exposure,
    target: Exposure,
    config: MatchingConfig,
    basis: KernelBasis,
    noise_power: NDArray[np.float64] | None,
) -> StampEquations:
    """Choose the stamps and form their equations."""
    centres = find_stamp_centres(
        reference,
        target,
        min_peak_snr=config.stamp_min_peak_snr,
        saturation_radius=config.kernel_half_width_pixel,
        border=config.stamp_half_width_pixel + basis.half_width + 1,
        max_per_cell=config.stamps_per_cell,
    )
    stamps = cut_stamps(
        reference,
        target,
        (centres[0][: config.max_stamps], centres[1][: config.max_stamps]),
        basis,
        half_width=config.stamp_half_width_pixel,
        model_error=config.stamp_model_error,
    )
    if len(stamps.x) < config.min_stamps:
        message = (
            f"{len(stamps.x)} sources are usable for PSF matching, but {config.min_stamps} are required "
            f"(visit {target.info.visit}, detector {target.info.detector})"
        )
        raise TooFewSourcesError(message, n_sources=len(stamps.x), n_required=config.min_stamps)
    return stamps.equations(basis, noise_power)


def _remove_noise_bias(
    equations: StampEquations, model: SpatialModel, plain: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Solve without the noise bias, and return the solution with its median chi square.

    The correction takes the noise of the two images to be independent, and costs a little chi square. If it
    costs much, they are not (an image and a copy of it), and the plain solution is the better one.
    """
    plain_chi2 = float(np.median(reduced_chi2(equations, model, plain)))
    corrected = solve(equations, model, MAX_NOISE_SHARE)
    chi2 = float(np.median(reduced_chi2(equations, model, corrected)))
    return (corrected, chi2) if chi2 < MAX_CHI2_GROWTH * plain_chi2 else (plain, plain_chi2)


def _choose_model(
    equations: StampEquations, shape: tuple[int, int], basis: KernelBasis, config: MatchingConfig
) -> SpatialModel:
    """Take the degree in position that predicts left-out stamps best."""
    n_stamps = len(equations.x)
    candidates = [
        SpatialModel(
            shape, basis.n_basis, order, min(config.background_order, order), 1 + config.fit_central_pixel
        )
        for order in range(config.kernel_order + 1)
        if order == 0 or n_stamps >= STAMPS_PER_TERM * len(polynomial_powers(order))
    ]
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=lambda model: left_out_chi2(equations, model))
