"""Basis of the matching kernel: Gaussians times polynomials (Alard & Lupton 1998, ApJ 503, 325).

Every basis function is a product of a function of x and one of y, so that a convolution with all of them
costs two small matrix products per stamp. The first function carries the flux ratio; all others have zero sum
(Alard 2000, A&AS 144, 363), which keeps the flux ratio constant over the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class KernelBasis:
    """Separable functions and the linear map to the functions that are fitted.

    Parameters
    ----------
    profiles : float64 ndarray, shape (n_profiles, size)
        One-dimensional Gaussian times power, unit square sum.
    pairs : int ndarray, shape (n_basis, 2)
        Profile along y and profile along x of each two-dimensional product.
    transform : float64 ndarray, shape (n_basis, n_basis)
        Fitted functions = ``transform @ products``.
    """

    profiles: NDArray[np.float64]
    pairs: NDArray[np.int64]
    transform: NDArray[np.float64]

    @property
    def half_width(self) -> int:
        """Pixels from the centre to the edge of a function."""
        return int(self.profiles.shape[1]) // 2

    @property
    def n_basis(self) -> int:
        """Number of functions."""
        return len(self.pairs)

    def images(self) -> NDArray[np.float64]:
        """Return the fitted functions, shape (n_basis, size, size): the first of unit sum, others of zero."""
        products = self.profiles[self.pairs[:, 0], :, None] * self.profiles[self.pairs[:, 1], None, :]
        images: NDArray[np.float64] = np.tensordot(self.transform, products, axes=1)
        return images

    def convolve(self, cutouts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convolve cutouts with every function, keeping the pixels that see whole kernels.

        Parameters
        ----------
        cutouts : ndarray, shape (n, m, m)
            Squares of side m > 2 half_width.

        Returns
        -------
        convolved : ndarray, shape (n, n_basis, m - 2 half_width, m - 2 half_width)
        """
        products = self.products(cutouts)
        flat = products.reshape(len(cutouts), self.n_basis, -1)
        convolved: NDArray[np.float64] = (self.transform @ flat).reshape(products.shape)
        return convolved

    def products(self, cutouts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convolve cutouts with every product of profiles, of which ``transform`` makes the functions.

        Shapes as those of `convolve`.
        """
        n, side, _ = cutouts.shape
        matrices = self._toeplitz(side)
        n_out = matrices.shape[1]
        # Rows outermost, so that each step is one large matrix product for all cutouts.
        rows = np.ascontiguousarray(np.swapaxes(cutouts, 0, 1)).reshape(side * n, side)
        along_x = [(rows @ matrix.T).reshape(side, n * n_out) for matrix in matrices]
        products = np.empty((n, self.n_basis, n_out, n_out))
        for k, (first, second) in enumerate(self.pairs):
            product = matrices[first] @ along_x[second]
            products[:, k] = np.swapaxes(product.reshape(n_out, n, n_out), 0, 1)
        return products

    def noise_gram(self, noise_power: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Covariance of the convolutions of one noise field with all functions, shape (n_basis, n_basis).

        Parameters
        ----------
        noise_power : ndarray, shape (m, m), optional
            Power spectrum of the noise in the order of ``numpy.fft.fft2``; 1 everywhere if it is not given.
        """
        images = self.images()
        if noise_power is None:
            flat = images.reshape(self.n_basis, -1)
            return flat @ flat.T
        side = len(noise_power)
        spectrum = np.fft.fft2(images, s=(side, side)).reshape(self.n_basis, -1)
        gram: NDArray[np.float64] = ((spectrum * noise_power.ravel()) @ spectrum.conj().T).real / side**2
        return gram

    def _toeplitz(self, side: int) -> NDArray[np.float64]:
        """Convolution with each profile as a matrix, shape (n_profiles, side - 2 half_width, side)."""
        n_profiles, size = self.profiles.shape
        n_out = side - size + 1
        matrices = np.zeros((n_profiles, n_out, side))
        for row in range(n_out):
            matrices[:, row, row : row + size] = self.profiles[:, ::-1]
        return matrices


def make_kernel_basis(
    sigmas_pixel: tuple[float, ...], degrees: tuple[int, ...], half_width: int, *, with_pixel: bool = False
) -> KernelBasis:
    """Build the Gaussian times polynomial basis.

    Parameters
    ----------
    sigmas_pixel : tuple of float
        Widths of the Gaussians [pixel].
    degrees : tuple of int
        Highest total power of x and y on each Gaussian.
    half_width : int
        Pixels from the centre to the edge.
    with_pixel : bool, optional
        Make the second function the central pixel alone, of which no sum of Gaussians comes near.

    Returns
    -------
    basis : KernelBasis
    """
    offset = np.arange(-half_width, half_width + 1, dtype=float)
    profiles: list[NDArray[np.float64]] = []
    pairs: list[tuple[int, int]] = []
    for sigma, degree in zip(sigmas_pixel, degrees, strict=True):
        first = len(profiles)
        for power in range(degree + 1):
            profile = (offset / sigma) ** power * np.exp(-0.5 * (offset / sigma) ** 2)
            profiles.append(profile / np.sqrt(np.sum(profile**2)))
        pairs += [(first + j, first + i) for i in range(degree + 1) for j in range(degree + 1 - i)]
    if with_pixel:
        profiles.append((offset == 0).astype(float))
        pairs.insert(1, (len(profiles) - 1, len(profiles) - 1))
    stacked, index = np.array(profiles), np.array(pairs, dtype=np.int64)
    return KernelBasis(stacked, index, _zero_sum_transform(stacked, index))


def _zero_sum_transform(profiles: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Make the first function unit sum and every other one zero sum and unit square sum."""
    sums = profiles.sum(axis=1)
    totals = sums[pairs[:, 0]] * sums[pairs[:, 1]]
    transform = np.eye(len(pairs))
    transform[0, 0] = 1.0 / totals[0]
    transform[1:, 0] = -totals[1:] / totals[0]
    gram_1d = profiles @ profiles.T
    gram = gram_1d[np.ix_(pairs[:, 0], pairs[:, 0])] * gram_1d[np.ix_(pairs[:, 1], pairs[:, 1])]
    norms = np.sqrt(np.einsum("ij,jk,ik->i", transform, gram, transform))
    transform[1:] /= np.maximum(norms[1:, None], 1e-30)
    return transform
