"""One picture of what a search finds: completeness, fluxes, positions and false detections."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astra.images.efficiency import SNR_EDGES, Depth
from astra.products.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_INCH, DPI = (11.0, 7.5), 100
FOUND_COLOUR, FALSE_COLOUR, FIT_COLOUR = "tab:blue", "tab:red", "0.35"


def write_efficiency_picture(
    path: Path | str, table: NDArray[np.void], depth: Depth, *, title: str = ""
) -> None:
    """Draw the picture and write it as PNG; the file appears whole or not at all."""
    content = io.BytesIO()
    draw_efficiency(table, depth, title=title).savefig(content, format="png", dpi=DPI)
    write_bytes(path, content.getvalue())


def draw_efficiency(table: NDArray[np.void], depth: Depth, *, title: str = "") -> Figure:
    """Draw what a search finds.

    Parameters
    ----------
    table : structured ndarray, dtype `astra.images.efficiency.EFFICIENCY_DTYPE`
    depth : Depth
        Fitted completeness; without a fit there is no curve.
    title : str, optional
        Which data.

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCH, layout="constrained")
    axes = figure.subplots(2, 2)
    snr = table[(table["quantity"] == "snr") & (table["nInjected"] > 0)]
    magnitude = table[(table["quantity"] == "mag") & (table["nInjected"] > 0)]
    _draw_completeness(axes[0, 0], magnitude, depth)
    _draw_snr_completeness(axes[0, 1], snr)
    _draw_bias(axes[1, 0], snr)
    _draw_pulls(axes[1, 1], snr)
    n, n_found = int(snr["nInjected"].sum()), int(snr["nFound"].sum())
    n_false = int(table["nFalse"][table["quantity"] == "snr"].sum())
    figure.suptitle(f"{title}   {n_found} of {n} injected sources found, {n_false} false detections".strip())
    return figure


def _draw_completeness(axes: Axes, bins: NDArray[np.void], depth: Depth) -> None:
    """Completeness against magnitude, with the fitted curve."""
    _draw_fractions(axes, 0.5 * (bins["low"] + bins["high"]), bins)
    axes.set(xlabel="magnitude (AB)", ylabel="completeness", ylim=(-0.03, 1.05))
    if np.isfinite(depth.mag50) and len(bins):
        magnitude = np.linspace(bins["low"].min(), bins["high"].max(), 300)
        axes.plot(magnitude, depth.completeness(magnitude), color=FIT_COLOUR)
        axes.axvline(depth.mag50, color=FIT_COLOUR, linestyle=":")
        label = f"50 % at {depth.mag50:.2f} ± {depth.mag50_err:.2f}\n90 % at {depth.mag90:.2f}"
        axes.text(0.04, 0.08, label, transform=axes.transAxes)


def _draw_snr_completeness(axes: Axes, bins: NDArray[np.void]) -> None:
    """Completeness and false detections against signal to noise."""
    centre = _centres(bins)
    _draw_fractions(axes, centre, bins)
    _set_snr_axis(axes)
    axes.set(ylabel="completeness", ylim=(-0.03, 1.05))
    counts = axes.twinx()
    counts.step(centre, bins["nFalse"], where="mid", color=FALSE_COLOUR)
    counts.set_ylabel("false detections", color=FALSE_COLOUR)
    counts.set_ylim(bottom=0, top=max(1.05 * float(bins["nFalse"].max(initial=1)), 1.0))


def _draw_fractions(axes: Axes, centre: NDArray[np.float64], bins: NDArray[np.void]) -> None:
    below = bins["completeness"] - bins["completenessLow"]
    above = bins["completenessHigh"] - bins["completeness"]
    axes.errorbar(centre, bins["completeness"], np.stack([below, above]), fmt="o", color=FOUND_COLOUR)


def _draw_bias(axes: Axes, bins: NDArray[np.void]) -> None:
    """Median of flux over truth, less one."""
    axes.axhline(0.0, color="0.7")
    percent = 100.0 * bins["fluxBias"], 100.0 * bins["fluxBiasErr"]
    axes.errorbar(_centres(bins), *percent, fmt="o", color=FOUND_COLOUR)
    _set_snr_axis(axes)
    axes.set_ylabel("flux / truth - 1 (median) [%]")


def _draw_pulls(axes: Axes, bins: NDArray[np.void]) -> None:
    """Scatter in units of the stated errors."""
    centre = _centres(bins)
    axes.axhline(1.0, color="0.7")
    axes.plot(centre, bins["fluxPullSigma"], "o", color=FOUND_COLOUR, label="flux")
    axes.plot(centre, bins["positionPullSigma"], "s", color="tab:orange", label="position")
    _set_snr_axis(axes)
    pulls = np.nan_to_num([bins["fluxPullSigma"], bins["positionPullSigma"]])
    axes.set(ylabel="scatter / stated error", ylim=(0.0, max(1.6, 1.1 * float(pulls.max(initial=0.0)))))
    axes.legend(loc="lower right")


def _set_snr_axis(axes: Axes) -> None:
    """Logarithmic axis with the edges of the bins as plain numbers."""
    axes.set(xlabel="signal to noise", xscale="log")
    axes.set_xticks(SNR_EDGES, labels=[f"{edge:g}" for edge in SNR_EDGES])
    axes.set_xticks([], minor=True)


def _centres(bins: NDArray[np.void]) -> NDArray[np.float64]:
    """Middles of the bins in the logarithm; the last bin is open."""
    high = np.where(np.isfinite(bins["high"]), bins["high"], 2.0 * bins["low"])
    centre: NDArray[np.float64] = np.sqrt(bins["low"] * high)
    return centre
