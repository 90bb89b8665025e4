"""Whitening of the noise of a difference image (Reiss & Lupton 2016, DMTN-021).

A matched difference has the noise power N(k) = v_o P_o(k) + v_c |K(k)|**2 P_c(k): v_o of the image left
alone, v_c of the one that the kernel K convolves, P of what interpolation or matching before has made of
either noise. Dividing by sqrt(N) makes it white; the level kept is the one of long wavelengths, so that
fluxes and their errors do not change scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
    Exposure,
)
from astra.images.kernel_modes import ModalKernel, convolve_modes, fit_modal_kernel
from astra.images.noise_planes import spread_planes
from astra.images.psf import Psf
from astra.images.spatial import SpatialKernel, fit_spatial_kernel

FilterFunction = Callable[[float, float], tuple[NDArray[np.complex128], NDArray[np.complex128]]]

DEFECTS = MASK_BAD | MASK_CR
SATURATED = MASK_SAT | MASK_SAT_TEMPLATE
FOURIER_SIDE = 64
PSF_FOURIER_SIDE = 128  # a PSF and the filter on it, without a turn
MAX_SUPPRESSION = 1e-3
HALF_WIDTHS = (7, 10, 15, 20, 25, 31)
MAX_LOSS = 0.003  # root mean square of what a filter's edge may leave of the colour
MODE_TOLERANCE = 1e-2  # of the whitening filter: errors of that size leave 2 % of its colour
MAX_WHITENING_MODES = 4
MAX_FLUX_LOSS = 2e-4  # of a star, outside of its stamp
MAX_PSF_GROWTH_PIXEL = 10  # of that stamp, on either side
PSF_ORDER = 3  # in position, of the PSF of a difference whose filter varies
PLANE_PARTS = 6  # of the frame along each axis, with squares of the kernels of their own


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


def noise_model(other: Exposure, convolved: Exposure) -> NoiseModel:
    """Noise model of two exposures, each with the spectrum that it carries.

    Parameters
    ----------
    other, convolved : Exposure
        The image left alone, and the one that the kernel convolves, before that.
    """
    return NoiseModel(noise_level(other), noise_level(convolved), own_power(other), own_power(convolved))


def own_power(exposure: Exposure) -> NDArray[np.float64]:
    """Power spectrum of the noise of an exposure, 1 at zero frequency, shape (64, 64)."""
    white = np.ones((FOURIER_SIDE, FOURIER_SIDE))
    return white if exposure.noise_power is None else exposure.noise_power


def noise_level(exposure: Exposure) -> float:
    """Median variance of the good pixels [unit**2]."""
    step = max(1, round(np.sqrt(exposure.image.size / 1_000_000)))
    # A million pixels, evenly spread, tell the median to a thousandth of the scatter.
    variance, mask = exposure.variance[::step, ::step], exposure.mask[::step, ::step]
    good = (mask & (MASK_NO_DATA | MASK_BAD | MASK_SAT)) == 0
    good &= np.isfinite(variance) & (variance > 0)
    return float(np.median(variance[good])) if good.any() else 0.0


def transform_stamp(stamp: NDArray[np.float64], side: int = FOURIER_SIDE) -> NDArray[np.complex128]:
    """Fourier transform of a centred stamp, origin at its middle pixel, shape (side, side)."""
    half = stamp.shape[0] // 2
    padded = np.zeros((side, side))
    padded[: stamp.shape[0], : stamp.shape[1]] = stamp
    transform: NDArray[np.complex128] = np.fft.fft2(np.roll(padded, (-half, -half), axis=(0, 1)))
    return transform


def stamp_from_transform(transform: NDArray[np.complex128], half_width: int) -> NDArray[np.float64]:
    """Centred stamp of a Fourier transform, shape (2 half_width + 1, same)."""
    image = np.fft.fftshift(np.fft.ifft2(transform).real)
    centre = len(transform) // 2
    window = slice(centre - half_width, centre + half_width + 1)
    stamp: NDArray[np.float64] = image[window, window]
    return stamp


def decorrelation_kernel(
    kernel: NDArray[np.float64], noise: NoiseModel, half_width: int = 15, strength: float = 1.0
) -> NDArray[np.float64]:
    """Make the kernel that whitens a difference.

    Parameters
    ----------
    kernel : ndarray, shape (size, size)
        Matching kernel at one position.
    noise : NoiseModel
    half_width : int, optional
        Of the result [pixel], at most 31.
    strength : float, optional
        1 makes the noise white, 0 leaves it as it is; between, single pixels scatter less than white ones
        of the same power at long wavelengths, at the price of a correlation of neighbours.

    Returns
    -------
    psi : ndarray, shape (2 half_width + 1, same)
        Unit sum: fluxes are kept.
    """
    spectrum = noise.spectrum(kernel)
    level = spectrum[0, 0]
    # Where both images have no power there is nothing to whiten, only noise to blow up.
    psi = (level / np.maximum(spectrum, MAX_SUPPRESSION * level)) ** (0.5 * strength)
    stamp = stamp_from_transform(psi.astype(complex), half_width)
    unit: NDArray[np.float64] = stamp / stamp.sum()
    return unit


def choose_half_width(kernel: NDArray[np.float64], noise: NoiseModel, strength: float = 1.0) -> int:
    """Return the smallest half-width [pixel] whose edge takes nothing from the whitening."""
    widest = np.abs(transform_stamp(decorrelation_kernel(kernel, noise, HALF_WIDTHS[-1], strength)))
    for half_width in HALF_WIDTHS:
        found = np.abs(transform_stamp(decorrelation_kernel(kernel, noise, half_width, strength)))
        if np.sqrt(np.mean((found / np.maximum(widest, 1e-12) - 1.0) ** 2)) < MAX_LOSS:
            return half_width
    return HALF_WIDTHS[-1]


def decorrelate(
    difference: Exposure,
    kernel: SpatialKernel,
    noise: NoiseModel,
    *,
    other_variance: NDArray[np.float32] | None = None,
    convolved_variance: NDArray[np.float32] | None = None,
    strength: float = 1.0,
) -> Exposure:
    """Whiten the noise of a difference.

    Parameters
    ----------
    difference : Exposure, shape (ny, nx)
        With white-equivalent variance.
    kernel : SpatialKernel
        The matching kernel that was used.
    noise : NoiseModel
        Noise of the two images.
    other_variance, convolved_variance : float32 ndarray, shape (ny, nx), optional
        Variance planes of the image left alone and of the one that the kernel convolves, before that, in
        the unit of ``noise``. With both, the variance of the result is that of every single pixel, the
        photon noise of sources spread by the filters; without, the plane stays as it is.
    strength : float, optional
        See `decorrelation_kernel`.

    Returns
    -------
    decorrelated : Exposure
        Image and PSF convolved alike. Unrepaired defects count as zero, and saturated pixels keep their
        value; neither spreads. Its noise is white if ``strength`` is 1.
    """
    psi = fit_whitening(kernel, noise, difference.shape, strength)
    image = convolve_modes(difference.image, psi, find_unspreadable(difference.image, difference.mask))
    keep_unspreadable(difference.image, difference.mask, image)
    psf = None if difference.psf is None else whiten_psf(difference.psf, psi, difference.shape)
    decorrelated = difference.replace(
        image=image, psf=psf, noise_power=_remaining(kernel, noise, psi, strength)
    )
    if other_variance is None or convolved_variance is None:
        return decorrelated

    def filters_at(x: float, y: float) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        whitening = transform_stamp(psi.at(x, y))
        return whitening, whitening * transform_stamp(kernel.at(x, y))

    variance = pixel_variance((other_variance, convolved_variance), filters_at, noise)
    # The planes are in the unit of the noise model, which the convolved science image does not share.
    scale = noise_level(difference) / float(noise.spectrum(_central(kernel, difference.shape))[0, 0])
    variance *= np.float32(scale)
    np.copyto(variance, np.float32(np.nan), where=np.isnan(difference.variance))
    return decorrelated.replace(variance=variance)


def _central(kernel: SpatialKernel, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Kernel stamp in the middle of a frame."""
    return kernel.at((shape[1] - 1) / 2, (shape[0] - 1) / 2)


