"""A kernel that varies over an image, as its mean and the few modes in which it does.

A polynomial of stamps costs one Fourier transform a term. A kernel that changes little has one or two
directions in which it changes, and one transform for each of them is all it takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astra.images.psf import polynomial_powers
from astra.images.spatial import StampFunction, frame_geometry, spatial_terms

N_NODES = 6  # along each axis of the frame
SMALL_BLOCK_PIXEL = 256  # side of one Fourier block, for kernels up to ...
SMALL_HALF_WIDTH = 20
LARGE_BLOCK_PIXEL = 512  # ... and beyond


@dataclass(frozen=True)
class ModalKernel:
    """A convolution kernel K(x, y) = mean + sum_m w_m(x, y) mode_m, the weights polynomials in position.

    Parameters
    ----------
    mean : float64 ndarray, shape (size, size)
        ``size`` is odd.
    modes : float64 ndarray, shape (n_modes, size, size)
        The changes have no sum if all stamps have one.
    weights : float64 ndarray, shape (n_modes, order + 1, order + 1)
        Coefficients of v**j u**i at ``[m, j, i]``.
    geometry : tuple of float
        Centre x, centre y and scale [pixel] of the normalised coordinates u, v.
    """

    mean: NDArray[np.float64]
    modes: NDArray[np.float64]
    weights: NDArray[np.float64]
    geometry: tuple[float, float, float]

    @property
    def half_width(self) -> int:
        """Pixels from the centre to the edge of the stamp."""
        return int(self.mean.shape[0]) // 2

    def at(self, x: float, y: float) -> NDArray[np.float64]:
        """Kernel stamp at (x, y) [pixel], shape (size, size)."""
        weights = self.weights_over(np.array([x]), np.array([y]))[:, 0, 0]
        stamp: NDArray[np.float64] = self.mean + np.tensordot(weights, self.modes, axes=1)
        return stamp

    def weights_over(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of the modes on the grid of columns x and rows y, shape (n_modes, len(y), len(x))."""
        x_centre, y_centre, scale = self.geometry
        powers = np.arange(self.weights.shape[1])[:, None]
        u, v = ((x - x_centre) / scale) ** powers, ((y - y_centre) / scale) ** powers
        weights: NDArray[np.float64] = v.T @ self.weights @ u
        return weights


def fit_modal_kernel(
    stamp_at: StampFunction, shape: tuple[int, int], order: int, tolerance: float
) -> ModalKernel:
    """Find the modes of a kernel from its stamps on a grid of nodes over the frame.

    Parameters
    ----------
    stamp_at : callable
        ``stamp_at(x, y)`` returns a (size, size) stamp for a position [pixel].
    shape : tuple of int
        Frame (ny, nx) [pixel].
    order : int
        Total degree of the weights in position; 0 for a constant kernel.
    tolerance : float
        Root mean square of what is left out, over that of the mean stamp.

    Returns
    -------
    kernel : ModalKernel
    """
    geometry = frame_geometry(shape)
    centre = stamp_at(geometry[0], geometry[1])
    none = np.zeros((0, *centre.shape)), np.zeros((0, order + 1, order + 1))
    if order == 0:
        return ModalKernel(centre, *none, geometry)
    x, y = (np.linspace(0, length - 1, N_NODES) for length in (shape[1], shape[0]))
    nodes_x, nodes_y = (nodes.ravel() for nodes in np.meshgrid(x, y))
    stamps = np.array([stamp_at(*node).ravel() for node in zip(nodes_x, nodes_y, strict=True)])
    mean = stamps.mean(axis=0)
    left, singular, right = np.linalg.svd(stamps - mean, full_matrices=False)
    # What the modes from m on leave out, root mean square over the nodes.
    remainder = np.sqrt(np.cumsum(singular[::-1] ** 2)[::-1] / len(stamps)) / np.linalg.norm(mean)
    n_modes = int(np.sum(remainder > tolerance))
    terms = spatial_terms(nodes_x, nodes_y, order, geometry)
    solution = np.linalg.lstsq(terms.T, left[:, :n_modes] * singular[:n_modes], rcond=None)[0]
    weights = np.zeros((n_modes, order + 1, order + 1))
    for row, (i, j) in zip(solution, polynomial_powers(order), strict=True):
        weights[:, j, i] = row
    size = centre.shape
    return ModalKernel(mean.reshape(size), right[:n_modes].reshape(-1, *size), weights, geometry)


