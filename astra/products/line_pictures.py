"""Pictures of lines, and of redshifts and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.products.spectrum_pictures import (
    BAND_COLOUR,
    DATA_COLOUR,
    FAINT_COLOUR,
    FLUX_LABEL,
    MODEL_COLOUR,
    SECOND_COLOUR,
    WAVELENGTH_LABEL,
    limits,
    new_figure,
    shown,
    tidy,
)
from astra.spectra.line_fits import N_PARAMETERS, fit_profile, line_profile
from astra.spectra.lines import Line, LineStrengths
from astra.spectra.quasars import QUASAR_LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
MAX_LINES = 24
MARKED_WIDTH = 5.0  # [Angstrom] equivalent width of the lines that are marked in quasars
SMOOTH_PIXEL = 5


def draw_lines(  # noqa: PLR0917
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    lines: Sequence[Line],
    strengths: LineStrengths,
    row: int,
    *,
    title: str,
    subtitle: str = "",
) -> Figure:
    """Draw each line with its windows, its continuum and its Gaussian.

    Parameters
    ----------
    wavelength, flux, ivar : float64 ndarray, shape (n_pixels,)
        One spectrum at rest, in vacuum [Angstrom].
    lines : sequence of Line
        Those beyond `MAX_LINES` are left out.
    strengths : LineStrengths
        What was integrated.
    row : int
        Which of its rows is this spectrum.
    title, subtitle : str
        Which spectrum.
    """
    number = max(min(len(lines), MAX_LINES), 1)
    columns = min(COLUMNS, number)
    rows = math.ceil(number / columns)
    figure = new_figure(1.0 + 2.7 * rows, title, subtitle)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(lines) :]:
        axes.axis("off")
    for k, (axes, line) in enumerate(zip(panels, lines, strict=False)):
        width, error = strengths.width[row, k], strengths.width_err[row, k]
        text = f"{width:.2f} ± {error:.2f} Å" if np.isfinite(width) else "not covered"
        axes.set_title(f"{shown(line.name)}   {text}", fontsize="medium", loc="left")
        _draw_line(axes, wavelength, flux, ivar, line.in_vacuum())
    for axes in panels[::columns]:
        axes.set_ylabel("flux / continuum")
    for axes in panels[max(len(lines) - columns, 0) : len(lines)]:
        axes.set_xlabel("wavelength in vacuum at rest [Å]")
    return figure


def _draw_line(
    axes: Axes,
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    line: Line,
) -> None:
    """Draw the surroundings of one line over the continuum of its fit."""
    margin = 0.08 * (line.red[1] - line.blue[0])
    part = slice(*np.searchsorted(wavelength, [line.blue[0] - margin, line.red[1] + margin]))
    x, good = wavelength[part], ivar[part] > 0
    axes.axvspan(*line.window, color=SECOND_COLOUR, alpha=0.13, linewidth=0)
    for band in (line.blue, line.red):
        axes.axvspan(*band, color=BAND_COLOUR, linewidth=0)
    inside = good & (x >= line.blue[0]) & (x <= line.red[1])
    tidy(axes, xlim=(line.blue[0] - margin, line.red[1] + margin))
    axes.grid(False)
    if inside.sum() <= N_PARAMETERS:
        axes.set(ylim=(0.0, 1.0), yticks=[])
        return
    parameters = fit_profile(line, x[inside], flux[part][inside], ivar[part][inside])[0]
    flat = parameters.copy()
    flat[2] = 0.0
    continuum = line_profile(line, x, flat)
    scale = np.where(continuum > 0, continuum, np.nan)
    value = np.where(good, flux[part], np.nan) / scale
    axes.step(x, value, where="mid", color=DATA_COLOUR, linewidth=0.9)
    axes.axhline(1.0, color="0.5", linewidth=0.8, linestyle="--")
    model = line_profile(line, x, parameters) / scale
    axes.plot(x, model, color=MODEL_COLOUR, linewidth=1.3)
    axes.set_ylim(limits(value, model))


def draw_class(
    wavelength: NDArray[np.float64],
    flux: NDArray[np.float64],
    ivar: NDArray[np.float64],
    model: NDArray[np.float64],
    curves: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]],
    *,
    z: float,
    name: str,
    title: str,
    subtitle: str = "",
) -> Figure:
    """Draw a spectrum with the best templates, and chi-squared over redshift for each class.

    Parameters
    ----------
    wavelength, flux, ivar, model : float64 ndarray, shape (n_pixels,)
        One spectrum and the best fit.
    curves : sequence of (str, ndarray, ndarray)
        Name of a class, redshifts, and chi-squared there.
    z, name : float and str
        Best redshift and class; NaN and empty if there is none.
    title, subtitle : str
        Which spectrum.
    """
    figure = new_figure(8.4, title, subtitle)
    top, middle, bottom = figure.subplots(3, 1, height_ratios=(2.0, 0.8, 1.2))
    middle.sharex(top)
    value = np.where(ivar > 0, flux, np.nan)
    label = f"mean of {SMOOTH_PIXEL} pixels"
    top.plot(wavelength, value, color=FAINT_COLOUR, linewidth=0.5, label="spectrum")
    top.plot(wavelength, _smooth(flux, ivar), color=DATA_COLOUR, linewidth=0.8, label=label)
    top.plot(wavelength, model, color=MODEL_COLOUR, linewidth=1.2, label="best fit")
    tidy(top, ylabel=FLUX_LABEL, ylim=limits(_smooth(flux, ivar), model, margin=0.25))
    middle.axhspan(-1.0, 1.0, color=BAND_COLOUR)
    middle.plot(wavelength, (value - model) * np.sqrt(ivar), color=DATA_COLOUR, linewidth=0.4)
    tidy(middle, xlabel=WAVELENGTH_LABEL, ylabel="residual [sigma]", ylim=(-8.0, 8.0))
    if name == "QSO" and np.isfinite(z):
        _mark_lines(top, z)
    top.legend(loc="lower right", fontsize="small", framealpha=0.9, ncols=3)
    _draw_curves(bottom, curves, z, name)
    return figure


def _smooth(flux: NDArray[np.float64], ivar: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted mean of the pixels around each."""
    window = np.ones(SMOOTH_PIXEL)
    total = np.convolve(ivar, window, mode="same")
    mean = np.convolve(ivar * flux, window, mode="same") / np.where(total > 0, total, np.nan)
    return np.asarray(mean, np.float64)


