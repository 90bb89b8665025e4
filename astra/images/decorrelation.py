"""Whitening of the noise of a difference image (Reiss & Lupton 2016, DMTN-021).

A matched difference has the noise power N(k) = v_o + v_c |K(k)|**2 W(k): v_o of the image left alone, v_c of
the one that the kernel K convolves, W of an interpolation before. Dividing by sqrt(N) makes it white; the
level kept is the one of long wavelengths, so that fluxes and their errors do not change scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOURIER_SIDE = 64
MAX_SUPPRESSION = 1e-3


@dataclass(frozen=True)
class NoiseModel:
    """Noise of the two images of a difference.

    Parameters
    ----------
    other_variance : float
        Of the image that is not convolved [nJy**2].
    convolved_variance : float
        White-equivalent variance of the image that the kernel convolves [nJy**2].
    other_power, convolved_power : float64 ndarray, shape (64, 64)
        Spectra of either noise, 1 at zero frequency, in the order of ``numpy.fft.fft2``.
    """

    other_variance: float
    convolved_variance: float
    other_power: NDArray[np.float64]
    convolved_power: NDArray[np.float64]

    def spectrum(self, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noise power of the difference for a kernel stamp, shape (64, 64) [nJy**2]."""
        response = np.abs(transform_stamp(kernel)) ** 2
        noise: NDArray[np.float64] = (
            self.other_variance * self.other_power + self.convolved_variance * response * self.convolved_power
        )
        return noise


def white_noise(other_variance: float, convolved_variance: float) -> NoiseModel:
    """Noise model of two images whose pixels are independent."""
    flat = np.ones((FOURIER_SIDE, FOURIER_SIDE))
    return NoiseModel(other_variance, convolved_variance, flat, flat)


def transform_stamp(stamp: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Fourier transform of a centred stamp, origin at its middle pixel, shape (64, 64)."""
    half = stamp.shape[0] // 2
    padded = np.zeros((FOURIER_SIDE, FOURIER_SIDE))
    padded[: stamp.shape[0], : stamp.shape[1]] = stamp
    transform: NDArray[np.complex128] = np.fft.fft2(np.roll(padded, (-half, -half), axis=(0, 1)))
    return transform


def stamp_from_transform(transform: NDArray[np.complex128], half_width: int) -> NDArray[np.float64]:
    """Centred stamp of a Fourier transform, shape (2 half_width + 1, same)."""
    image = np.fft.fftshift(np.fft.ifft2(transform).real)
    centre = FOURIER_SIDE // 2
    window = slice(centre - half_width, centre + half_width + 1)
    stamp: NDArray[np.float64] = image[window, window]
    return stamp


def decorrelation_kernel(
    kernel: NDArray[np.float64], noise: NoiseModel, half_width: int = 15
) -> NDArray[np.float64]:
    """Make the kernel that whitens a difference.

    Parameters
    ----------
    kernel : ndarray, shape (size, size)
        Matching kernel at one position.
    noise : NoiseModel
    half_width : int, optional
        Of the result [pixel].

    Returns
    -------
    psi : ndarray, shape (2 half_width + 1, same)
        Unit sum: fluxes are kept.
    """
    spectrum = noise.spectrum(kernel)
    level = spectrum[0, 0]
    # Where both images have no power there is nothing to whiten, only noise to blow up.
    psi = np.sqrt(level / np.maximum(spectrum, MAX_SUPPRESSION * level))
    stamp = stamp_from_transform(psi.astype(complex), half_width)
    unit: NDArray[np.float64] = stamp / stamp.sum()
    return unit
