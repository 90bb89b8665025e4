"""The maximum of the gain in chi-squared between the pixels of a grid, and its curvature.

The three sums of least squares are band-limited functions of the shift, and are interpolated between whole
pixels by a windowed sinc; a parabola through three points of the gain would be off by some hundredths of a
pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled

WINDOW = 12  # shifts to both sides of the first guess [pixel]
_CHUNK = 1024  # pixels
_TAPER_PIXEL = 2.9  # of the sinc: flat to 3e-6 for lines as narrow as 1.5 pixels, and as small at its ends
_STEP = 0.1  # of the numerical derivatives [pixel]: a wide one is off where a peak leans
_N_STEPS = 6
_N_TAPS = 10  # lines of stars are sampled by two pixels: fewer taps distort them by parts of a thousand
_FARTHEST = 2.0  # of the maximum from the first guess [pixel]


@dataclass(frozen=True)
class Peaks:
    """Maxima of the gain, by spectrum.

    Parameters
    ----------
    offset : float64 ndarray, shape (n,)
        From the first guess [pixel].
    sigma : float64 ndarray, shape (n,)
        Its error by the curvature [pixel]; NaN where there is no maximum.
    gain : float64 ndarray, shape (n,)
        Of chi-squared.
    amplitude, level : float64 ndarray, shape (n,)
        Of the template, and the offset beside it.
    """

    offset: NDArray[np.float64]
    sigma: NDArray[np.float64]
    gain: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    level: NDArray[np.float64]


def window_sums(
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
    templates: NDArray[np.float64],
    chosen: NDArray[np.int64],
    start: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of least squares for one template of each spectrum, near a shift.

    Parameters
    ----------
    data, weight : float64 ndarray, shape (n, n_pixels)
        As of a `Deposit`.
    templates : float64 ndarray, shape (n_templates, n_pixels)
    chosen, start : int64 ndarray, shape (n,)
        Template and shift [pixel] of each spectrum.

    Returns
    -------
    sums : float64 ndarray, shape (n, 3, 2 WINDOW + 1)
        Of data times template, of weight times template, and of weight times template squared.
    totals : float64 ndarray, shape (n, 2)
        Of data, and of weights.
    """
    n_pixels = data.shape[1]
    margin = int(np.abs(start).max(initial=0)) + WINDOW
    padded = np.zeros((len(templates), n_pixels + 2 * margin))
    padded[:, margin : margin + n_pixels] = templates
    sums = np.zeros((len(data), 3, 2 * WINDOW + 1))
    for row in range(len(data)):
        add_window(data[row], weight[row], padded[chosen[row]], margin - int(start[row]) + WINDOW, sums[row])
    # Summed by growing index into the template: that is by falling shift.
    return sums[:, :, ::-1], np.stack([data.sum(axis=1), weight.sum(axis=1)], axis=1)


@compiled(fastmath={"reassoc", "contract"})
def add_window(
    data: NDArray[np.float64],
    weight: NDArray[np.float64],
    template: NDArray[np.float64],
    last: int,
    sums: NDArray[np.float64],
) -> None:
    """Add the products of a spectrum and a template at 2 WINDOW + 1 places of the latter."""
    n_places = sums.shape[1]
    first = last - n_places + 1
    for begin in range(0, data.size, _CHUNK):  # which stays in the processor's first cache
        end = min(begin + _CHUNK, data.size)
        for place in range(n_places):
            cross, single, square = 0.0, 0.0, 0.0
            for pixel in range(begin, end):
                value = template[first + place + pixel]
                weighted = weight[pixel] * value
                cross += data[pixel] * value
                single += weighted
                square += weighted * value
            sums[0, place] += cross
            sums[1, place] += single
            sums[2, place] += square


def refine_peaks(sums: NDArray[np.float64], totals: NDArray[np.float64]) -> Peaks:
    """Find the maxima of the gain.

    Parameters
    ----------
    sums, totals : float64 ndarray
        From `window_sums`.

    Returns
    -------
    peaks : Peaks
        Offset and error are NaN where there is no maximum within 2 pixels of the first guess.
    """
    found = np.empty((len(sums), 5))
    for row in range(len(sums)):
        refine_peak(sums[row], totals[row], found[row])
    return Peaks(*found.T)


