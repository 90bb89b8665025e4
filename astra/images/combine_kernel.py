"""The combination of frames, pixel by pixel."""

from __future__ import annotations

import numpy as np

from astra.compiled import compiled, part


@compiled
def combine_stack(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    stack, photon, floor, amplifier, clip_sigma, mean, variance, count, chi2, n_free
):  # pragma: no cover (compiled)
    """Combine frames pixel by pixel: the weighted mean of what is near the median.

    Parameters
    ----------
    stack : float32 ndarray, shape (n, ny, nx)
        Frames in one scale, NaN where not usable.
    photon : float64 ndarray, shape (n,)
        Expected variance per unit of signal.
    floor : float64 ndarray, shape (n, n_amplifiers)
        Expected variance without signal.
    amplifier : uint8 ndarray, shape (ny, nx)
        Whose pixel it is.
    clip_sigma : float
        Values further than this from the median are left out [sigma expected].
    mean, variance : float32 ndarray, shape (ny, nx)
        To fill; zero where no value is usable.
    count : uint16 ndarray, shape (ny, nx)
        To fill: number of values used.
    chi2, n_free : float64 ndarray, shape (n_amplifiers,)
        Squares of the residuals over their expectation, and their degrees of freedom, to add to.
    """
    n = stack.shape[0]
    ordered, expected = np.empty(n), np.empty(n)
    for y in range(stack.shape[1]):
        for x in range(stack.shape[2]):
            a, values = amplifier[y, x], stack[:, y, x]
            n_valid = _sort_valid(values, ordered)
            if n_valid == 0:
                continue
            middle = 0.5 * (ordered[(n_valid - 1) // 2] + ordered[n_valid // 2])
            for f in range(n):
                expected[f] = photon[f] * max(middle, 0.0) + floor[f, a]
            # The median itself is uncertain by pi / 2 n of a value's variance.
            limit = clip_sigma**2 * (1.0 + 0.5 * np.pi / n_valid)
            average, weights, used, squares = _clipped_mean(values, expected, middle, limit)
            if used > 0:
                mean[y, x], variance[y, x], count[y, x] = average, 1.0 / weights, used
                chi2[a] += squares
                n_free[a] += used - 1


@part
def _clipped_mean(values, expected, middle, limit):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Weighted mean of the values near a middle, sum of the weights, number, and chi square."""
    weights = weighted = squares = 0.0
    used = 0
    for f in range(values.size):
        if (values[f] - middle) ** 2 <= limit * expected[f]:
            weights += 1.0 / expected[f]
            weighted += values[f] / expected[f]
            used += 1
    average = weighted / weights if used > 0 else 0.0
    for f in range(values.size):
        if (values[f] - middle) ** 2 <= limit * expected[f]:
            squares += (values[f] - average) ** 2 / expected[f]
    return average, weights, used, squares


@part
def _sort_valid(values, ordered):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Put the values that are numbers in order at the beginning of an array; returns how many there are."""
    n = 0
    for value in values:
        if np.isnan(value):
            continue
        place = n
        while place > 0 and ordered[place - 1] > value:
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = value
        n += 1
    return n
