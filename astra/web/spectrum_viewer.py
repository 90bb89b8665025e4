"""A spectrum as SVG: its flux with the error, what is masked and why, a model, and where lines are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from astra.products.spectrum import Spectrum
from astra.web import svg
from astra.web.axes import Frame, frame, span
from astra.web.formats import number
from astra.web.spectrum_mask import BadRun, bad_runs

WIDE, NARROW = (960.0, 360.0), (372.0, 330.0)
BINS_PER_UNIT = 1.25  # of the width
LETTER, NAME_ROWS, NAME_HEIGHT = 5.8, 4, 12.0  # of the names of lines
GAP_STEPS = 8.0  # typical steps of the grid from which on it has a gap
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
    spectrum: Spectrum,
    row: int,
    *,
    z: float = 0.0,
    bounds: tuple[float | None, float | None] = (None, None),
    size: tuple[float, float] = WIDE,
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
    size : (float, float), optional
        Width and height.
    """
    wave = spectrum.wavelength
    inside = within(spectrum, bounds)
    title = f"Spectrum {row} of {spectrum.path.name}"
    good = inside & ~spectrum.bad[row]
    if not good.any():
        nothing = svg.text(size[0] / 2, size[1] / 2, "no good pixel here", anchor="middle")
        return svg.figure(*size, [nothing], title=title, description="no good pixel here")
    plot = _frame(wave[inside], spectrum.flux[row][good], size, z)
    unit = "flux [10⁻¹⁷ erg/s/cm²/Å]" if spectrum.flux_unit else "flux / continuum"
    parts = [
        *_shades(plot, wave, bad_runs(spectrum, row, inside)),
        *plot.axes("wavelength in vacuum [Å]", unit, x_ticks=max(int(size[0] / 120), 3)),
        *_curves(plot, spectrum, row, good),
        _lines(plot, z),
    ]
    said = f"{int(good.sum())} good pixels from {wave[good][0]:.0f} to {wave[good][-1]:.0f} Angstrom"
    return svg.figure(*size, parts, title=title, description=said)


def within(spectrum: Spectrum, bounds: tuple[float | None, float | None]) -> NDArray[np.bool_]:
    """Say which pixels lie between two wavelengths [Angstrom], shape (n_pixels,)."""
    first, last = bounds[0] or -math.inf, bounds[1] or math.inf
    inside: NDArray[np.bool_] = (spectrum.wavelength >= first) & (spectrum.wavelength <= last)
    return inside


