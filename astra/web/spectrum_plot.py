"""Plots of spectra: flux, its continuum, and marks of lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from astra.web import svg
from astra.web.axes import frame
from astra.web.formats import significant

MAX_POINTS = 900  # of a line on the page
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
GAP_STEPS = 8.0  # typical steps of the grid from which on it has a gap


def spectrum(
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    good: NDArray[np.bool_],
    *,
    title: str,
    continuum: NDArray[np.float64] | None = None,
    lines: Sequence[tuple[float, str]] = (),
    unit: str = "1e-17 erg/s/cm²/Å",
    size: tuple[float, float] = (900, 260),
) -> Markup:
    """Draw a spectrum; limits of the axis leave out the last half per cent at both ends.

    Parameters
    ----------
    wavelength, flux : float64 ndarray, shape (n,)
        In vacuum [Angstrom], and flux.
    good : bool ndarray, shape (n,)
        Pixels that count; the others are gaps.
    title : str
        Which spectrum.
    continuum : float64 ndarray, shape (n,), optional
        Drawn over the flux.
    lines : sequence of (float, str), optional
        Wavelengths [Angstrom] that have a name.
    unit : str, optional
        Of the flux.
    size : (float, float), optional
        Width and height.
    """
    value = np.where(good & np.isfinite(flux), flux, np.nan)
    if not np.isfinite(value).any():
        return svg.figure(
            *size, [svg.text(size[0] / 2, size[1] / 2, "no pixel can be used", anchor="middle")], title=title
        )
    low, high = np.nanpercentile(value, [LOW_PERCENT, HIGH_PERCENT])
    pad = 0.12 * float(high - low) or 0.1 * abs(float(high)) or 1.0
    plot = frame(
        (float(wavelength[0]), float(wavelength[-1])), (float(low) - pad, float(high) + pad),
        width=size[0], height=size[1], margins=(30.0, 14.0, 48.0, 66.0),
    )  # fmt: skip
    parts = [*plot.axes("wavelength, vacuum [Å]", f"flux [{unit}]" if unit else "flux", x_ticks=8)]
    for place, name in lines:
        if plot.x.low < place < plot.x.high:
            parts.append(svg.line(plot.x(place), plot.y.start, plot.x(place), plot.y.end, class_="zero"))
            parts.append(svg.text(plot.x(place) + 3, plot.y.end + 9, name))
    top, bottom = plot.y.high, plot.y.low
    series = [(value, "data")] + ([(continuum, "second")] if continuum is not None else [])
    for one, kind in series:
        grid, shown = thin(wavelength, one)
        points = [
            (plot.x(x), plot.y(min(max(y, bottom), top)) if math.isfinite(y) else math.nan)
            for x, y in zip(grid.tolist(), shown.tolist(), strict=True)
        ]
        parts.append(svg.path(points, class_=kind))
    middle = significant(float(np.nanmedian(value)))
    said = f"{int(good.sum())} of {len(good)} pixels, median flux {middle} {unit}"
    return svg.figure(*size, parts, title=title, description=said)


def thin(
    wavelength: NDArray[np.float64], flux: NDArray[np.float64], max_points: int = MAX_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave of every few pixels the lowest and the highest, so that no line of a spectrum is lost.

    A NaN is put where the grid has a gap, and where a whole group of pixels has no value.

    Parameters
    ----------
    wavelength, flux : float64 ndarray, shape (n,)
        The spectrum; NaN where it has no value.
    max_points : int, optional
        About how many points are left.
    """
    n = max(math.ceil(2 * len(flux) / max_points), 2)
    steps = np.diff(wavelength)
    gap = np.flatnonzero(steps > GAP_STEPS * np.median(steps)) + 1 if len(steps) else np.array([], np.int64)
    grid: list[float] = []
    values: list[float] = []
    for begin, end in zip([0, *gap.tolist()], [*gap.tolist(), len(flux)], strict=True):
        for first in range(begin, end, n):
            part = flux[first : min(first + n, end)]
            finite = np.flatnonzero(np.isfinite(part))
            if not len(finite):
                grid.append(float(wavelength[first]))
                values.append(math.nan)
                continue
            extremes = {int(finite[np.argmin(part[finite])]), int(finite[np.argmax(part[finite])])}
            for place in sorted(extremes):
                grid.append(float(wavelength[first + place]))
                values.append(float(part[place]))
        grid.append(float(wavelength[end - 1]))
        values.append(math.nan)
    return np.array(grid), np.array(values)
