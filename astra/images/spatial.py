"""Stamps that vary over an image as a polynomial, and the convolution of an image with them.

A `SpatialKernel` has no unit sum, unlike `astra.images.psf.Psf`: it is a matching kernel, a whitening filter
or a detection filter. Fitting a matching kernel to images is `astra.images.kernel`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from astra.images.psf import Psf, polynomial_powers

StampFunction = Callable[[float, float], NDArray[np.float64]]

BLOCK_PIXEL = 256  # side of one Fourier block: fits in the cache with a 31-pixel kernel at 12 % padding
BLOCK_TOLERANCE = 2.5e-4  # share of the kernel that its variation within a block may lack
SHARPEST_SIGMA_PIXEL = 0.85  # of the sharpest image that is sampled well: 2 pixels FWHM


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
    within each of which the kernel is a polynomial of the lowest degree that suffices: one inverse transform
    per term of that.

    Parameters
    ----------
    image : float32 ndarray, shape (ny, nx)
        Pixels that are not finite count as zero.
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
    order = _block_order(kernel, image.shape, step)
    ny, nx = image.shape
    out = np.empty((ny, nx), dtype=np.float32)
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            target = out[y0 : y0 + step, x0 : x0 + step]
            block = fft.rfft2(_read_block(image, y0 - half, x0 - half))
            local = _local_weights(kernel, (y0, x0), step, order)[0]
            mixed = (local @ transforms).view(np.complex64).reshape(len(local), *block.shape)
            parts = fft.irfft2(mixed * block, s=(BLOCK_PIXEL, BLOCK_PIXEL), overwrite_x=True)
            rows, columns = target.shape
            _sum_terms(parts[:, half : half + rows, half : half + columns], order, step, target)
    return out


def _read_block(image: NDArray[np.float32], y0: int, x0: int) -> NDArray[np.float32]:
    """Square of an image from a first row and column that may lie outside; zero where there is no pixel."""
    ny, nx = image.shape
    ya, xa, yb, xb = max(y0, 0), max(x0, 0), min(y0 + BLOCK_PIXEL, ny), min(x0 + BLOCK_PIXEL, nx)
    block = np.zeros((BLOCK_PIXEL, BLOCK_PIXEL), dtype=np.float32)
    inner = block[ya - y0 : yb - y0, xa - x0 : xb - x0]
    inner[:] = image[ya:yb, xa:xb]
    good = np.isfinite(inner)
    if not good.all():
        inner[~good] = 0.0
    return block


def _kernel_transforms(kernel: SpatialKernel) -> NDArray[np.float32]:
    """Fourier transforms of all terms, origin at the centre of the stamp, one in a row (real, imaginary)."""
    size, half = kernel.coefficients.shape[1], kernel.half_width
    stamps = np.zeros((len(kernel.coefficients), BLOCK_PIXEL, BLOCK_PIXEL), dtype=np.float32)
    stamps[:, :size, :size] = kernel.coefficients
    transforms = fft.rfft2(np.roll(stamps, (-half, -half), axis=(1, 2)))
    rows: NDArray[np.float32] = transforms.reshape(len(stamps), -1).view(np.float32)
    return rows


def _block_order(kernel: SpatialKernel, shape: tuple[int, int], step: int) -> int:
    """Lowest degree in position that describes the kernel within every block well enough.

    What no sampled image can hold does not count: the stamps are compared as a sharp image would show them.
    """
    seen = ndimage.gaussian_filter(kernel.coefficients, SHARPEST_SIGMA_PIXEL, axes=(1, 2), mode="constant")
    flat = seen.reshape(len(seen), -1)
    gram = flat @ flat.T
    # A polynomial varies most in the corners.
    starts = [(y0, x0) for y0 in (0, shape[0] - step) for x0 in (0, shape[1] - step)]
    for order in range(kernel.order):
        errors = np.concatenate([_local_weights(kernel, start, step, order)[1] for start in starts])
        if np.einsum("ni,ij,nj->n", errors, gram, errors).max() < BLOCK_TOLERANCE**2 * gram[0, 0]:
            return order
    return kernel.order


def _local_weights(
    kernel: SpatialKernel, start: tuple[int, int], step: int, order: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Express the polynomial terms of a kernel by those of a lower degree within a block.

    Returns
    -------
    weights : float32 ndarray, shape (n_local, n_terms)
        Local polynomial terms in coordinates that run from -1 to 1 over the block.
    errors : float64 ndarray, shape (n_nodes, n_terms)
        What they lack of each term at nodes over the block.
    """
    inverse, nodes = _block_nodes(order)
    y, x = (start[axis] + (step - 1) / 2 + nodes[axis] * step / 2 for axis in (0, 1))
    geometry = (kernel.x_centre, kernel.y_centre, kernel.scale)
    values: NDArray[np.float64] = spatial_terms(x, y, kernel.order, geometry).T
    weights: NDArray[np.float64] = inverse @ values
    local: NDArray[np.float64] = spatial_terms(nodes[1], nodes[0], order, (0.0, 0.0, 1.0)).T
    return weights.astype(np.float32), values - local @ weights


@lru_cache
def _block_nodes(order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit of local polynomial terms to values at nodes over a block, and the nodes (y, x) from -1 to 1."""
    line = np.linspace(-1.0, 1.0, 7)
    nodes: NDArray[np.float64] = np.array([axis.ravel() for axis in np.meshgrid(line, line, indexing="ij")])
    inverse = np.linalg.pinv(spatial_terms(nodes[1], nodes[0], order, (0.0, 0.0, 1.0)).T)
    return np.asarray(inverse, dtype=np.float64), nodes


def _sum_terms(parts: NDArray[np.float32], order: int, step: int, target: NDArray[np.float32]) -> None:
    """Sum the local polynomial terms times their convolutions into one output block."""
    line = ((np.arange(step) - (step - 1) / 2) * (2 / step)).astype(np.float32)
    v, u = line[: target.shape[0], None], line[None, : target.shape[1]]
    target[:] = parts[0]
    for part, (i, j) in zip(parts[1:], polynomial_powers(order)[1:], strict=True):
        factor = v**j if i == 0 else u**i if j == 0 else u**i * v**j
        target += np.multiply(part, factor, out=part)
