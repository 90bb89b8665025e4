"""Power spectrum of the noise of an image, measured on its blank sky.

Resampling, PSF matching and co-adding correlate the noise of neighbouring pixels. Where their history is not
known (a template or a science image that was ingested), the spectrum is measured: from the autocovariance of
the source-free pixels, which the holes of the sources do not disturb.

The longest waves are not noise but what is left of the sky and of faint sources, and a local mean removes
them. There the spectrum is continued from the waves of 7 to 22 pixels, so that the *white equivalent* (the
power at long wavelengths, see `astra.images.warp`) is that of the noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astra.images.blank_sky import find_source_free, sample_parts, subtract_sky_mean
from astra.images.exposure import Exposure
from astra.images.robust import SIGMA_PER_MAD

POWER_SIDE = 64  # of a spectrum, as `Exposure.noise_power` has it
SKY_SIDE_PIXEL = 25
TILE_PIXEL = 192
TILE_FFT_PIXEL = 256  # a tile and the lags beyond it
MIN_PIXELS = 5000
CLIP_SIGMA = 5.0
LAG_PIXEL = 32  # of the measured autocovariance
TAPER_PER_ROOT_PIXEL = 0.07  # lags kept, over the root of the pixels: each power is then good to 10 %
MIN_TAPER_PIXEL = 16
SKY_FREQUENCY = 0.045  # [cycle/pixel], below is the sky
FIT_FREQUENCY = 0.15  # [cycle/pixel], up to here the continuation is fitted
FIT_CLIP = 3.0
N_FITS = 4
MIN_POWER = 1e-3


@dataclass(frozen=True)
class NoisePower:
    """Noise of an image as measured.

    Parameters
    ----------
    power : float64 ndarray, shape (64, 64)
        Spectrum, 1 at zero frequency, in the order of ``numpy.fft.fft2``.
    white_ratio : float
        White-equivalent variance over the variance plane.
    pixel_ratio : float
        Variance of single pixels over the variance plane, without the waves of the sky.
    structure_ratio : float
        The same with those waves, up to the side of a local mean of 25 pixels: 1 + what the sky's own
        structure of shorter wavelength than that adds is ``structure_ratio / pixel_ratio``.
    n_pixels : int
        Pixels that were used.
    """

    power: NDArray[np.float64]
    white_ratio: float
    pixel_ratio: float
    structure_ratio: float
    n_pixels: int


def measure_noise_power(exposure: Exposure, free: NDArray[np.bool_] | None = None) -> NoisePower | None:
    """Measure the power spectrum of the noise on blank sky.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Background subtracted; only the shape of its variance plane matters, not the level.
    free : bool ndarray, shape (ny, nx), optional
        Pixels without sources and defects; found if not given.

    Returns
    -------
    measured : NoisePower, or None
        None if fewer than 5000 pixels are blank.
    """
    pieces = [_sky_noise(exposure, part, free) for part in sample_parts(exposure.shape)]
    n_pixels = sum(int(kept.sum()) for _, kept in pieces)
    if n_pixels < MIN_PIXELS:
        return None
    covariance = _autocovariance(pieces)
    raw = _transform(covariance, LAG_PIXEL)
    low = _is_sky()
    model = _model_long_waves(raw)
    measured = np.where(low, model, raw)
    # Back to lags, to smooth: before, the hole that the local mean has left would spread.
    lags = int(np.clip(TAPER_PER_ROOT_PIXEL * np.sqrt(n_pixels), MIN_TAPER_PIXEL, LAG_PIXEL))
    smooth = _transform(fft.ifft2(measured).real, lags)
    level = float(model[0, 0])
    power = np.maximum(np.where(low, model, smooth) / level, MIN_POWER)
    structure = float(covariance[0, 0])
    return NoisePower(power, level, float(np.mean(measured)), structure, n_pixels)


def with_measured_noise(exposure: Exposure, free: NDArray[np.bool_] | None = None) -> Exposure:
    """Give an exposure the noise that its blank sky shows.

    Parameters
    ----------
    exposure : Exposure, shape (ny, nx)
        Background subtracted.
    free : bool ndarray, shape (ny, nx), optional
        Pixels without sources and defects; found if not given.

    Returns
    -------
    exposure : Exposure
        With ``noise_power``, and a variance plane scaled to the white equivalent; unchanged where there is
        too little blank sky.
    """
    measured = measure_noise_power(exposure, free)
    if measured is None:
        return exposure
    variance = exposure.variance * np.float32(measured.white_ratio)
    return exposure.replace(variance=variance, noise_power=measured.power)


def lag_correlations(image: NDArray[np.float32], free: NDArray[np.bool_]) -> tuple[float, float]:
    """Correlation of the noise of neighbouring pixels along x and along y.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Local mean subtracted.
    free : bool ndarray, shape (ny, nx)
        Pixels that count.
    """
    values = np.where(free, image, np.float32(0))
    variance = float(np.mean(values[free] ** 2))
    along_x, along_y = (free[:, 1:] & free[:, :-1]), (free[1:] & free[:-1])
    x = float(np.sum(values[:, 1:] * values[:, :-1], dtype=np.float64) / max(along_x.sum(), 1))
    y = float(np.sum(values[1:] * values[:-1], dtype=np.float64) / max(along_y.sum(), 1))
    return x / variance, y / variance


def _sky_noise(
    exposure: Exposure, part: tuple[slice, slice], free: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Noise of a part over its expected scatter, local mean subtracted, and where it is known."""
    piece = exposure.replace(
        image=exposure.image[part], variance=exposure.variance[part], mask=exposure.mask[part]
    )
    free = find_source_free(piece) if free is None else free[part]
    if not free.any():
        return np.zeros(piece.shape, np.float32), free
    sigma = np.sqrt(np.where(free, piece.variance, np.float32(1)))
    ratio = np.where(free, piece.image, np.float32(0)) / sigma
    noise = subtract_sky_mean(ratio.astype(np.float32), free, SKY_SIDE_PIXEL)
    scatter = SIGMA_PER_MAD * float(np.median(np.abs(noise[free][::3])))
    kept = free & (np.abs(noise) < CLIP_SIGMA * scatter)
    return np.where(kept, noise, np.float32(0)), kept


