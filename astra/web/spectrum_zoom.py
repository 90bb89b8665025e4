"""Links that draw another part of a spectrum: nearer, farther, to the blue, to the red, all of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.web.filters import Query

LEAST_PIXELS = 20  # that are drawn large


def zooms(
    query: Query,
    wavelength: NDArray[np.float64],
    bounds: tuple[float | None, float | None],
    number: int,
) -> list[tuple[str, str, str | None]]:
    """Return name, text and address of each step; no address where it would change nothing.

    Parameters
    ----------
    query : Query
        Of the address.
    wavelength : float64 ndarray, shape (n_pixels,)
        [Angstrom].
    bounds : (float or None, float or None)
        What is shown now [Angstrom].
    number : int
        Of the spectrum.
    """
    whole = float(wavelength[0]), float(wavelength[-1])
    low, high = max(bounds[0] or whole[0], whole[0]), min(bounds[1] or whole[1], whole[1])
    width = max(high - low, 0.0)
    middle, least = 0.5 * (low + high), (whole[1] - whole[0]) / len(wavelength) * LEAST_PIXELS
    steps = (
        ("blue", "← blue", (low - 0.5 * width, high - 0.5 * width), low > whole[0]),
        ("nearer", "nearer", (middle - 0.25 * width, middle + 0.25 * width), 0.5 * width > least),
        ("farther", "farther", (middle - width, middle + width), low > whole[0] or high < whole[1]),
        ("red", "red →", (low + 0.5 * width, high + 0.5 * width), high < whole[1]),
        ("whole", "all of it", whole, low > whole[0] or high < whole[1]),
    )
    return [
        (name, text, _address(query, number, wanted, whole) if is_step else None)
        for name, text, wanted, is_step in steps
    ]


def _address(query: Query, number: int, wanted: tuple[float, float], whole: tuple[float, float]) -> str:
    """Keep the width where an end of the spectrum is reached; what is all of it is not told."""
    width = min(wanted[1] - wanted[0], whole[1] - whole[0])
    low = min(max(wanted[0], whole[0]), whole[1] - width)
    ends = {"from": low if low > whole[0] else None, "to": low + width if low + width < whole[1] else None}
    told = {name: None if value is None else f"{value:.2f}" for name, value in ends.items()}
    return query.address(f"/spectrum/{number}", **told, format=None)
