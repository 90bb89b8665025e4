"""The one pass over the pixels of a raw frame: from raw values to image, variance and mask."""

from __future__ import annotations

import numpy as np

from astra.compiled import compiled, part
from astra.images.exposure import MASK_BAD, MASK_SAT, MASK_SUSPECT, MASK_UNMASKEDNAN

SMALLEST_FLAT = 1e-3  # a pixel that sees less than this of the light is bad

_NONE = np.uint32(0)
_LARGEST = np.float32(np.finfo(np.float32).max)
_NAN_BITS = np.uint32(MASK_BAD | MASK_UNMASKEDNAN)


@compiled(error_model="numpy")
def correct_pixels(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    raw, levels, column_levels, places, numbers, linearity, bias, dark, flat, image, variance, mask
):  # pragma: no cover (compiled)
    """Fill image, variance and mask of amplifiers that share rows of the image.

    Row by row through all of them, since memory is fastest in order; and each row in steps that fit the
    first cache. The mask is zero before, and is written only where a bit is to be set.

    Parameters
    ----------
    raw : ndarray, shape (raw_ny, raw_nx)
        Raw values [adu], uint16 or float32.
    levels : float32 ndarray, shape (n, n_rows)
        What to subtract from each row of each amplifier, in the order of the raw rows [adu].
    column_levels : float32 ndarray, shape (n, n_columns)
        What to subtract from each column, in the order of the image [adu].
    places : int64 ndarray, shape (n, 8)
        First raw row and column, first row and column of the image, numbers of rows and columns, and the
        steps through the image (+1 or -1) of rows and columns.
    numbers : float32 ndarray, shape (n, 8)
        Scale from adu to the image's unit; photon variance per unit of signal [unit]; variance of the read
        noise [unit**2]; saturation and suspect level [adu]; scales of bias, dark and flat.
    linearity : float64 ndarray, shape (n, n_coefficients)
        Coefficients c_k of ``s + sum_k c_k s**(k + 2)`` for the signal s [adu].
    bias, dark, flat : float32 ndarray, shape (ny, nx), or (1, nx) for the same row everywhere
        Calibrations, in the place of the image.
    image, variance : float32 ndarray, shape (ny, nx)
        To fill.
    mask : uint32 ndarray, shape (ny, nx)
        To fill.

    Returns
    -------
    saturated : bool ndarray, shape (ny,)
        Which rows of the image have a saturated pixel.
    """
    saturated = np.zeros(image.shape[0], np.bool_)
    signal = np.empty(image.shape[1], np.float32)
    bits = np.empty(image.shape[1], np.uint32)
    n_rows = places[0, 4]
    for j in range(n_rows):
        y = places[0, 2] + j
        for a in range(places.shape[0]):
            raw_y, raw_x, _, x, _, width, step_y, step_x = places[a]
            line = j if step_y > 0 else n_rows - 1 - j
            s, b = signal[:width], bits[:width]
            _fetch(raw[raw_y + line, raw_x : raw_x + width], s, step_x)
            found = _flag(s, b, levels[a, line], column_levels[a, :width], numbers[a, 3], numbers[a, 4])
            saturated[y] |= (found & MASK_SAT) != 0
            if linearity.shape[1] > 0:
                _linearize(s, linearity[a])
            found |= _calibrate(
                s,
                b,
                bias[y if bias.shape[0] > 1 else 0, x : x + width],
                dark[y if dark.shape[0] > 1 else 0, x : x + width],
                flat[y if flat.shape[0] > 1 else 0, x : x + width],
                numbers[a],
                image[y, x : x + width],
                variance[y, x : x + width],
            )
            if found != 0:
                for i in range(width):
                    mask[y, x + i] = b[i]
    return saturated


@part(error_model="numpy")
def _fetch(read, signal, step):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Take the values of a row in the order of the image."""
    n = signal.size
    if step > 0:
        for i in range(n):
            signal[i] = np.float32(read[i])
    else:
        for i in range(n):
            signal[n - 1 - i] = np.float32(read[i])


@part(error_model="numpy")
def _flag(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    signal, bits, level, column_levels, saturation, suspect
):  # pragma: no cover (compiled)
    """Judge the raw values of a row, then subtract their levels; returns all bits that were set."""
    found = _NONE
    for i in range(signal.size):
        value = signal[i]
        full = (value >= saturation) & (value <= _LARGEST)
        near = (value >= suspect) & (value <= _LARGEST)
        bit = np.uint32((MASK_SAT if full else _NONE) | (MASK_SUSPECT if near else _NONE))
        found = np.uint32(found | bit)
        bits[i] = bit
        signal[i] = value - level - column_levels[i]
    return found


@part(error_model="numpy")
def _linearize(signal, coefficients):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Add the polynomial correction of the response to the signals of a row."""
    for i in range(signal.size):
        value, correction = signal[i], 0.0
        for k in range(coefficients.size - 1, -1, -1):
            correction = (correction + coefficients[k]) * value
        signal[i] = np.float32(value + correction * value)


@part(error_model="numpy")
def _calibrate(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    signal, bits, bias, dark, flat, numbers, image, variance
):  # pragma: no cover (compiled)
    """Subtract bias and dark, predict the noise and divide by the flat; returns all bits that were set."""
    scale, photon, floor = numbers[0], numbers[1], numbers[2]
    bias_scale, dark_scale, flat_scale = numbers[5], numbers[6], numbers[7]
    zero, one, smallest = np.float32(0.0), np.float32(1.0), np.float32(SMALLEST_FLAT)
    found = _NONE
    for i in range(signal.size):
        charge = signal[i] * scale - bias[i] * bias_scale
        response = flat[i] * flat_scale
        usable = response > smallest
        inverse = one / (response if usable else one)
        value = (charge - dark[i] * dark_scale) * inverse
        spread = ((charge if charge > zero else zero) * photon + floor) * inverse * inverse
        finite = (abs(value) <= _LARGEST) & (spread <= _LARGEST)
        image[i] = value if finite else zero
        variance[i] = spread if finite else floor
        bit = np.uint32((_NONE if usable & (spread > zero) else MASK_BAD) if finite else _NAN_BITS)
        found = np.uint32(found | bit)
        bits[i] = np.uint32(bits[i] | bit)
    return found
