"""A kernel that varies over an image, as its mean and the few modes in which it does.

A polynomial of stamps costs one Fourier transform a term. A kernel that changes little has one or two
directions in which it changes, and one transform for each of them is all it takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.interpolate import CubicSpline

from astra.images.spatial import StampFunction

N_NODES = 7  # along each axis of the frame
MAX_MODES = 8
SMALL_BLOCK_PIXEL = 256  # side of one Fourier block, for kernels up to ...
SMALL_HALF_WIDTH = 20
LARGE_BLOCK_PIXEL = 512  # ... and beyond


@dataclass(frozen=True)
class ModalKernel:
    """A convolution kernel K(x, y) = mean + sum_m w_m(x, y) mode_m, the weights cubic splines in position.

    Parameters
    ----------
    mean : float64 ndarray, shape (size, size)
        ``size`` is odd.
    modes : float64 ndarray, shape (n_modes, size, size)
        The changes have no sum if all stamps have one.
    weights : float64 ndarray, shape (n_modes, n_y, n_x)
        At the nodes.
    nodes : tuple of float64 ndarrays, shapes (n_x,) and (n_y,)
        Columns and rows of the nodes [pixel].
    """

    mean: NDArray[np.float64]
    modes: NDArray[np.float64]
    weights: NDArray[np.float64]
    nodes: tuple[NDArray[np.float64], NDArray[np.float64]]

    @property
    def half_width(self) -> int:
        """Pixels from the centre to the edge of the stamp."""
        return int(self.mean.shape[0]) // 2

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row in the middle of the frame [pixel]."""
        return float(self.nodes[0].mean()), float(self.nodes[1].mean())

    def at(self, x: float, y: float) -> NDArray[np.float64]:
        """Kernel stamp at (x, y) [pixel], shape (size, size)."""
        along_x, along_y = (
            _interpolation(nodes, np.array([where]))[0]
            for nodes, where in zip(self.nodes, (x, y), strict=True)
        )
        stamp: NDArray[np.float64] = self.mean + np.tensordot(
            along_y @ self.weights @ along_x, self.modes, axes=1
        )
        return stamp


def _interpolation(nodes: NDArray[np.float64], where: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix of the cubic spline through values at the nodes, shape (len(where), len(nodes))."""
    matrix: NDArray[np.float64] = CubicSpline(nodes, np.eye(len(nodes)))(where)
    return matrix


def fit_modal_kernel(
    stamp_at: StampFunction,
    shape: tuple[int, int],
    tolerance: float,
    *,
    constant: bool = False,
    max_modes: int = MAX_MODES,
) -> ModalKernel:
    """Find the modes of a kernel from its stamps on a grid of nodes over the frame.

    Parameters
    ----------
    stamp_at : callable
        ``stamp_at(x, y)`` returns a (size, size) stamp for a position [pixel].
    shape : tuple of int
        Frame (ny, nx) [pixel].
    tolerance : float
        Root mean square of what is left out, over that of the mean stamp; more is left out only if
        ``max_modes`` do not take it.
    constant : bool, optional
        The kernel is the same everywhere, and one stamp is enough.
    max_modes : int, optional
        Modes that are kept at most.

    Returns
    -------
    kernel : ModalKernel
    """
    nodes = np.linspace(0, shape[1] - 1, N_NODES), np.linspace(0, shape[0] - 1, N_NODES)
    if constant or min(shape) < N_NODES:
        centre = stamp_at(float(nodes[0].mean()), float(nodes[1].mean()))
        return ModalKernel(centre, np.zeros((0, *centre.shape)), np.zeros((0, N_NODES, N_NODES)), nodes)
    stamps = np.array([stamp_at(float(x), float(y)) for y in nodes[1] for x in nodes[0]])
    flat = stamps.reshape(len(stamps), -1)
    mean = flat.mean(axis=0)
    left, singular, right = np.linalg.svd(flat - mean, full_matrices=False)
    # What the modes from m on leave out, root mean square over the nodes.
    remainder = np.sqrt(np.cumsum(singular[::-1] ** 2)[::-1] / len(stamps)) / np.linalg.norm(mean)
    n_modes = min(int(np.sum(remainder > tolerance)), max_modes)
    weights = (left[:, :n_modes] * singular[:n_modes]).T.reshape(n_modes, N_NODES, N_NODES)
    size = stamps.shape[1:]
    return ModalKernel(mean.reshape(size), right[:n_modes].reshape(-1, *size), weights, nodes)


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
    # In single precision and once for all blocks: the weights would else cost more than the transforms.
    splines = [
        _interpolation(nodes, np.arange(length, dtype=float)).astype(np.float32)
        for nodes, length in zip(kernel.nodes, (nx, ny), strict=True)
    ]
    values = kernel.weights.astype(np.float32)
    out = np.empty((ny, nx), dtype=np.float32)
    window = np.zeros((side, side), dtype=np.float32)
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            _fill_window(window, image, bad, (y0 - half, x0 - half))
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            along_x, along_y = splines[0][x0:x1], splines[1][y0:y1]
            weights = [along_y @ value @ along_x.T for value in values]
            inside = np.s_[half : half + y1 - y0, half : half + x1 - x0]
            out[y0:y1, x0:x1] = _block(fft.rfft2(window), transforms, weights, inside)
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
    weights: list[NDArray[np.float32]],
    inside: tuple[slice, slice],
) -> NDArray[np.float32]:
    """Sum over the mean and the modes for one output block."""
    side = transforms.shape[1]
    total: NDArray[np.float32] = fft.irfft2(block * transforms[0], s=(side, side))[inside]
    for transform, weight in zip(transforms[1:], weights, strict=True):
        total += fft.irfft2(block * transform, s=(side, side))[inside] * weight
    return total
