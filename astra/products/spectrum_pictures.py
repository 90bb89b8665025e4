"""Pictures of spectra: signal and noise, continuum, lines, and the barycentric correction over a year.

A picture is a figure of matplotlib without any window, drawn on demand and written as PNG. `astra show` names
those that a task has made.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.products.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
WIDTH_INCH = 12.0
DATA_COLOUR, FAINT_COLOUR, MODEL_COLOUR, SECOND_COLOUR = "0.25", "0.72", "tab:red", "tab:blue"
BAND_COLOUR = "0.93"
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
LONGEST_TEXT = 130
MOST_TICKS = 5  # of wavelengths, whose numbers are long


def write_picture(path: Path | str, figure: Figure) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    write_bytes(path, content.getvalue())


def new_figure(height_inch: float, title: str, subtitle: str = "") -> Figure:
    """Return an empty figure with a title at its left, and what is to be said of it below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCH, height_inch))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    text = "\n".join(shown(line) for line in filter(None, (title, subtitle)))
    figure.suptitle(text, x=0.01, ha="left", fontsize="large")
    return figure


def shown(text: str) -> str:
    """Return text of any origin as it can be drawn: on one line, not too long, without codes or formulae."""
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    clean = clean if len(clean) <= LONGEST_TEXT else clean[: LONGEST_TEXT - 1] + "…"
    return clean.replace("$", r"\$")


def tidy(axes: Axes, **labels: Any) -> None:
    """Give a panel its labels, a light grid, and no frame at top and right."""
    axes.set(**labels)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
    if labels.get("xlabel") == WAVELENGTH_LABEL:
        axes.locator_params(axis="x", nbins=MOST_TICKS)


def chip_parts(chip: NDArray[np.integer]) -> list[slice]:
    """Return the pixels of each chip; all of them where there are no chips."""
    numbers = np.unique(chip[chip >= 0])
    if numbers.size < 2:
        return [slice(0, chip.size)]
    edges = [np.flatnonzero(chip == number) for number in numbers]
    return [slice(int(pixels[0]), int(pixels[-1]) + 1) for pixels in edges]


def limits(*arrays: NDArray[np.float64], margin: float = 0.12) -> tuple[float, float]:
    """Return limits of an axis that outliers do not set."""
    values = np.concatenate([array[np.isfinite(array)] for array in arrays])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [LOW_PERCENT, HIGH_PERCENT])
    pad = margin * (high - low) or 0.1 * abs(high) or 1.0
    return float(low - pad), float(high + pad)


def draw_signal(
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    chip: NDArray[np.integer],
    snr: Sequence[float],
    *,
    title: str,
    subtitle: str = "",
) -> Figure:
    """Draw the flux and the signal-to-noise ratio of a spectrum.

    Parameters
    ----------
    wavelength, flux, ivar, chip : ndarray, shape (n_pixels,)
        One spectrum; ivar 0 where a pixel does not count.
    snr : sequence of float
        Median of each chip, in their order.
    title, subtitle : str
        Which spectrum.
    """
    figure = new_figure(6.0, title, subtitle)
    parts = chip_parts(chip)
    panels = figure.subplots(2, len(parts), squeeze=False, sharex="col", height_ratios=(1.4, 1.0))
    good = ivar > 0
    value, ratio = np.where(good, flux, np.nan), np.where(good, flux * np.sqrt(ivar), np.nan)
    for column, part in enumerate(parts):
        top, bottom = panels[0, column], panels[1, column]
        top.plot(wavelength[part], value[part], color=DATA_COLOUR, linewidth=0.6)
        bottom.plot(wavelength[part], ratio[part], color=SECOND_COLOUR, linewidth=0.4, alpha=0.6)
        if column < len(snr) and np.isfinite(snr[column]):
            label = f"median {snr[column]:.1f}"
            bottom.axhline(snr[column], color=MODEL_COLOUR, linewidth=1.2, label=label)
            bottom.legend(loc="lower left", fontsize="small", frameon=True, framealpha=0.9)
        tidy(top, ylim=limits(value))
        tidy(bottom, xlabel=WAVELENGTH_LABEL, ylim=limits(ratio))
    panels[0, 0].set_ylabel(FLUX_LABEL)
    panels[1, 0].set_ylabel("S/N per pixel")
    _share_rows(panels)
    return figure