def _autocovariance(pieces: list[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> NDArray[np.float64]:
    """Mean product of kept pixels by lag, shape (64, 64), lag zero first."""
    side = (TILE_FFT_PIXEL, TILE_FFT_PIXEL)
    products, pairs = np.zeros((2, *side))
    for noise, kept in pieces:
        for y in range(0, kept.shape[0], TILE_PIXEL):
            for x in range(0, kept.shape[1], TILE_PIXEL):
                tile = np.s_[y : y + TILE_PIXEL, x : x + TILE_PIXEL]
                products += fft.irfft2(np.abs(fft.rfft2(noise[tile].astype(float), s=side)) ** 2, s=side)
                pairs += fft.irfft2(np.abs(fft.rfft2(kept[tile].astype(float), s=side)) ** 2, s=side)
    lags = np.fft.fftfreq(POWER_SIDE, 1.0 / POWER_SIDE).astype(int)
    window = np.ix_(lags, lags)
    covariance: NDArray[np.float64] = products[window] / np.maximum(pairs[window], 0.5)
    return covariance


def _transform(covariance: NDArray[np.float64], taper_pixel: int) -> NDArray[np.float64]:
    """Power spectrum of an autocovariance, whose lags fade out over the outer half of the taper."""
    lags = np.abs(np.fft.fftfreq(POWER_SIDE, 1.0 / POWER_SIDE))
    taper = 0.5 + 0.5 * np.cos(np.pi * np.clip(2.0 * lags / taper_pixel - 1.0, 0.0, 1.0))
    power: NDArray[np.float64] = fft.fft2(covariance * np.outer(taper, taper)).real
    return power


def _is_sky() -> NDArray[np.bool_]:
    """Tell which frequencies the local mean has taken, shape (64, 64)."""
    f = np.fft.fftfreq(POWER_SIDE)
    is_sky: NDArray[np.bool_] = np.hypot(f[:, None], f[None, :]) < SKY_FREQUENCY
    return is_sky


def _model_long_waves(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a Gaussian in frequency to the longest waves that the local mean has left."""
    fy, fx = np.meshgrid(*(np.fft.fftfreq(POWER_SIDE),) * 2, indexing="ij")
    fitted = ~_is_sky() & (np.hypot(fx, fy) < FIT_FREQUENCY)
    columns = np.stack([np.ones(power.shape), fx**2, fy**2, fx * fy], axis=-1)
    terms = columns[fitted]
    values = power[fitted]
    logarithm = np.log(np.maximum(values, MIN_POWER * float(np.median(values))))
    kept, solution = np.ones(len(values), dtype=bool), np.zeros(4)
    for _ in range(N_FITS):
        solution = np.linalg.lstsq(terms[kept], logarithm[kept], rcond=None)[0]
        offset = logarithm - terms @ solution
        # A wave that stands out, and what its side lobes make of the neighbours, is no noise either.
        kept = np.abs(offset) < FIT_CLIP * float(np.std(offset[kept]))
    # The single powers scatter, and so the mean of their logarithms is low.
    solution[0] += np.log(float(values[kept].sum() / np.exp(terms[kept] @ solution).sum()))
    model: NDArray[np.float64] = np.exp(columns @ solution)
    return model
