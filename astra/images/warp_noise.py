"""Noise of resampled images.

Interpolation by the cardinal cubic spline is linear: the covariance of two output pixels is that of their
two places in the input, seen through the spline. It depends on the phases of the two within the input
pixels; here it is averaged over places all over the frame, which holds for pure shifts, of one phase, as for
rotations and changes of scale, of all phases.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astra.images.warp import PixelMap

N_PLACES = 144
N_PHASES = 128  # that the places within a pixel are rounded to
REACH_PIXEL = 6  # of the covariance, in pixels of the input; that of the spline falls by 0.27 a pixel
MAX_REACH_PIXEL = 10


def warp_noise_power(
    pixel_map: PixelMap, n_frequencies: int, power: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Power spectrum that the noise of an image has after a warp, averaged over the frame.

    Parameters
    ----------
    pixel_map : PixelMap
        From the output frame into the input.
    n_frequencies : int
        Side of the Fourier grid.
    power : ndarray, shape (n_frequencies, n_frequencies), optional
        Spectrum of the noise of the input; white by default.

    Returns
    -------
    power : ndarray, shape (n_frequencies, n_frequencies)
        In the order of ``numpy.fft.fft2``; 1 at zero frequency.
    """
    spectrum = _spectrum(pixel_map, n_frequencies, power)
    level = spectrum[0, 0]
    relative: NDArray[np.float64] = np.maximum(spectrum / level, 0.0)
    return relative


def _spectrum(
    pixel_map: PixelMap, n_frequencies: int, power: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Spectrum of the noise of output values, in units of that of the input values."""
    # Not beyond a small frame, where no places are known.
    reach = min(_reach(pixel_map), n_frequencies // 2 - 1, min(pixel_map.shape) // 3)
    lags_y, lags_x = np.mgrid[0 : reach + 1, -reach : reach + 1].reshape(2, -1)
    half = (lags_y > 0) | (lags_x >= 0)  # the other half is its mirror image
    lags_y, lags_x = lags_y[half], lags_x[half]
    covariance = _covariance(pixel_map, lags_y, lags_x, n_frequencies, power)
    grid = np.zeros((n_frequencies, n_frequencies))
    grid[lags_y, lags_x] = covariance
    grid[-lags_y, -lags_x] = covariance
    spectrum: NDArray[np.float64] = np.fft.fft2(grid).real
    return spectrum


def _reach(pixel_map: PixelMap) -> int:
    """How far the covariance reaches in the output [pixel]."""
    areas = pixel_map.jacobian[np.isfinite(pixel_map.jacobian) & (pixel_map.jacobian > 0)]
    scale = np.sqrt(np.median(areas)) if len(areas) else 1.0
    return int(np.clip(np.ceil(REACH_PIXEL / scale), REACH_PIXEL, MAX_REACH_PIXEL))


def _covariance(
    pixel_map: PixelMap,
    lags_y: NDArray[np.int64],
    lags_x: NDArray[np.int64],
    n_frequencies: int,
    power: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Covariance of output values by lag, shape (n_lags,)."""
    place_x, place_y = _places(pixel_map.shape, int(lags_y.max(initial=0)))
    x, y = pixel_map.positions(place_x[:, None] + lags_x, place_y[:, None] + lags_y)
    first_x, first_y = pixel_map.positions(place_x, place_y)
    seen = np.isfinite(x + y).all(axis=1) & np.isfinite(first_x + first_y)
    if not seen.any():
        alone: NDArray[np.float64] = ((lags_x == 0) & (lags_y == 0)).astype(np.float64)
        return alone
    parts = [
        _response(first[seen], n_frequencies)[:, None, :] * _response(other[seen], n_frequencies).conj()
        for first, other in ((first_y, y), (first_x, x))
    ]
    along_y = parts[0] if power is None else parts[0] @ power.astype(np.complex64)
    if power is None:  # white: the sum over the plane is that of each axis
        product = along_y.sum(axis=-1) * parts[1].sum(axis=-1)
    else:
        product = np.sum(along_y * parts[1], axis=-1)
    covariance: NDArray[np.float64] = product.real.mean(axis=0) / n_frequencies**2
    return covariance


def _places(shape: tuple[int, int], reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whole pixels x, y spread evenly over a frame, without a period that could beat with a phase.

    Within ``reach`` [pixel] of them there are only pixels of the frame.
    """
    # The sequence of least discrepancy in two dimensions (Roberts 2018): powers of the plastic number.
    k = np.arange(1, N_PLACES + 1)
    ratio = 1.0 / 1.32471795724474602596
    x, y = (0.5 + k * ratio) % 1.0, (0.5 + k * ratio**2) % 1.0
    return np.floor(reach + x * (shape[1] - 2 * reach)), np.floor(reach + y * (shape[0] - 2 * reach))


def _response(position: NDArray[np.float64], n_frequencies: int) -> NDArray[np.complex64]:
    """Value of each interpolated plane wave at positions [pixel], shape (..., n_frequencies)."""
    steps = np.floor(position * N_PHASES).astype(np.int64)
    response: NDArray[np.complex64] = _wave_table(n_frequencies)[(steps // N_PHASES) % n_frequencies]
    response *= _phase_table(n_frequencies)[steps % N_PHASES]
    return response


@cache
def _wave_table(n_frequencies: int) -> NDArray[np.complex64]:
    """Plane waves at whole pixels, shape (n_frequencies, n_frequencies)."""
    pixels = np.arange(n_frequencies)
    return np.exp(2j * np.pi * np.outer(pixels, np.fft.fftfreq(n_frequencies))).astype(np.complex64)


@cache
def _phase_table(n_frequencies: int) -> NDArray[np.complex64]:
    """Values between two pixels that interpolation gives to plane waves, shape (N_PHASES, n_frequencies)."""
    omega = 2.0 * np.pi * np.fft.fftfreq(n_frequencies)
    f = ((np.arange(N_PHASES) + 0.5) / N_PHASES)[:, None]
    g, wave = 1.0 - f, np.exp(1j * omega)
    inner = (3 * f**3 - 6 * f**2 + 4) + (3 * g**3 - 6 * g**2 + 4) * wave
    taps = (g**3 * wave.conj() + inner + f**3 * wave**2) / (4.0 + 2.0 * np.cos(omega))
    table: NDArray[np.complex64] = taps.astype(np.complex64)
    return table