def _mark_lines(axes: Axes, z: float) -> None:
    """Name the strong lines of quasars, at two heights in turn."""
    low, high = axes.get_xlim()
    seen = [
        (name, at * (1.0 + z))
        for name, at, width, _, kind in QUASAR_LINES
        if width > MARKED_WIDTH and kind != "iron" and low < at * (1.0 + z) < high
    ]
    for number, (name, place) in enumerate(seen):
        axes.axvline(place, color=SECOND_COLOUR, linewidth=0.8, linestyle=":", zorder=0)
        height = (0.98, 0.9, 0.82)[number % 3]
        is_last = place > high - 0.06 * (high - low)
        where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "top", "fontsize": "small"}
        where |= {"ha": "right" if is_last else "left", "color": SECOND_COLOUR}
        axes.text(place, height, f" {name.split('_')[0]} ", **where)


def _draw_curves(
    axes: Axes, curves: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]], z: float, name: str
) -> None:
    """Draw what chi-squared exceeds its least value by; where it is large, in equal factors."""
    least = min((float(chi2.min()) for _, _, chi2 in curves), default=0.0)
    others: list[Any] = ["tab:green", "tab:orange", "tab:purple", "tab:brown", "tab:olive", "tab:cyan"]
    for number, (own, redshift, chi2) in enumerate(curves):
        colour = SECOND_COLOUR if own == name else others[number % len(others)]
        axes.plot(redshift, chi2 - least + 1.0, color=colour, linewidth=0.8, label=shown(own))
    if np.isfinite(z):
        axes.axvline(z, color=MODEL_COLOUR, linewidth=1.0, zorder=0)
    axes.set_yscale("log")
    tidy(axes, xlabel="redshift", ylabel=r"$\Delta\chi^2$ + 1")
    if curves:
        axes.legend(loc="lower right", fontsize="small", framealpha=0.9, ncols=4)
