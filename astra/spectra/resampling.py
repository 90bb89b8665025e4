"""Spectra resampled by a damped sinc, as the APOGEE reduction resamples visits onto the grid of its stars.

The sinc's cut is at the resolution of the spectrograph, not at the pixels, so that what is finer than the
resolution, which is noise, goes. Each output pixel is a sum over the few dozen input pixels near it: a
sparse operator, made once for a chip and a velocity and applied to flux, variance and every bit of the mask
(Nidever et al. 2015, arXiv:1501.03742).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled

PIXELS_PER_RESOLUTION = (3.5, 4.25, 5.0)
"""Of dithered APOGEE visits, for the chips in increasing wavelength: blue, green, red."""


@dataclass(frozen=True)
class SincOperator:
    """A sparse operator from one grid of pixels to another.

    Parameters
    ----------
    first : int64 ndarray, shape (n_out,)
        First input pixel of each output pixel's sum.
    weight : float64 ndarray, shape (n_out, n_taps)
        Weights of the input pixels from there on; 0 throughout where the output lies outside of the input.
    """

    first: NDArray[np.int64]
    weight: NDArray[np.float64]

    def value(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return resampled values, from shape (n_in,) to (n_out,)."""
        result = np.empty(len(self.first))
        apply_taps(self.first, self.weight, values, False, result)
        return result

    def variance(self, variance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the variance of what `value` gives, for independent input pixels."""
        result = np.empty(len(self.first))
        apply_taps(self.first, self.weight, variance, True, result)
        return result

    def mask(self, bits: NDArray[np.int64], threshold: float = 0.1) -> NDArray[np.int64]:
        """Return the bits whose share of an output pixel exceeds a threshold."""
        result = np.zeros(len(self.first), np.int64)
        apply_bits(self.first, self.weight, bits, threshold, result)
        return result


def sinc_operator(position: NDArray[np.float64], n_in: int, resolution_pixel: float) -> SincOperator:
    """Make the operator that resamples at some positions.

    Parameters
    ----------
    position : float64 ndarray, shape (n_out,)
        Where to, in pixels of the input; NaN, or outside of it, gives 0.
    n_in : int
        Number of input pixels.
    resolution_pixel : float
        Input pixels per resolution element; the sinc has its zeros at half of that.

    Returns
    -------
    operator : SincOperator
        Its weights add up to 1.

    Raises
    ------
    ValueError
        If the resolution is below two pixels, which cannot be sampled.
    """
    if resolution_pixel < 2.0:
        message = f"a resolution element must have at least 2 pixels, not {resolution_pixel}"
        raise ValueError(message)
    half_width = int(21.0 * resolution_pixel / 4.0)
    first = np.zeros(len(position), np.int64)
    weight = np.zeros((len(position), min(2 * half_width + 1, n_in)))
    fill_taps(position, n_in, resolution_pixel, first, weight)
    return SincOperator(first, weight)


@compiled(fastmath={"reassoc", "contract"})
def fill_taps(
    position: NDArray[np.float64],
    n_in: int,
    resolution_pixel: float,
    first: NDArray[np.int64],
    weight: NDArray[np.float64],
) -> None:
    """Fill the weights of a damped sinc around each position."""
    period = 0.5 * resolution_pixel
    damping = 3.25 * resolution_pixel / 2.0
    n_taps = weight.shape[1]
    turn_sin, turn_cos = math.sin(math.pi / period), math.cos(math.pi / period)
    for i in range(position.size):
        x = position[i]
        if not (-0.5 <= x <= n_in - 0.5):
            continue
        start = min(max(int(x + 0.5) - n_taps // 2, 0), n_in - n_taps)
        first[i] = start
        angle = math.pi * (start - x) / period
        sine, cosine = math.sin(angle), math.cos(angle)
        total = 0.0
        for k in range(n_taps):
            distance = start + k - x
            phase = math.pi * distance / period
            sinc = 1.0 if abs(phase) < 1e-6 else sine / phase
            weight[i, k] = sinc * math.exp(-((distance / damping) ** 2))
            total += weight[i, k]
            sine, cosine = sine * turn_cos + cosine * turn_sin, cosine * turn_cos - sine * turn_sin
        for k in range(n_taps):
            weight[i, k] /= total


@compiled(fastmath={"reassoc", "contract"})
def apply_taps(
    first: NDArray[np.int64],
    weight: NDArray[np.float64],
    values: NDArray[np.float64],
    squared: bool,
    result: NDArray[np.float64],
) -> None:
    """Sum values with the weights, or with their squares."""
    for i in range(first.size):
        total = 0.0
        for k in range(weight.shape[1]):
            factor = weight[i, k] * weight[i, k] if squared else weight[i, k]
            total += factor * values[first[i] + k]
        result[i] = total


@compiled
def apply_bits(
    first: NDArray[np.int64],
    weight: NDArray[np.float64],
    bits: NDArray[np.int64],
    threshold: float,
    result: NDArray[np.int64],
) -> None:
    """Resample each bit as a plane of ones, and set it where that exceeds the threshold."""
    n_set = np.zeros(bits.size + 1, np.int64)
    for i in range(bits.size):
        n_set[i + 1] = n_set[i] + (bits[i] != 0)
    n_taps = weight.shape[1]
    for i in range(first.size):
        if n_set[first[i] + n_taps] == n_set[first[i]]:
            continue
        present = np.int64(0)
        for k in range(n_taps):
            present |= bits[first[i] + k]
        bit = np.int64(1)
        while present >= bit:
            if present & bit and share_of_bit(weight[i], bits, first[i], bit) > threshold:
                result[i] |= bit
            bit <<= 1


@compiled
def share_of_bit(weight: NDArray[np.float64], bits: NDArray[np.int64], first: int, bit: Any) -> float:
    """Sum the weights of the pixels that have a bit."""
    share = 0.0
    for k in range(weight.size):
        if bits[first + k] & bit:
            share += weight[k]
    return share
