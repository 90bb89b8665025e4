"""Corrections of the response of an amplifier to light, on its signal without overscan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from astra.images.amplifier import Amplifier

_UNCHANGED = ("none", "proportional")
_POLYNOMIALS = ("polynomial", "squared")


def polynomial_coefficients(amplifier: Amplifier) -> NDArray[np.float64] | None:
    """Return the coefficients c_k of ``s + sum_k c_k s**(k + 2)``; None if the correction is no polynomial.

    Parameters
    ----------
    amplifier : Amplifier
        Its ``linearity_type``: ``none`` and ``proportional`` change nothing, ``squared`` has c_0 alone.
    """
    if amplifier.linearity_type in _UNCHANGED:
        return np.zeros(0)
    if amplifier.linearity_type in _POLYNOMIALS:
        return np.array(amplifier.linearity, dtype=np.float64)
    return None


def correct_linearity(signal: NDArray[np.float32], amplifier: Amplifier) -> NDArray[np.float32]:
    """Correct the signal of an amplifier.

    Parameters
    ----------
    signal : float32 ndarray, any shape
        Without overscan [adu].
    amplifier : Amplifier
        Its ``linearity_type`` says how: a polynomial (see `polynomial_coefficients`); a ``lookup_table`` of
        what is to be added for each whole adu, counted from the signal ``-linearity_knots[0]`` on, and the
        nearest entry beyond its ends; a ``spline`` (Akima) of what is to be subtracted, given at
        ``linearity_knots`` [adu] and constant beyond them.

    Returns
    -------
    corrected : float32 ndarray, of the same shape
        [adu]
    """
    coefficients = polynomial_coefficients(amplifier)
    wide = np.asarray(signal, dtype=np.float64)
    values = np.array(amplifier.linearity, dtype=np.float64)
    if coefficients is not None:
        correction = np.zeros_like(wide)
        for coefficient in coefficients[::-1]:
            correction = (correction + coefficient) * wide
        return (wide + correction * wide).astype(np.float32)
    if amplifier.linearity_type == "lookup_table":
        offset = amplifier.linearity_knots[0] if amplifier.linearity_knots else 0.0
        place = np.clip(np.nan_to_num(wide + offset), 0, len(values) - 1).astype(np.int64)
        return (wide + values[place]).astype(np.float32)
    knots = np.array(amplifier.linearity_knots, dtype=np.float64)
    excess: NDArray[np.float64] = Akima1DInterpolator(knots, values)(np.clip(wide, knots[0], knots[-1]))
    return (wide - excess).astype(np.float32)
