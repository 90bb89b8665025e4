"""Stamps that vary over an image as a polynomial, and the convolution of an image with them.

A `SpatialKernel` has no unit sum, unlike `astra.images.psf.Psf`: it is a matching kernel, a whitening filter
or a detection filter. Fitting a matching kernel to images is `astra.images.kernel`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astra.images.psf import Psf, polynomial_powers

StampFunction = Callable[[float, float], NDArray[np.float64]]

BLOCK_PIXEL = 256  # side of one Fourier block: fits in the cache with a 31-pixel kernel at 12 % padding


@dataclass(frozen=True)
class SpatialKernel:
    """A convolution kernel whose stamp is a polynomial in position.

    Parameters
    ----------
    coefficients : float64 ndarray, shape (n_terms, size, size)
        One stamp per term of ``polynomial_powers(order)``; ``size`` is odd.
    order : int
        Total degree of the polynomial.
    x_centre, y_centre : float
        Position where both normalised coordinates are zero [pixel].
    scale : float
        Distance of one normalised unit [pixel].
    """

    coefficients: NDArray[np.float64]
    order: int = 0
    x_centre: float = 0.0
    y_centre: float = 0.0
    scale: float = 1000.0

    def __post_init__(self) -> None:
        expected = len(polynomial_powers(self.order))
        shape = self.coefficients.shape
        if len(shape) != 3 or shape[0] != expected or shape[1] != shape[2] or shape[1] % 2 == 0:
            message = f"a kernel of order {self.order} needs shape ({expected}, odd, same), found {shape}"
            raise ValueError(message)

    @property
    def half_width(self) -> int:
        """Pixels from the centre to the edge of the stamp."""
        return int(self.coefficients.shape[1]) // 2

    def at(self, x: float, y: float) -> NDArray[np.float64]:
        """Kernel stamp at (x, y) [pixel], shape (size, size)."""
        weights = spatial_terms(x, y, self.order, (self.x_centre, self.y_centre, self.scale))
        stamp: NDArray[np.float64] = np.tensordot(weights, self.coefficients, axes=1)
        return stamp

    def as_psf(self) -> Psf:
        """Read the same polynomial as a PSF, which has unit sum everywhere."""
        return Psf(self.coefficients, self.order, self.x_centre, self.y_centre, self.scale)


def spatial_terms(
    x: NDArray[np.float64] | float,
    y: NDArray[np.float64] | float,
    order: int,
    geometry: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Values of the polynomial terms at positions [pixel], shape (n_terms, ...).

    ``geometry`` is the centre x, centre y and scale [pixel] of the normalised coordinates.
    """
    x_centre, y_centre, scale = geometry
    u, v = (np.asarray(x) - x_centre) / scale, (np.asarray(y) - y_centre) / scale
    return np.array([u**i * v**j for i, j in polynomial_powers(order)])


def frame_geometry(shape: tuple[int, int]) -> tuple[float, float, float]:
    """Centre x, centre y and scale [pixel] that map a frame of shape (ny, nx) into [-1, 1]."""
    ny, nx = shape
    return (nx - 1) / 2, (ny - 1) / 2, max(nx, ny, 2) / 2


def fit_spatial_kernel(
    stamp_at: StampFunction, shape: tuple[int, int], order: int, n_nodes: int = 5
) -> SpatialKernel:
    """Approximate a function of position by a polynomial of stamps, from a grid of nodes over the frame.

    Parameters
    ----------
    stamp_at : callable
        ``stamp_at(x, y)`` returns a (size, size) stamp for a position [pixel].
    shape : tuple of int
        Frame (ny, nx) [pixel].
    order : int
        Total degree.
    n_nodes : int, optional
        Nodes along each axis.

    Returns
    -------
    kernel : SpatialKernel
    """
    x_centre, y_centre, scale = frame_geometry(shape)
    if order == 0:
        return SpatialKernel(stamp_at(x_centre, y_centre)[None], 0, x_centre, y_centre, scale)
    nodes_y, nodes_x = np.meshgrid(
        np.linspace(0, shape[0] - 1, n_nodes), np.linspace(0, shape[1] - 1, n_nodes), indexing="ij"
    )
    stamps = np.array([stamp_at(x, y) for x, y in zip(nodes_x.ravel(), nodes_y.ravel(), strict=True)])
    terms = spatial_terms(nodes_x.ravel(), nodes_y.ravel(), order, (x_centre, y_centre, scale))
    solution = np.linalg.lstsq(terms.T, stamps.reshape(len(stamps), -1), rcond=None)[0]
    return SpatialKernel(solution.reshape(-1, *stamps.shape[1:]), order, x_centre, y_centre, scale)


def convolve_spatial(image: NDArray[np.float32], kernel: SpatialKernel) -> NDArray[np.float32]:
    """Convolve an image with a kernel that varies over it; zero outside the image.

    The kernel is that of the *output* pixel: out(x) = sum_d K(d; x) image(x - d). Overlapping Fourier blocks,
    one inverse transform per polynomial term.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Without NaN.
    kernel : SpatialKernel

    Returns
    -------
    convolved : float32 ndarray, shape (ny, nx)
        In the unit of ``image`` times that of the kernel.
    """
    half = kernel.half_width
    step = BLOCK_PIXEL - 2 * half
    if step < 1:
        message = f"a kernel of half-width {half} does not fit into blocks of {BLOCK_PIXEL} pixels"
        raise ValueError(message)
    transforms = _kernel_transforms(kernel)
    ny, nx = image.shape
    out = np.empty((ny, nx), dtype=np.float32)
    padded = np.zeros((_padded(ny, step) + 2 * half, _padded(nx, step) + 2 * half), dtype=np.float32)
    padded[half : half + ny, half : half + nx] = image
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            block = fft.rfft2(padded[y0 : y0 + BLOCK_PIXEL, x0 : x0 + BLOCK_PIXEL])
            out[y0:y1, x0:x1] = _block(block, transforms, kernel, (y0, y1, x0, x1))
    return out


def _padded(length: int, step: int) -> int:
    """Smallest multiple of the step that covers the length."""
    return -(-length // step) * step


def _kernel_transforms(kernel: SpatialKernel) -> NDArray[np.complex64]:
    """Fourier transforms of all terms, origin at the centre of the stamp."""
    size, half = kernel.coefficients.shape[1], kernel.half_width
    stamps = np.zeros((len(kernel.coefficients), BLOCK_PIXEL, BLOCK_PIXEL), dtype=np.float32)
    stamps[:, :size, :size] = kernel.coefficients
    transforms: NDArray[np.complex64] = fft.rfft2(np.roll(stamps, (-half, -half), axis=(1, 2)))
    return transforms


def _block(
    block: NDArray[np.complex64],
    transforms: NDArray[np.complex64],
    kernel: SpatialKernel,
    bounds: tuple[int, int, int, int],
) -> NDArray[np.float32]:
    """Sum over the polynomial terms for one output block."""
    y0, y1, x0, x1 = bounds
    half = kernel.half_width
    window = np.s_[half : half + y1 - y0, half : half + x1 - x0]
    u = ((np.arange(x0, x1) - kernel.x_centre) / kernel.scale).astype(np.float32)
    v = ((np.arange(y0, y1) - kernel.y_centre) / kernel.scale).astype(np.float32)
    total = np.zeros((y1 - y0, x1 - x0), dtype=np.float32)
    for transform, (i, j) in zip(transforms, polynomial_powers(kernel.order), strict=True):
        part = fft.irfft2(block * transform, s=(BLOCK_PIXEL, BLOCK_PIXEL))[window]
        total += part * np.outer(v**j, u**i)
    return total
