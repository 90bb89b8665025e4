"""Flux ratio, shift and sky between two images, from stars seen through each other's PSF.

Filtered with the PSF of the other, both images have the same PSF, and differ by what is fitted here: the flux
ratio of the template, the error of its registration (linear in position), and nothing else. No kernel is
needed, nor many stars; without any, calibrated images are taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.images.decorrelation import FOURIER_SIDE, NoiseModel, transform_stamp
from astra.images.exposure import MASK_BAD, MASK_CR, MASK_EDGE, MASK_NO_DATA, MASK_SAT, Exposure
from astra.images.masks import grow_square
from astra.images.psf import Psf
from astra.images.spatial import frame_geometry

UNUSABLE = MASK_BAD | MASK_CR | MASK_EDGE | MASK_NO_DATA | MASK_SAT
CELL_PIXEL = 64  # whose brightest pixel is a candidate
MIN_STARS = 3
MAX_STARS = 400
STAMP_HALF_WIDTH = FOURIER_SIDE // 2
FIT_HALF_WIDTH = 7  # the rest of a stamp is there to be filtered
CLEAR_HALF_WIDTH = 15  # without unusable pixels
MODEL_ERROR = 0.01  # of the flux of a pixel
N_FITS = 5
CLIP_FACTOR = 4.0  # of the median of the stars' chi square
N_TERMS = 7  # flux, and the shift along x and y times 1, u, v


@dataclass(frozen=True)
class Registration:
    """How a template lies under a science image.

    Parameters
    ----------
    flux_ratio : float
        Flux of a star in the template over that in the science image.
    shifts : float64 ndarray, shape (2, 3)
        Along x and y, times 1, u and v: from the stars of the template to those of the science image [pixel].
    geometry : tuple of float
        Centre x, centre y and scale [pixel] of u and v.
    n_stars, n_kept : int
        Stars offered and used.
    """

    flux_ratio: float
    shifts: NDArray[np.float64]
    geometry: tuple[float, float, float]
    n_stars: int
    n_kept: int

    def shift_at(self, x: float, y: float) -> tuple[float, float]:
        """Shift along x and y at a position [pixel]."""
        centre_x, centre_y, scale = self.geometry
        terms = np.array([1.0, (x - centre_x) / scale, (y - centre_y) / scale])
        along_x, along_y = self.shifts @ terms
        return float(along_x), float(along_y)


def register(
    science: Exposure, template: Exposure, noise: NoiseModel, *, min_peak_snr: float
) -> Registration:
    """Fit flux ratio and shift of a template.

    Parameters
    ----------
    science, template : Exposure, shape (ny, nx)
        On one grid, background subtracted, in one flux unit, with PSF.
    noise : NoiseModel
        Its *other* is the science image, its *convolved* the template.
    min_peak_snr : float
        Least signal to noise of a star's brightest pixel.

    Returns
    -------
    registration : Registration
        Flux ratio 1 and no shift if there are fewer than 3 stars.
    """
    geometry = frame_geometry(science.shape)
    x, y = _find_stars(science, template, min_peak_snr)
    if len(x) < MIN_STARS:
        return Registration(1.0, np.zeros((2, 3)), geometry, len(x), 0)
    matrices, vectors, squares, counts = _equations(science, template, noise, (x, y))
    kept, solution = np.ones(len(x), dtype=bool), np.zeros(N_TERMS)
    for _ in range(N_FITS):
        solution = np.linalg.lstsq(matrices[kept].sum(axis=0), vectors[kept].sum(axis=0), rcond=None)[0]
        chi2 = squares - 2 * vectors @ solution + np.einsum("i,nij,j->n", solution, matrices, solution)
        chi2 /= counts
        kept = chi2 <= CLIP_FACTOR * float(np.median(chi2[kept]))
        if kept.sum() < MIN_STARS:
            kept = np.ones(len(x), dtype=bool)
            break
    # What is fitted is B / beta - d . grad(B) / beta: a star that is moved by d.
    shifts = -solution[1:].reshape(2, 3) / solution[0]
    return Registration(float(1.0 / solution[0]), shifts, geometry, len(x), int(kept.sum()))


def _find_stars(
    science: Exposure, template: Exposure, min_peak_snr: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of the brightest peaks, one a cell, away from what cannot be used."""
    ny, nx = (length // CELL_PIXEL * CELL_PIXEL for length in science.shape)
    if ny == 0 or nx == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bad = grow_square(((science.mask | template.mask) & UNUSABLE) > 0, CLEAR_HALF_WIDTH)
    variance = np.maximum(science.variance, np.float32(1e-30))
    snr = np.where(bad | ~np.isfinite(science.image), np.float32(0), science.image / np.sqrt(variance))
    cells = snr[:ny, :nx].reshape(ny // CELL_PIXEL, CELL_PIXEL, nx // CELL_PIXEL, CELL_PIXEL)
    flat = cells.swapaxes(1, 2).reshape(ny // CELL_PIXEL, nx // CELL_PIXEL, -1)
    index, peak = flat.argmax(axis=2), flat.max(axis=2)
    y = np.arange(ny // CELL_PIXEL)[:, None] * CELL_PIXEL + index // CELL_PIXEL
    x = np.arange(nx // CELL_PIXEL)[None, :] * CELL_PIXEL + index % CELL_PIXEL
    half = STAMP_HALF_WIDTH
    inside = (y >= half) & (x >= half) & (y < science.shape[0] - half) & (x < science.shape[1] - half)
    order = np.argsort(-np.where(inside & (peak >= min_peak_snr), peak, 0.0), axis=None)
    n_stars = min(int(np.sum(inside & (peak >= min_peak_snr))), MAX_STARS)
    return x.ravel()[order[:n_stars]], y.ravel()[order[:n_stars]]


def _equations(
    science: Exposure,
    template: Exposure,
    noise: NoiseModel,
    stars: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[NDArray[np.float64], ...]:
    """Form normal matrix, vector, square sum and number of pixels of every star, without its mean sky."""
    geometry = frame_geometry(science.shape)
    n_stars = len(stars[0])
    matrices, vectors = np.zeros((n_stars, N_TERMS, N_TERMS)), np.zeros((n_stars, N_TERMS))
    squares = np.zeros(n_stars)
    for k, (x, y) in enumerate(zip(*stars, strict=True)):
        one, other, variance = _filtered(science, template, noise, (int(x), int(y)))
        along_y, along_x = np.gradient(other)
        place = np.array([1.0, (x - geometry[0]) / geometry[2], (y - geometry[1]) / geometry[2]])
        columns = [other, *(along_x * term for term in place), *(along_y * term for term in place)]
        middle = slice(STAMP_HALF_WIDTH - FIT_HALF_WIDTH, STAMP_HALF_WIDTH + FIT_HALF_WIDTH + 1)
        weight = 1.0 / (variance + (MODEL_ERROR * np.maximum(one, 0)) ** 2)[middle, middle].ravel()
        table = np.stack([column[middle, middle].ravel() for column in (one, *columns)], axis=-1)
        table -= np.average(table, axis=0, weights=weight)
        products = table.T @ (weight[:, None] * table)
        squares[k], vectors[k], matrices[k] = products[0, 0], products[0, 1:], products[1:, 1:]
    counts = np.full(n_stars, float((2 * FIT_HALF_WIDTH + 1) ** 2))
    return matrices, vectors, squares, counts


def _filtered(
    science: Exposure, template: Exposure, noise: NoiseModel, star: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Stamps of both images through each other's PSF, and the variance of their difference."""
    x, y = star
    window = np.s_[y - STAMP_HALF_WIDTH : y + STAMP_HALF_WIDTH, x - STAMP_HALF_WIDTH : x + STAMP_HALF_WIDTH]
    stamps = [np.nan_to_num(e.image[window].astype(float)) for e in (science, template)]
    responses = [_response(e.psf, x, y) for e in (template, science)]
    one, other = (np.fft.ifft2(np.fft.fft2(s) * r).real for s, r in zip(stamps, responses, strict=True))
    variance = noise.other_variance * np.mean(np.abs(responses[0]) ** 2 * noise.other_power)
    variance += noise.convolved_variance * np.mean(np.abs(responses[1]) ** 2 * noise.convolved_power)
    return one, other, float(variance)


def _response(psf: Psf | None, x: float, y: float) -> NDArray[np.complex128]:
    """Transform of the PSF at a position, cut to what fits a stamp."""
    if psf is None:
        message = "the images of a proper difference need a PSF"
        raise ValueError(message)
    stamp = psf.stamp(x, y)
    margin = max(stamp.shape[0] // 2 - (FOURIER_SIDE // 2 - 1), 0)
    return transform_stamp(stamp[margin : stamp.shape[0] - margin, margin : stamp.shape[1] - margin])
