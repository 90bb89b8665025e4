"""One picture of how well a reliability model does: its curve, its scores, and its probabilities."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.images.reliability_quality import (
    COMPLETENESS_WANTED,
    at_completeness,
    by_snr,
    calibration_table,
    make_roc,
)
from astra.products.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
FIGURE_INCH = 12.0, 8.5
REAL_COLOUR, ARTEFACT_COLOUR = "tab:blue", "tab:red"
LEAST_CONTAMINATION = 1e-3


def write_reliability_picture(
    path: Path | str,
    labels: NDArray[Any],
    scores: NDArray[Any],
    snr: NDArray[Any],
    *,
    threshold: float,
    title: str,
) -> None:
    """Draw the picture and write it as PNG; the file appears whole or not at all."""
    content = io.BytesIO()
    figure = draw_reliability(labels, scores, snr, threshold=threshold, title=title)
    figure.savefig(content, format="png", dpi=DPI)
    write_bytes(path, content.getvalue())


def draw_reliability(
    labels: NDArray[Any], scores: NDArray[Any], snr: NDArray[Any], *, threshold: float, title: str
) -> Figure:
    """Draw how well scores tell sources from artefacts.

    Parameters
    ----------
    labels, scores, snr : ndarray, shape (n,)
        What each detection is (1 real, 0 artefact), its score and its signal to noise.
    threshold : float
        Cut that is marked.
    title : str
        What was scored.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Four panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    figure.suptitle(title)
    _draw_curve(panels[0, 0], labels, scores, threshold)
    _draw_scores(panels[0, 1], labels, scores, threshold)
    _draw_snr(panels[1, 0], by_snr(labels, scores, snr, threshold))
    _draw_calibration(panels[1, 1], calibration_table(labels, scores))
    return figure


def _draw_curve(axes: Axes, labels: NDArray[Any], scores: NDArray[Any], threshold: float) -> None:
    """Completeness against contamination, on a logarithmic axis: good models differ at its left end."""
    roc = make_roc(labels, scores)
    wanted = at_completeness(roc)
    shown = np.maximum(roc.contamination, LEAST_CONTAMINATION)
    axes.step(shown, roc.completeness, where="post", color=REAL_COLOUR, label=f"area {roc.area:.4f}")
    index = int(np.sum(roc.thresholds >= threshold)) - 1
    label = f"cut {threshold:g}: completeness {roc.completeness[index]:.3f}, purity {roc.purity[index]:.3f}"
    axes.plot(shown[index], roc.completeness[index], "o", color="black", label=label)
    label = f"purity {wanted['purity']:.3f} at completeness {COMPLETENESS_WANTED:g}"
    axes.axhline(COMPLETENESS_WANTED, color="0.6", linestyle="--", label=label)
    axes.set(xscale="log", xlim=(LEAST_CONTAMINATION, 1.0), ylim=(0.5, 1.005))
    axes.set(xlabel="contamination: artefacts that are kept", ylabel="completeness: sources that are kept")
    axes.set_title("receiver operating characteristic", loc="left", fontsize="medium")
    axes.legend(loc="lower right", fontsize="small")


def _draw_scores(axes: Axes, labels: NDArray[Any], scores: NDArray[Any], threshold: float) -> None:
    edges = np.linspace(0.0, 1.0, 51).tolist()
    for label, name, colour in ((1, "sources", REAL_COLOUR), (0, "artefacts", ARTEFACT_COLOUR)):
        chosen = scores[labels == label]
        axes.hist(chosen, edges, histtype="step", color=colour, linewidth=1.5, label=f"{len(chosen)} {name}")
    axes.axvline(threshold, color="black", linestyle=":", label=f"cut {threshold:g}")
    axes.set(yscale="log", xlim=(0.0, 1.0), xlabel="reliability", ylabel="detections in a bin")
    axes.set_title("scores", loc="left", fontsize="medium")
    axes.legend(loc="upper center", fontsize="small")


def _draw_snr(axes: Axes, rows: list[dict[str, float]]) -> None:
    """Completeness and contamination in bins of signal to noise, with their binomial errors."""
    names = [f"{row['snrMin']:g}-{row['snrMax']:g}".replace("-inf", "+") for row in rows]
    places = np.arange(len(rows))
    for part, count, colour in (
        ("completeness", "nReal", REAL_COLOUR),
        ("contamination", "nArtefacts", ARTEFACT_COLOUR),
    ):
        share, number = np.array([row[part] for row in rows]), np.array([row[count] for row in rows])
        error = np.sqrt(np.maximum(share * (1.0 - share), 0.0) / np.maximum(number, 1))
        axes.errorbar(places, share, error, fmt="o-", color=colour, capsize=3, label=part)
    axes.set_xticks(places, names)
    axes.set(ylim=(-0.02, 1.05), xlabel="signal to noise", ylabel="part that is kept")
    axes.set_title("over signal to noise", loc="left", fontsize="medium")
    axes.legend(loc="center right", fontsize="small")


def _draw_calibration(axes: Axes, rows: list[dict[str, float]]) -> None:
    """Part of sources against the score."""
    mean, share = (np.array([row[name] for row in rows]) for name in ("meanScore", "realShare"))
    number = np.array([row["n"] for row in rows])
    error = np.sqrt(np.maximum(share * (1.0 - share), 0.0) / np.maximum(number, 1))
    axes.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linestyle="--", label="a probability")
    axes.errorbar(mean, share, error, fmt="o", color=REAL_COLOUR, capsize=3, label="detections")
    axes.set(xlim=(0.0, 1.0), ylim=(-0.02, 1.02), xlabel="mean reliability", ylabel="part that is real")
    axes.set_title("reliability as a probability", loc="left", fontsize="medium")
    axes.legend(loc="lower right", fontsize="small")
