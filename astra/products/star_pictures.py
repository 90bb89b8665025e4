"""Pictures of what is measured on stars: velocity peaks, sums of visits, labels of The Cannon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEAR_PEAK_KMS = 40.0
ZOOM_ANGSTROM = 60.0
VISIT_STEP = 0.35  # between the visits of a panel, of the continuum
MAX_VISITS = 12  # that are drawn one above the other
MAX_LABELS = 20


@dataclass(frozen=True)
class PeakPicture:
    """A velocity peak and the fit that it stands for.

    Parameters
    ----------
    velocity : float64 ndarray, shape (n_shifts,)
        [km/s].
    gain : float64 ndarray, shape (n_templates, n_shifts)
        Of chi-squared.
    template : int
        The best one.
    v_rel, v_rel_err : float
        [km/s]; NaN if there is none.
    wavelength, data, model : float64 ndarray, shape (n_pixels,)
        Of the grid [Angstrom]; flux over continuum, NaN where there is none, and the template there.
    parts : sequence of slice
        Pixels of each chip.
    """

    velocity: NDArray[np.float64]
    gain: NDArray[np.float64]
    template: int
    v_rel: float
    v_rel_err: float
    wavelength: NDArray[np.float64]
    data: NDArray[np.float64]
    model: NDArray[np.float64]
    parts: Sequence[slice]


def draw_velocity(peak: PeakPicture, *, title: str, subtitle: str = "") -> Figure:
    """Draw the correlation of a spectrum with templates, its peak, and the best template over it."""
    figure = new_figure(7.6, title, subtitle)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.0, 1.15))
    top, bottom = halves
    wide, near = top.subplots(1, 2, width_ratios=(1.7, 1.0))
    others = np.delete(peak.gain, peak.template, axis=0)
    if others.size:
        label = f"{len(others)} other templates: highest"
        wide.plot(peak.velocity, others.max(axis=0), color=FAINT_COLOUR, linewidth=1.0, label=label)
    wide.plot(
        peak.velocity, peak.gain[peak.template], color=DATA_COLOUR, linewidth=1.0, label="best template"
    )
    wide.legend(loc="best", fontsize="small", framealpha=0.9)
    tidy(wide, xlabel="velocity relative to the observer [km/s]", ylabel="gain in $\\chi^2$")
    centre = peak.v_rel if np.isfinite(peak.v_rel) else peak.velocity[peak.gain[peak.template].argmax()]
    close = np.abs(peak.velocity - centre) < NEAR_PEAK_KMS
    near.plot(peak.velocity[close], peak.gain[peak.template][close], "o-", color=DATA_COLOUR, markersize=4)
    if np.isfinite(peak.v_rel):
        for axes in (wide, near):
            axes.axvline(peak.v_rel, color=MODEL_COLOUR, linewidth=1.0, zorder=0)
        text = f"{peak.v_rel:.3f} ± {peak.v_rel_err:.3f} km/s"
        near.axvspan(peak.v_rel - peak.v_rel_err, peak.v_rel + peak.v_rel_err, color=MODEL_COLOUR, alpha=0.3)
        near.set_title(text, loc="left", fontsize="medium", color=MODEL_COLOUR)
    tidy(near, xlabel="near the peak [km/s]")
    panels = bottom.subplots(1, len(peak.parts), squeeze=False)[0]
    _draw_fit(panels, peak)
    return figure


def _draw_fit(panels: Any, peak: PeakPicture) -> None:
    """Draw the middle of each chip with the template, so that single lines can be seen."""
    span = limits(peak.data, peak.model, margin=0.2)
    for axes, part in zip(panels, peak.parts, strict=True):
        known = np.flatnonzero(np.isfinite(peak.data[part]))
        middle = part.start + (int(known[known.size // 2]) if known.size else (part.stop - part.start) // 2)
        half = max((part.stop - part.start) // 8, 1)
        own = slice(max(middle - half, part.start), min(middle + half, part.stop))
        axes.plot(peak.wavelength[own], peak.data[own], color=DATA_COLOUR, linewidth=0.9, label="spectrum")
        label = "best template at its velocity"
        axes.plot(peak.wavelength[own], peak.model[own], color=MODEL_COLOUR, linewidth=1.2, label=label)
        tidy(axes, xlabel=WAVELENGTH_LABEL, ylim=span)
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel("flux / continuum")
    panels[0].legend(loc="lower left", fontsize="small", framealpha=0.9)


@dataclass(frozen=True)
class CoaddPicture:
    """A sum of visits with the visits.

    Parameters
    ----------
    wavelength, flux, ivar : float64 ndarray, shape (n_pixels,)
        Of the sum; ivar 0 where nothing counts.
    visits, continua : float64 ndarray, shape (n_visits, n_pixels)
        At rest, NaN where a pixel does not count, and the continuum of each.
    names : sequence of str
        Of the visits.
    days, v_rad, v_rad_err, snr : float64 ndarray, shape (n_visits,)
        Days from the first visit, barycentric velocities [km/s], signal-to-noise ratios; NaN if unknown.
    """

    wavelength: NDArray[np.float64]
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    visits: NDArray[np.float64]
    continua: NDArray[np.float64]
    names: Sequence[str]
    days: NDArray[np.float64]
    v_rad: NDArray[np.float64]
    v_rad_err: NDArray[np.float64]
    snr: NDArray[np.float64]


def draw_coadd(sum_: CoaddPicture, parts: Sequence[slice], *, title: str, subtitle: str = "") -> Figure:
    """Draw a sum of visits, the visits below it in the middle of each chip, and their velocities.

    Parameters
    ----------
    sum_ : CoaddPicture
        What to draw.
    parts : sequence of slice
        Pixels of each chip.
    title, subtitle : str
        Which star.
    """
    figure = new_figure(9.6, title, subtitle)
    halves: Any = figure.subfigures(3, 1, height_ratios=(1.0, 1.7, 1.0))
    top, middle, bottom = halves
    axes = top.subplots()
    value = np.where(sum_.ivar > 0, sum_.flux, np.nan)
    axes.plot(sum_.wavelength, value, color=DATA_COLOUR, linewidth=0.5)
    tidy(axes, xlabel=WAVELENGTH_LABEL, ylabel=FLUX_LABEL, ylim=limits(value))
    panels = middle.subplots(1, len(parts), squeeze=False)[0]
    colours = _colours(len(sum_.visits))
    # The sum has the median continuum of its visits.
    reached = (sum_.continua > 0).any(axis=0) & np.isfinite(value)
    normal = np.full(value.shape, np.nan)
    continua = np.where(sum_.continua > 0, sum_.continua, np.nan)[:, reached]
    normal[reached] = value[reached] / np.nanmedian(continua, axis=0)
    for panel, part in zip(panels, parts, strict=True):
        centre = 0.5 * (sum_.wavelength[part][0] + sum_.wavelength[part][-1])
        own = slice(*np.searchsorted(sum_.wavelength, centre + 0.5 * ZOOM_ANGSTROM * np.array([-1.0, 1.0])))
        _draw_visits(panel, sum_, normal, own, colours)
    panels[0].set_ylabel("flux / continuum, visits shifted down")
    panels[0].legend(loc="upper left", fontsize="small", framealpha=0.9)
    velocities, ratios = bottom.subplots(1, 2)
    for number, colour in enumerate(colours):
        point = (sum_.days[number], sum_.v_rad[number])
        velocities.errorbar(*point, sum_.v_rad_err[number], fmt="o", color=colour, capsize=3)
        ratios.barh(number, sum_.snr[number], color=colour)
    tidy(velocities, xlabel="days from the first visit", ylabel="velocity [km/s]")
    velocities.margins(x=0.05, y=0.2)
    names = [shown(name)[-44:] for name in sum_.names]
    ratios.set_yticks(range(len(names)), names, fontsize="small")
    tidy(ratios, xlabel="S/N per pixel of the visit")
    ratios.invert_yaxis()
    return figure


def _draw_visits(
    panel: Axes, sum_: CoaddPicture, normal: NDArray[np.float64], own: slice, colours: Sequence[Any]
) -> None:
    """Draw the sum on top, and the visits one below the other."""
    n_shown = min(len(sum_.visits), MAX_VISITS)
    panel.plot(sum_.wavelength[own], normal[own], color="black", linewidth=1.1, label="sum")
    for number in range(n_shown):
        visit = sum_.visits[number, own] / sum_.continua[number, own]
        panel.plot(
            sum_.wavelength[own], visit - (number + 1) * VISIT_STEP, color=colours[number], linewidth=0.8
        )
    depth = limits(normal, margin=0.1)
    tidy(panel, xlabel=WAVELENGTH_LABEL, ylim=(depth[0] - n_shown * VISIT_STEP, depth[1]))
    panel.set_yticks([1.0 - number * VISIT_STEP for number in range(n_shown + 1)])
    panel.set_yticklabels(["1", *["1"] * n_shown])


def _colours(number: int) -> list[Any]:
    """Return a colour for each visit, in their order."""
    from matplotlib import colormaps

    return [colormaps["viridis"](value) for value in np.linspace(0.05, 0.8, max(number, 1))][:number]


@dataclass(frozen=True)
class LabelPicture:
    """A spectrum with the model of its labels.

    Parameters
    ----------
    wavelength, flux, ivar, model : float64 ndarray, shape (n_pixels,)
        Flux over continuum, its inverse variance with the model's scatter in it, the model; NaN where it
        does not reach.
    parts : sequence of slice
        Pixels of each chip.
    names : sequence of str
        Labels.
    value, error, low, high : float64 ndarray, shape (n_labels,)
        What was found, and the range of the training stars.
    """

    wavelength: NDArray[np.float64]
    flux: NDArray[np.float64]
    ivar: NDArray[np.float64]
    model: NDArray[np.float64]
    parts: Sequence[slice]
    names: Sequence[str]
    value: NDArray[np.float64]
    error: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def draw_labels(fit: LabelPicture, *, title: str, subtitle: str = "") -> Figure:
    """Draw a spectrum with the model of its labels, what is left in units of the noise, and the labels."""
    n_labels = min(len(fit.names), MAX_LABELS)
    figure = new_figure(max(5.6, 4.8 + 0.24 * n_labels), title, subtitle)
    halves: Any = figure.subfigures(2, 1, height_ratios=(4.4, 0.7 + 0.24 * n_labels))
    top, bottom = halves
    panels = top.subplots(2, len(fit.parts), squeeze=False, sharex="col", height_ratios=(2.0, 1.0))
    flux = np.where((fit.ivar > 0) & np.isfinite(fit.model), fit.flux, np.nan)
    left = (flux - fit.model) * np.sqrt(fit.ivar)
    for column, part in enumerate(fit.parts):
        axes, residual = panels[:, column]
        axes.plot(fit.wavelength[part], flux[part], color=DATA_COLOUR, linewidth=0.6, label="spectrum")
        axes.plot(fit.wavelength[part], fit.model[part], color=MODEL_COLOUR, linewidth=0.7, label="model")
        residual.axhspan(-1.0, 1.0, color=BAND_COLOUR)
        residual.plot(fit.wavelength[part], left[part], color=DATA_COLOUR, linewidth=0.4)
        tidy(axes, ylim=limits(flux, fit.model))
        tidy(residual, xlabel=WAVELENGTH_LABEL, ylim=(-6.0, 6.0))
        for panel in (axes, residual):
            panel.tick_params(labelleft=column == 0)
    panels[0, 0].legend(loc="lower left", fontsize="small", framealpha=0.9)
    panels[0, 0].set_ylabel("flux / continuum")
    panels[1, 0].set_ylabel("residual [sigma]")
    _draw_ranges(bottom.subplots(), fit, n_labels)
    return figure


def _draw_ranges(axes: Axes, fit: LabelPicture, n_labels: int) -> None:
    """Draw each label within the range of the training stars, which is one wide."""
    width = np.where(fit.high > fit.low, fit.high - fit.low, 1.0)
    place, error = (fit.value - fit.low) / width, fit.error / width
    for number in range(n_labels):
        axes.barh(number, 1.0, height=0.55, color=BAND_COLOUR)
        is_inside = 0.0 <= place[number] <= 1.0
        colour = SECOND_COLOUR if is_inside else MODEL_COLOUR
        at = float(np.clip(place[number], -0.08, 1.08))
        axes.errorbar(at, number, xerr=error[number], fmt="o", color=colour, capsize=3, markersize=5)
        text = f"{fit.value[number]:.5g} ± {fit.error[number]:.2g}"
        axes.text(1.12, number, text if np.isfinite(place[number]) else "not found", va="center")
    names = [shown(name)[:24] for name in fit.names[:n_labels]]
    axes.set_yticks(range(n_labels), names)
    axes.set(xlim=(-0.1, 1.45), ylim=(n_labels - 0.4, -0.6))
    axes.set_xticks([0.0, 0.5, 1.0], ["lowest", "range of the training stars", "highest"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