def fit_whitening(
    kernel: SpatialKernel, noise: NoiseModel, shape: tuple[int, int], strength: float = 1.0
) -> ModalKernel:
    """Whitening filter over a frame, as wide as it must be."""
    corners = [(x, y) for x in (0, shape[1] - 1) for y in (0, shape[0] - 1)]
    stamps = [_central(kernel, shape), *(kernel.at(*corner) for corner in corners if kernel.order)]
    half_width = max(choose_half_width(stamp, noise, strength) for stamp in stamps)

    def psi_at(x: float, y: float) -> NDArray[np.float64]:
        return decorrelation_kernel(kernel.at(x, y), noise, half_width, strength)

    return fit_modal_kernel(
        psi_at, shape, MODE_TOLERANCE, constant=kernel.order == 0, max_modes=MAX_WHITENING_MODES
    )


def whiten_psf(psf: Psf, psi: ModalKernel, shape: tuple[int, int]) -> Psf:
    """PSF of a whitened image, on stamps as wide as they were, or wider where the filter takes flux there."""

    def psf_at(x: float, y: float, half: int) -> NDArray[np.float64]:
        stamps = (psf.stamp(x, y), psi.at(x, y))
        transform = [transform_stamp(stamp, PSF_FOURIER_SIDE) for stamp in stamps]
        return stamp_from_transform(transform[0] * transform[1], half)

    whole = psf_at(*psi.centre, PSF_FOURIER_SIDE // 2 - 1)
    half, widest = psf.size // 2, psf.size // 2 + min(psi.half_width, MAX_PSF_GROWTH_PIXEL)
    while half < widest and abs(_inner(whole, half).sum() - whole.sum()) > MAX_FLUX_LOSS:
        half += 2
    order = max(psf.order, PSF_ORDER if len(psi.modes) else 0)
    return fit_spatial_kernel(lambda x, y: psf_at(x, y, half), shape, order).as_psf()


def _inner(stamp: NDArray[np.float64], half_width: int) -> NDArray[np.float64]:
    """Middle of a stamp, shape (2 half_width + 1, same)."""
    margin = stamp.shape[0] // 2 - half_width
    return stamp[margin : stamp.shape[0] - margin, margin : stamp.shape[1] - margin]


def pixel_variance(
    planes: tuple[NDArray[np.float32], NDArray[np.float32]], filters_at: FilterFunction, noise: NoiseModel
) -> NDArray[np.float32]:
    """Variance of single pixels of a difference, shape (ny, nx) [unit of ``noise``].

    Parameters
    ----------
    planes : tuple of two float32 ndarrays, shape (ny, nx)
        Variance of the two images that are filtered and added, as white equivalents [unit of ``noise``].
    filters_at : callable
        ``filters_at(x, y)`` returns the Fourier transforms of the two filters there, shape (64, 64) each.
    noise : NoiseModel
        Its *other* is the first image.
    """
    ny, nx = planes[0].shape
    centres = [(np.arange(PLANE_PARTS) + 0.5) * length / PLANE_PARTS - 0.5 for length in (ny, nx)]
    # White noise that passes the root of a spectrum has this spectrum.
    roots = np.sqrt(noise.other_power), np.sqrt(noise.convolved_power)
    squares = np.empty((PLANE_PARTS, PLANE_PARTS, 2, FOURIER_SIDE - 1, FOURIER_SIDE - 1))
    for j, y in enumerate(centres[0]):
        for i, x in enumerate(centres[1]):
            for k, (transform, root) in enumerate(zip(filters_at(x, y), roots, strict=True)):
                squares[j, i, k] = stamp_from_transform(transform * root, FOURIER_SIDE // 2 - 1) ** 2
    return spread_planes(planes, (noise.other_variance, noise.convolved_variance), squares)


def _remaining(
    kernel: SpatialKernel, noise: NoiseModel, psi: ModalKernel, strength: float
) -> NDArray[np.float64] | None:
    """Spectrum that the noise keeps; None if it is white."""
    if strength == 1.0:
        return None
    power = noise.spectrum(kernel.at(*psi.centre)) * np.abs(transform_stamp(psi.at(*psi.centre))) ** 2
    remaining: NDArray[np.float64] = power / power[0, 0]
    return remaining


@compiled
def find_unspreadable(image, mask):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Pixels without a value, saturated, or with an unrepaired defect, shape (ny, nx)."""
    found = np.empty(image.shape, dtype=np.bool_)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            bits = mask[y, x]
            # Without branches, so that several pixels are done at a time.
            defect = ((bits & DEFECTS) != 0) & ((bits & MASK_INTRP) == 0)
            found[y, x] = defect | ((bits & SATURATED) != 0) | ~(abs(image[y, x]) < np.float32(np.inf))
    return found


@compiled
def keep_unspreadable(image, mask, out):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Give saturated pixels of a filtered image their old value, and missing ones none."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            bits = mask[y, x]
            kept = ((bits & SATURATED) != 0) & (abs(image[y, x]) < np.float32(np.inf))
            value = image[y, x] if kept else out[y, x]
            out[y, x] = np.float32(np.nan) if (bits & MASK_NO_DATA) != 0 else value
