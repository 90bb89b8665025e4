"""Pictures of how well a model was trained: labels of The Cannon, templates of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.products.spectrum_pictures import (
    BAND_COLOUR,
    DATA_COLOUR,
    MODEL_COLOUR,
    SECOND_COLOUR,
    new_figure,
    shown,
    tidy,
)
from astra.spectra.redshift import SpectralClass
from astra.spectra.template_training import CATASTROPHIC_KMS, Validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5
MAX_LABELS = 20
MAX_CLASSES = 6


def draw_label_training(
    names: Sequence[str],
    true: NDArray[np.float64],
    found: NDArray[np.float64],
    error: NDArray[np.float64],
    *,
    title: str,
    subtitle: str = "",
) -> Figure:
    """Draw the labels that a model finds of stars against those that they are known to have.

    Parameters
    ----------
    names : sequence of str
        Labels; those beyond `MAX_LABELS` are left out.
    true, found, error : float64 ndarray, shape (n_stars, n_labels)
        NaN where nothing was found.
    title, subtitle : str
        Which model and stars.
    """
    number = min(len(names), MAX_LABELS)
    columns = min(COLUMNS, number)
    rows = math.ceil(number / columns)
    figure = new_figure(1.0 + 2.6 * rows * (1.5 if columns < 3 else 1.0), title, subtitle)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[number:]:
        axes.axis("off")
    for k, (axes, name) in enumerate(zip(panels, names, strict=False)):
        ends = [np.nanmin(true[:, k]), np.nanmax(true[:, k])]
        axes.plot(ends, ends, color=MODEL_COLOUR, linewidth=1.0, zorder=3)
        points = {"fmt": ".", "color": SECOND_COLOUR, "markersize": 4, "elinewidth": 0.5, "alpha": 0.6}
        axes.errorbar(true[:, k], found[:, k], error[:, k], **points)
        difference = found[:, k] - true[:, k]
        text = f"{np.nanmean(difference):+.2g}, scatter {np.nanstd(difference):.2g}"
        axes.set_title(f"{shown(name)}: {text}", loc="left", fontsize="medium")
        tidy(axes)
        axes.margins(0.05)
    for axes in panels[::columns]:
        axes.set_ylabel("found")
    for axes in panels[max(number - columns, 0) : number]:
        axes.set_xlabel("known")
    return figure


def draw_templates(
    classes: Sequence[SpectralClass], validation: Validation | None, *, title: str, subtitle: str = ""
) -> Figure:
    """Draw the templates of classes, and what they find of spectra that they were not trained on.

    Parameters
    ----------
    classes : sequence of SpectralClass
        Those beyond `MAX_CLASSES` are left out.
    validation : Validation or None
        From cross validation, if there was one.
    title, subtitle : str
        What was trained.
    """
    some = classes[:MAX_CLASSES]
    figure = new_figure(1.2 + 2.2 * len(some) + (3.2 if validation else 0.0), title, subtitle)
    if validation:
        heights = (2.2 * len(some), 3.2)
        halves: Any = figure.subfigures(2, 1, height_ratios=heights)
        top, bottom = halves
        panels = top.subplots(len(some), 1, squeeze=False)[:, 0]
        redshifts, velocities, table = bottom.subplots(1, 3)
        _draw_redshifts(redshifts, validation)
        _draw_velocities(velocities, validation)
        _draw_confusion(table, validation)
    else:
        panels = figure.subplots(len(some), 1, squeeze=False)[:, 0]
    for axes, one in zip(panels, some, strict=True):
        _draw_components(axes, one)
    panels[-1].set_xlabel("wavelength in vacuum at rest [Å]")
    return figure


def _draw_components(axes: Axes, one: SpectralClass) -> None:
    """Draw the templates of a class, one below the other."""
    from matplotlib import colormaps

    for number, template in enumerate(one.templates):
        # The ends, which few spectra reach, are noise.
        inner = template[len(template) // 10 : -(len(template) // 10) or None]
        size = np.percentile(np.abs(inner), 99.5) or 1.0
        colour = colormaps["viridis"](0.8 * number / max(len(one.templates) - 1, 1))
        shape = np.clip(template / size, -1.2, 1.5)
        axes.plot(one.grid.wavelength, shape - 2.0 * number, color=colour, linewidth=0.7)
    ends = f"z {one.z_min:.4g} to {one.z_max:.4g}"
    axes.set_title(f"{shown(one.name)}: {ends}", loc="left", fontsize="medium")
    tidy(axes, ylim=(-2.0 * len(one.templates) + 0.4, 1.7))
    places = [-2.0 * number for number in range(len(one.templates))]
    axes.set_yticks(places, [str(number + 1) for number in range(len(places))])
    axes.set_ylabel("template")


def _draw_redshifts(axes: Axes, validation: Validation) -> None:
    right = np.array([a == b for a, b in zip(validation.name, validation.found_name, strict=True)])
    ends = [float(np.nanmin(validation.z)), float(np.nanmax(validation.z))]
    axes.plot(ends, ends, color="0.6", linewidth=1.0)
    for chosen, colour, label in (
        (right, SECOND_COLOUR, "right class"),
        (~right, MODEL_COLOUR, "wrong class"),
    ):
        if chosen.any():
            axes.plot(validation.z[chosen], validation.found_z[chosen], ".", color=colour, label=label)
    tidy(axes, xlabel="known redshift", ylabel="found")
    axes.margins(0.05)
    axes.legend(loc="best", fontsize="small", framealpha=0.9)


def _draw_velocities(axes: Axes, validation: Validation) -> None:
    """Draw the histogram of errors; what lies outside is counted in the last bins."""
    from matplotlib.ticker import MaxNLocator

    velocity = validation.velocity_kms
    velocity = velocity[np.isfinite(velocity)]
    spread = 1.4826 * float(np.median(np.abs(velocity))) if velocity.size else 100.0
    reach = float(np.clip(5.0 * spread, 50.0, CATASTROPHIC_KMS))
    edges = np.linspace(-reach, reach, 41).tolist()
    axes.hist(np.clip(velocity, -reach, reach), edges, color=SECOND_COLOUR)
    axes.axvline(0.0, color=MODEL_COLOUR, linewidth=1.0)
    tidy(axes, xlabel="found less known redshift [km/s]", ylabel="spectra")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_confusion(axes: Axes, validation: Validation) -> None:
    """Draw how many spectra of each class were put into each."""
    names = sorted(set(validation.name))
    found = [*names, *sorted(set(validation.found_name) - set(names))]
    pairs = list(zip(validation.name, validation.found_name, strict=True))
    counts = np.array([[pairs.count((a, b)) for b in found] for a in names])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=2.0, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", color=DATA_COLOUR)
    labels = [shown(name) or "none" for name in found]
    axes.set_xticks(range(len(found)), labels)
    axes.set_yticks(range(len(names)), [shown(name) for name in names])
    axes.set(xlabel="found class", ylabel="known class", facecolor=BAND_COLOUR)
    axes.tick_params(length=0)