def draw_continuum(  # noqa: PLR0917
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    continuum: NDArray[np.float64],
    used: NDArray[np.bool_],
    chip: NDArray[np.integer],
    *,
    title: str,
    subtitle: str = "",
) -> Figure:
    """Draw a spectrum with its continuum, and divided by it.

    Parameters
    ----------
    wavelength, flux, ivar, continuum, used, chip : ndarray, shape (n_pixels,)
        One spectrum; ``used`` are the pixels that the continuum rests on.
    title, subtitle : str
        Which spectrum.
    """
    figure = new_figure(6.4, title, subtitle)
    parts = chip_parts(chip)
    panels = figure.subplots(2, len(parts), squeeze=False, sharex="col", height_ratios=(1.3, 1.0))
    value = np.where(ivar > 0, flux, np.nan)
    normal = value / np.where(continuum > 0, continuum, np.nan)
    for column, part in enumerate(parts):
        top, bottom = panels[0, column], panels[1, column]
        top.plot(wavelength[part], value[part], color=FAINT_COLOUR, linewidth=0.6, label="spectrum")
        kept = np.where(used, value, np.nan)[part]
        top.plot(wavelength[part], kept, ".", color=SECOND_COLOUR, markersize=1.5, label="used in the fit")
        top.plot(wavelength[part], continuum[part], color=MODEL_COLOUR, linewidth=1.5, label="continuum")
        bottom.axhline(1.0, color=MODEL_COLOUR, linewidth=1.0)
        bottom.plot(wavelength[part], normal[part], color=DATA_COLOUR, linewidth=0.5)
        tidy(top, ylim=limits(value, continuum))
        tidy(bottom, xlabel=WAVELENGTH_LABEL, ylim=limits(normal))
    panels[0, 0].legend(loc="lower left", fontsize="small", markerscale=6, framealpha=0.9)
    panels[0, 0].set_ylabel(FLUX_LABEL)
    panels[1, 0].set_ylabel("flux / continuum")
    _share_rows(panels)
    return figure


def draw_correction(
    days: NDArray[np.float64],
    year: NDArray[np.float64],
    observed: NDArray[np.float64],
    *,
    header: NDArray[np.float64],
    corrections: NDArray[np.float64],
    title: str,
    subtitle: str = "",
) -> Figure:
    """Draw the barycentric correction of a target over a year, and those of its observations.

    Parameters
    ----------
    days, year : float64 ndarray, shape (n,)
        Days from the first observation, and corrections [km/s].
    observed, header, corrections : float64 ndarray, shape (n_rows,)
        Days of the observations, what the file says, and what was computed [km/s]; NaN where unknown.
    title, subtitle : str
        Which file.
    """
    figure = new_figure(4.6, title, subtitle)
    axes = figure.subplots()
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.plot(days, year, color=FAINT_COLOUR, linewidth=1.5, label="target from this observatory")
    axes.plot(observed, corrections, "o", color=SECOND_COLOUR, markersize=8, label="observations")
    if np.isfinite(header).any():
        axes.plot(observed, header, "x", color=MODEL_COLOUR, markersize=8, label="header")
    tidy(axes, xlabel="days from the first observation", ylabel="barycentric correction [km/s]")
    axes.legend(loc="best", fontsize="small", framealpha=0.9)
    return figure


WAVELENGTH_LABEL = "wavelength in vacuum [Å]"
FLUX_LABEL = "flux [10$^{-17}$ erg/s/cm$^2$/Å]"


def _share_rows(panels: NDArray[Any]) -> None:
    """Leave the numbers of the vertical axis to the first panel where all of a row have the same limits."""
    for row in panels:
        low = min(axes.get_ylim()[0] for axes in row)
        high = max(axes.get_ylim()[1] for axes in row)
        for number, axes in enumerate(row):
            axes.set_ylim(low, high)
            axes.tick_params(labelleft=number == 0)