def _curves(plot: Frame, spectrum: Spectrum, row: int, good: NDArray[np.bool_]) -> list[Markup]:
    """Draw the error of 1 sigma, the flux, and the model if there is one."""
    wave = spectrum.wavelength
    n_bins = int(BINS_PER_UNIT * (plot.x.end - plot.x.start))
    edges = np.linspace(plot.x.low, plot.x.high, n_bins + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    error = np.where(spectrum.ivar[row] > 0, 1.0 / np.sqrt(np.maximum(spectrum.ivar[row], 1e-300)), np.nan)
    flux = _binned(wave, np.where(good, spectrum.flux[row], np.nan), edges)
    noise = _binned(wave, np.where(good, error, np.nan), edges)
    parts = [*_band(plot, middle, flux - noise, flux + noise), _curve(plot, middle, flux, "curve")]
    if "model" in spectrum.planes:
        model = _binned(wave, spectrum.planes["model"][row], edges)
        parts.append(_curve(plot, middle, model, "second"))
    return parts


def _frame(
    wave: NDArray[np.float64], flux: NDArray[np.float64], size: tuple[float, float], z: float
) -> Frame:
    """Make the frame, with room at the top for the rows of names of lines that there are."""
    low, high = np.percentile(flux, [CLIP_PERCENT, 100.0 - CLIP_PERCENT]).tolist()
    bounds = float(wave[0]), float(wave[-1])
    x_range = bounds if bounds[1] > bounds[0] else (bounds[0] - 1.0, bounds[0] + 1.0)

    def made(lift: float) -> Frame:
        margins = (26.0, 14.0, 40.0, 44.0)
        y_range = span([low, high], pad=0.15)
        return frame(x_range, y_range, width=size[0], height=size[1], margins=margins, lift=lift)

    rows = [row for _, _, _, row in _placed_lines(made(0.0), z) if row is not None]
    return made(NAME_HEIGHT * (max(rows, default=0) + 1))


def _placed_lines(plot: Frame, z: float) -> list[tuple[str, float, float, int | None]]:
    """Name, wavelength in rest, place and row of the name of each line, by wavelength."""
    lines = sorted(LINES, key=lambda line: line[1])
    places = [plot.x(rest * (1.0 + z)) for _, rest in lines]
    rows = name_rows(places, [name for name, _ in lines])
    return [(*line, place, row) for line, place, row in zip(lines, places, rows, strict=True)]


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


def _band(
    plot: Frame, x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[Markup]:
    """Shade the error of 1 sigma, without what lies between two parts of a spectrum."""
    usable = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    parts = np.split(usable, np.flatnonzero(np.diff(usable) > GAP_STEPS) + 1)
    return [_area(plot, x[part], low[part], high[part]) for part in parts if len(part) > 1]


def _area(plot: Frame, x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> Markup:
    bottom, top = plot.y.low, plot.y.high
    places = [plot.x(value) for value in x.tolist()]
    upper = [plot.y(min(max(value, bottom), top)) for value in high.tolist()]
    lower = [plot.y(min(max(value, bottom), top)) for value in low.tolist()]
    outline = [*zip(places, upper, strict=True), *list(zip(places, lower, strict=True))[::-1]]
    return svg.path([*outline, outline[0]], class_="area")


def _shades(plot: Frame, wave: NDArray[np.float64], runs: Sequence[BadRun]) -> list[Markup]:
    """Shade what is not used, and say why where the pointer rests on it."""
    parts = []
    for run in runs[:MAX_SHADES]:
        left, right = plot.x(float(wave[run.first])), plot.x(float(wave[run.last]))
        place = {"x": left, "y": plot.y.end, "width": max(right - left, 1.0)}
        where = f"{wave[run.first]:.1f} to {wave[run.last]:.1f} Å, {number(run.last - run.first + 1)} pixels"
        hint = svg.element("title", f"{where}: {run.reason}")
        height = plot.y.start - plot.y.end
        parts.append(svg.element("rect", hint, **place, height=height, class_="masked"))
    return parts


def name_rows(places: Sequence[float], names: Sequence[str]) -> list[int | None]:
    """Give each name a row in which it touches no other; None where there is none left.

    Parameters
    ----------
    places : sequence of float
        Where the names begin, in ascending order.
    names : sequence of str
        The names.
    """
    ends = [-math.inf] * NAME_ROWS
    rows: list[int | None] = []
    for place, name in zip(places, names, strict=True):
        row = next((n for n, end in enumerate(ends) if end < place), None)
        if row is not None:
            ends[row] = place + LETTER * (len(name) + 1)
        rows.append(row)
    return rows


def _lines(plot: Frame, z: float) -> Markup:
    """Mark lines at a redshift; the script moves them by the numbers that stand with the group."""
    parts = []
    for name, rest, place, row in _placed_lines(plot, z):
        is_inside = plot.x.start <= place <= plot.x.end
        mark = [
            svg.element("title", f"{name} {rest:g} Å"),
            svg.line(0.0, plot.y.end, 0.0, plot.y.start, class_="line-mark"),
        ]
        if row is not None:
            height = plot.y.end - 5 - NAME_HEIGHT * row
            near_end = place > plot.x.end - LETTER * len(name)
            anchor = "end" if near_end and is_inside else "start"
            mark.append(svg.text(0.0, height, name, anchor=anchor, class_="line-name"))
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
