"""A spectrum as SVG: its flux with the error, what is masked, a model, and where lines are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from astra.products.spectrum import Spectrum
from astra.web import svg
from astra.web.axes import Frame, frame, span

WIDTH, HEIGHT = 960.0, 360.0
N_BINS = 1200
CLIP_PERCENT = 0.5
MAX_SHADES = 400
# Wavelengths in vacuum [Angstrom], from the NIST Atomic Spectra Database; [O II] is the mean of its doublet.
LINES = (
    ("Ly alpha", 1215.67), ("C IV", 1549.48), ("C III]", 1908.73), ("Mg II", 2799.12), ("[O II]", 3728.48),
    ("Ca K", 3934.78), ("Ca H", 3969.59), ("H delta", 4102.89), ("H gamma", 4341.68), ("H beta", 4862.68),
    ("[O III]", 4960.30), ("[O III]", 5008.24), ("Mg b", 5176.70), ("Na D", 5895.60), ("H alpha", 6564.61),
    ("[N II]", 6585.27), ("[S II]", 6718.29), ("[S II]", 6732.67), ("Ca II", 8500.36), ("Ca II", 8544.44),
    ("Ca II", 8664.52), ("Br 13", 16113.7), ("Br 12", 16411.7), ("Br 11", 16811.1),
)  # fmt: skip


def draw_spectrum(
    spectrum: Spectrum, row: int, *, z: float = 0.0, bounds: tuple[float | None, float | None] = (None, None)
) -> Markup:
    """Draw one spectrum.

    Parameters
    ----------
    spectrum : Spectrum
        Of a file.
    row : int
        Which of its rows.
    z : float, optional
        Redshift at which lines are marked.
    bounds : (float or None, float or None), optional
        First and last wavelength shown [Angstrom].
    """
    wave = spectrum.wavelength
    first, last = bounds[0] or -math.inf, bounds[1] or math.inf
    inside = (wave >= first) & (wave <= last)
    title = f"Spectrum {row} of {spectrum.path.name}"
    good = inside & ~spectrum.bad[row]
    if not good.any():
        nothing = svg.text(WIDTH / 2, HEIGHT / 2, "no good pixel here", anchor="middle")
        return svg.figure(WIDTH, HEIGHT, [nothing], title=title, description="no good pixel here")
    error = np.where(spectrum.ivar[row] > 0, 1.0 / np.sqrt(np.maximum(spectrum.ivar[row], 1e-300)), np.nan)
    plot = _frame(wave[inside], spectrum.flux[row][good])
    edges = np.linspace(plot.x.low, plot.x.high, N_BINS + 1)
    flux = _binned(wave, np.where(good, spectrum.flux[row], np.nan), edges)
    noise = _binned(wave, np.where(good, error, np.nan), edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    unit = "flux [10⁻¹⁷ erg/s/cm²/Å]" if spectrum.flux_unit else "flux / continuum"
    parts = [
        *_shades(plot, middle, wave, spectrum.bad[row] & inside),
        *plot.axes("wavelength in vacuum [Å]", unit),
    ]
    parts.append(_band(plot, middle, flux - noise, flux + noise))
    parts.append(_curve(plot, middle, flux, "curve"))
    if "model" in spectrum.planes:
        model = _binned(wave, np.where(inside, spectrum.planes["model"][row], np.nan), edges)
        parts.append(_curve(plot, middle, model, "second"))
    parts.append(_lines(plot, z))
    said = f"{int(good.sum())} good pixels from {wave[good][0]:.0f} to {wave[good][-1]:.0f} Angstrom"
    return svg.figure(WIDTH, HEIGHT, parts, title=title, description=said)


def _frame(wave: NDArray[np.float64], flux: NDArray[np.float64]) -> Frame:
    low, high = np.percentile(flux, [CLIP_PERCENT, 100.0 - CLIP_PERCENT]).tolist()
    bounds = float(wave[0]), float(wave[-1])
    x_range = bounds if bounds[1] > bounds[0] else (bounds[0] - 1.0, bounds[0] + 1.0)
    return frame(
        x_range, span([low, high], pad=0.15), width=WIDTH, height=HEIGHT, margins=(40.0, 14.0, 40.0, 56.0)
    )


def _binned(
    wave: NDArray[np.float64], values: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of the finite values in each bin; the nearest pixel where bins are finer than pixels."""
    place = np.searchsorted(edges, wave, side="right") - 1
    usable = np.isfinite(values) & (place >= 0) & (place < len(edges) - 1)
    number = np.bincount(place[usable], minlength=len(edges) - 1)
    total = np.bincount(place[usable], weights=values[usable], minlength=len(edges) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = total / number
    if 2 * int((number > 0).sum()) < len(edges) - 1:
        middle = 0.5 * (edges[1:] + edges[:-1])
        nearest = np.clip(np.searchsorted(wave, middle), 0, len(wave) - 1)
        return values[nearest].astype(np.float64)
    return means


def _curve(plot: Frame, x: NDArray[np.float64], y: NDArray[np.float64], kind: str) -> Markup:
    low, high = plot.y.low, plot.y.high
    points = [
        (plot.x(a), plot.y(min(max(b, low), high)) if math.isfinite(b) else math.nan)
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    return svg.path(points, class_=kind)


def _band(plot: Frame, x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> Markup:
    """Shade the error of 1 sigma; where there is none the band is as thin as the curve."""
    usable = np.isfinite(low) & np.isfinite(high)
    if usable.sum() < 2:
        return svg.group([])
    upper = [
        (plot.x(a), plot.y(min(b, plot.y.high)))
        for a, b in zip(x[usable].tolist(), high[usable].tolist(), strict=True)
    ]
    lower = [
        (plot.x(a), plot.y(max(b, plot.y.low)))
        for a, b in zip(x[usable].tolist(), low[usable].tolist(), strict=True)
    ]
    return svg.path([*upper, *lower[::-1], upper[0]], class_="area")


def _shades(
    plot: Frame, middle: NDArray[np.float64], wave: NDArray[np.float64], bad: NDArray[np.bool_]
) -> list[Markup]:
    """Shade what is masked, neighbours together."""
    if not bad.any():
        return []
    starts = np.flatnonzero(bad & ~np.roll(bad, 1))
    ends = np.flatnonzero(bad & ~np.roll(bad, -1))
    least = (plot.x.end - plot.x.start) / len(middle)
    parts: list[Markup] = []
    for start, end in list(zip(starts.tolist(), ends.tolist(), strict=False))[:MAX_SHADES]:
        left, right = plot.x(float(wave[start])), plot.x(float(wave[end]))
        width = max(right - left, least)
        if left + width < plot.x.start or left > plot.x.end:
            continue
        parts.append(
            svg.element(
                "rect", x=left, y=plot.y.end, width=width, height=plot.y.start - plot.y.end, class_="masked"
            )
        )
    return parts


def _lines(plot: Frame, z: float) -> Markup:
    """Mark lines at a redshift; the script moves them by the numbers that stand with the group."""
    parts = []
    for number, (name, rest) in enumerate(LINES):
        place = plot.x(rest * (1.0 + z))
        is_inside = plot.x.start <= place <= plot.x.end
        mark = [
            svg.line(0.0, plot.y.end, 0.0, plot.y.start, class_="line-mark"),
            svg.text(3.0, plot.y.end + 11 + 12 * (number % 3), name, class_="line-name"),
        ]
        parts.append(
            svg.group(
                mark,
                class_="spectral-line" if is_inside else "spectral-line outside",
                transform=f"translate({place:.2f} 0)",
                data_rest=str(rest),
            )
        )
    numbers = (plot.x.low, plot.x.high, plot.x.start, plot.x.end)
    return svg.group(parts, class_="spectral-lines", data_scale=" ".join(f"{value:.6g}" for value in numbers))


def line_places(z: float, rest: Sequence[float]) -> list[float]:
    """Observed wavelengths of lines at a redshift [Angstrom]."""
    return [(1.0 + z) * value for value in rest]