@compiled
def refine_peak(sums: NDArray[np.float64], totals: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    """Find the maximum of one spectrum: fill offset, error, gain, amplitude and level."""
    offset = 0.0
    for _ in range(_N_STEPS):
        low, middle, high = (
            gain_at(sums, totals, offset - _STEP)[0],
            gain_at(sums, totals, offset)[0],
            gain_at(sums, totals, offset + _STEP)[0],
        )
        second = low - 2.0 * middle + high
        step = 0.5 * _STEP * (low - high) / second if second < 0.0 else 0.5 * np.sign(high - low)
        offset = min(max(offset + min(max(step, -0.5), 0.5), -_FARTHEST), _FARTHEST)
    gain, amplitude, level = gain_at(sums, totals, offset)
    curvature = (
        gain_at(sums, totals, offset - _STEP)[0] - 2.0 * gain + gain_at(sums, totals, offset + _STEP)[0]
    ) / _STEP**2
    is_peak = curvature < 0.0 and abs(offset) < _FARTHEST and gain > 0.0
    found[0] = offset if is_peak else 0.0
    found[1] = math.sqrt(-2.0 / curvature) if is_peak else np.nan
    found[2], found[3], found[4] = gain, amplitude, level


@compiled
def gain_at(
    sums: NDArray[np.float64], totals: NDArray[np.float64], offset: float
) -> tuple[float, float, float]:
    """Return gain, amplitude and level at a shift between the pixels."""
    cross, single, square, norm = 0.0, 0.0, 0.0, 0.0
    sine = math.sin(math.pi * offset)
    for place in range(sums.shape[1]):
        distance = offset - (place - WINDOW)
        sign = 1.0 if (place - WINDOW) % 2 == 0 else -1.0
        taper = math.exp(-0.5 * (distance / _TAPER_PIXEL) ** 2)
        kernel = taper * (1.0 if abs(distance) < 1e-9 else sign * sine / (math.pi * distance))
        norm += kernel
        cross += kernel * sums[0, place]
        single += kernel * sums[1, place]
        square += kernel * sums[2, place]
    cross, single, square = cross / norm, single / norm, square / norm
    weight = totals[1] if totals[1] > 0.0 else np.inf
    cross -= totals[0] * single / weight
    square -= single * single / weight
    amplitude = cross / square if square > 0.0 else 0.0
    return max(cross, 0.0) * amplitude, amplitude, (totals[0] - amplitude * single) / weight


def shifted_templates(
    templates: NDArray[np.float64], chosen: NDArray[np.int64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return one template for each spectrum, shifted towards the red by a part of pixels.

    Parameters
    ----------
    templates : float64 ndarray, shape (n_templates, n_pixels)
    chosen : int64 ndarray, shape (n,)
        Which one.
    shift : float64 ndarray, shape (n,)
        [pixel].

    Returns
    -------
    shifted : float64 ndarray, shape (n, n_pixels)
        By 10-point Lagrange interpolation; 0 beyond the ends.
    """
    whole = np.ceil(shift).astype(np.int64)
    n_pixels = templates.shape[1]
    margin = int(np.abs(whole).max(initial=0)) + _N_TAPS // 2
    padded = np.zeros((len(templates), n_pixels + 2 * margin))
    padded[:, margin : margin + n_pixels] = templates
    result = np.empty((len(chosen), n_pixels))
    for row, (index, by) in enumerate(zip(chosen, whole, strict=True)):
        taps = lagrange_taps(float(by - shift[row]), _N_TAPS)
        interpolate_row(padded[index], margin - int(by) - _N_TAPS // 2 + 1, taps, result[row])
    return result


def lagrange_taps(f: float, n_taps: int) -> NDArray[np.float64]:
    """Return weights of an even number of pixels for a place ``f`` (0 to 1) behind the middle left one."""
    nodes = np.arange(n_taps) - (n_taps // 2 - 1)
    others = [np.delete(nodes, k) for k in range(n_taps)]
    return np.array([np.prod((f - rest) / (one - rest)) for one, rest in zip(nodes, others, strict=True)])


@compiled(fastmath={"reassoc", "contract"})
def interpolate_row(
    values: NDArray[np.float64], first: int, taps: NDArray[np.float64], result: NDArray[np.float64]
) -> None:
    """Sum the pixels from a first one on with the same weights at each place."""
    result[:] = 0.0
    for k in range(taps.size):
        for i in range(result.size):
            result[i] += taps[k] * values[first + i + k]
