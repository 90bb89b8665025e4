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
COMPLETENESS_RANGE = (-0.03, 1.05)
OPEN_END = 2.0  # where an open bin is drawn to end, in units of its beginning
FEW = 5  # injected sources in a bin that is drawn faintly
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
    of_snr = table[table["quantity"] == "snr"]
    snr = of_snr[of_snr["nInjected"] > 0]
    magnitude = table[(table["quantity"] == "mag") & (table["nInjected"] > 0)]
    _draw_completeness(axes[0, 0], magnitude, depth)
    _draw_snr_completeness(axes[0, 1], snr, of_snr)
    _draw_bias(axes[1, 0], snr)
    _draw_pulls(axes[1, 1], snr)
    for panel in axes.flat:
        panel.grid(color="0.92")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    n, n_found, n_false, n_new = (
        int(of_snr[name].sum()) for name in ("nInjected", "nFound", "nFalse", "nFalseNew")
    )
    counts = f"{n_found} of {n} injected sources found, {n_false} false detections, {n_new} of them new"
    figure.suptitle("\n".join(filter(None, [title, counts])))
    return figure


def _draw_completeness(axes: Axes, bins: NDArray[np.void], depth: Depth) -> None:
    """Completeness against magnitude, with the fitted curve and its depths."""
    _draw_fractions(axes, 0.5 * (bins["low"] + bins["high"]), bins)
    axes.set(xlabel="magnitude (AB)", ylabel="completeness", ylim=COMPLETENESS_RANGE)
    axes.set_title("completeness over magnitude", loc="left", fontsize="medium")
    if np.isfinite(depth.mag50) and len(bins):
        magnitude = np.linspace(bins["low"].min(), bins["high"].max(), 300)
        axes.plot(magnitude, depth.completeness(magnitude), color=FIT_COLOUR)
        label = f"50 % at {depth.mag50:.2f} ± {depth.mag50_err:.2f}"
        axes.axvline(depth.mag50, color=FIT_COLOUR, linestyle=":", label=label)
        axes.axvline(depth.mag90, color=FIT_COLOUR, linestyle="--", label=f"90 % at {depth.mag90:.2f}")
        axes.legend(loc="lower left", fontsize="small")


def _draw_snr_completeness(axes: Axes, bins: NDArray[np.void], of_false: NDArray[np.void]) -> None:
    """Completeness and false detections against signal to noise."""
    from matplotlib.ticker import MaxNLocator

    _draw_fractions(axes, _centres(bins), bins)
    _set_snr_axis(axes)
    axes.set(ylabel="completeness", ylim=COMPLETENESS_RANGE)
    axes.set_title("completeness and false detections", loc="left", fontsize="medium")
    counts = axes.twinx()
    if len(of_false):
        edges = np.append(of_false["low"], _ends(of_false)[-1])
        counts.stairs(of_false["nFalse"], edges, fill=True, color=FALSE_COLOUR, alpha=0.15, label="all")
        counts.stairs(of_false["nFalseNew"], edges, color=FALSE_COLOUR, label="not there without injections")
        counts.legend(loc="center right", fontsize="small", title="false detections", title_fontsize="small")
    counts.set_ylabel("false detections", color=FALSE_COLOUR)
    counts.tick_params(axis="y", colors=FALSE_COLOUR)
    counts.spines[["top"]].set_visible(False)
    counts.yaxis.set_major_locator(MaxNLocator(integer=True))
    # The points of the completeness stay above the bars.
    counts.set_ylim(bottom=0, top=max(2.5 * float(of_false["nFalse"].max(initial=0)), 4.0))


def _draw_fractions(axes: Axes, centre: NDArray[np.float64], bins: NDArray[np.void]) -> None:
    """Fractions with their binomial errors; the fewer sources, the fainter."""
    below = bins["completeness"] - bins["completenessLow"]
    above = bins["completenessHigh"] - bins["completeness"]
    for k in range(len(bins)):
        alpha = 1.0 if bins["nInjected"][k] >= FEW else 0.35
        axes.errorbar(
            [centre[k]],
            [bins["completeness"][k]],
            [[below[k]], [above[k]]],
            fmt="o",
            color=FOUND_COLOUR,
            capsize=3,
            alpha=alpha,
        )


def _draw_bias(axes: Axes, bins: NDArray[np.void]) -> None:
    """Median of flux over truth, less one."""
    axes.axhspan(-1.0, 1.0, color="0.9", zorder=0)
    axes.axhline(0.0, color="0.6", linewidth=1.0)
    percent = 100.0 * bins["fluxBias"], 100.0 * bins["fluxBiasErr"]
    axes.errorbar(_centres(bins), *percent, fmt="o", color=FOUND_COLOUR, capsize=3)
    _set_snr_axis(axes)
    axes.set_ylabel("flux / truth - 1 (median) [%]")
    axes.set_title("fluxes; grey: within 1 %", loc="left", fontsize="medium")


def _draw_pulls(axes: Axes, bins: NDArray[np.void]) -> None:
    """Scatter in units of the stated errors."""
    centre = _centres(bins)
    axes.axhspan(0.9, 1.1, color="0.9", zorder=0)
    axes.axhline(1.0, color="0.6", linewidth=1.0)
    axes.plot(centre, bins["fluxPullSigma"], "o", color=FOUND_COLOUR, label="flux")
    axes.plot(centre, bins["positionPullSigma"], "s", color="tab:orange", label="position")
    _set_snr_axis(axes)
    pulls = np.nan_to_num([bins["fluxPullSigma"], bins["positionPullSigma"]])
    axes.set(ylabel="scatter / stated error", ylim=(0.0, max(1.6, 1.1 * float(pulls.max(initial=0.0)))))
    axes.set_title("errors; grey: within a tenth", loc="left", fontsize="medium")
    axes.legend(loc="lower right", fontsize="small")


def _set_snr_axis(axes: Axes) -> None:
    """Logarithmic axis with the edges of the bins as plain numbers."""
    axes.set(xlabel="signal to noise", xscale="log", xlim=(SNR_EDGES[0], OPEN_END * SNR_EDGES[-1]))
    axes.set_xticks(SNR_EDGES, labels=[f"{edge:g}" for edge in SNR_EDGES])
    axes.set_xticks([], minor=True)


def _ends(bins: NDArray[np.void]) -> NDArray[np.float64]:
    """Upper ends of the bins; the last one is open."""
    ends: NDArray[np.float64] = np.where(np.isfinite(bins["high"]), bins["high"], OPEN_END * bins["low"])
    return ends


def _centres(bins: NDArray[np.void]) -> NDArray[np.float64]:
    """Middles of the bins in the logarithm."""
    centre: NDArray[np.float64] = np.sqrt(bins["low"] * _ends(bins))
    return centre