def convolve_modes(
    image: NDArray[np.float32], kernel: ModalKernel, bad: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Convolve an image with a kernel that varies over it; zero outside the image and in bad pixels.

    The kernel is that of the *output* pixel, as in `astra.images.spatial.convolve_spatial`. Overlapping
    Fourier blocks, one inverse transform for the mean and one for each mode.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Finite but in bad pixels.
    kernel : ModalKernel
    bad : bool ndarray, shape (ny, nx), optional
        Pixels that count as zero.

    Returns
    -------
    convolved : float32 ndarray, shape (ny, nx)
    """
    half = kernel.half_width
    side = SMALL_BLOCK_PIXEL if half <= SMALL_HALF_WIDTH else LARGE_BLOCK_PIXEL
    step = side - 2 * half
    transforms = _transforms(kernel, side)
    ny, nx = image.shape
    out = np.empty((ny, nx), dtype=np.float32)
    window = np.zeros((side, side), dtype=np.float32)
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            _fill_window(window, image, bad, (y0 - half, x0 - half))
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            out[y0:y1, x0:x1] = _block(fft.rfft2(window), transforms, kernel, (y0, y1, x0, x1))
    return out


def _transforms(kernel: ModalKernel, side: int) -> NDArray[np.complex64]:
    """Fourier transforms of the mean and the modes, origin at the centre of the stamp."""
    size, half = kernel.mean.shape[0], kernel.half_width
    stamps = np.zeros((1 + len(kernel.modes), side, side), dtype=np.float32)
    stamps[0, :size, :size] = kernel.mean
    stamps[1:, :size, :size] = kernel.modes
    transforms: NDArray[np.complex64] = fft.rfft2(np.roll(stamps, (-half, -half), axis=(1, 2)))
    return transforms


def _fill_window(
    window: NDArray[np.float32],
    image: NDArray[np.float32],
    bad: NDArray[np.bool_] | None,
    corner: tuple[int, int],
) -> None:
    """Copy a part of the image, zero where it is bad or beyond the frame."""
    side, (ny, nx) = len(window), image.shape
    ya, xa = max(corner[0], 0), max(corner[1], 0)
    yb, xb = min(corner[0] + side, ny), min(corner[1] + side, nx)
    inside = np.s_[ya - corner[0] : yb - corner[0], xa - corner[1] : xb - corner[1]]
    if yb - ya < side or xb - xa < side:
        window[:] = 0.0
    window[inside] = image[ya:yb, xa:xb]
    if bad is not None:
        window[inside][bad[ya:yb, xa:xb]] = 0.0


def _block(
    block: NDArray[np.complex64],
    transforms: NDArray[np.complex64],
    kernel: ModalKernel,
    bounds: tuple[int, int, int, int],
) -> NDArray[np.float32]:
    """Sum over the mean and the modes for one output block."""
    y0, y1, x0, x1 = bounds
    half, side = kernel.half_width, transforms.shape[1]
    inside = np.s_[half : half + y1 - y0, half : half + x1 - x0]
    total: NDArray[np.float32] = fft.irfft2(block * transforms[0], s=(side, side))[inside]
    if len(kernel.modes):
        weights = kernel.weights_over(np.arange(x0, x1, dtype=float), np.arange(y0, y1, dtype=float)).astype(
            np.float32
        )
        for transform, weight in zip(transforms[1:], weights, strict=True):
            total += fft.irfft2(block * transform, s=(side, side))[inside] * weight
    return total
