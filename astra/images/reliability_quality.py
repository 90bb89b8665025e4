"""How well scores tell sources from artefacts: completeness, purity, and how true the probabilities are.

Completeness is the part of the sources that is kept, contamination the part of the artefacts that is. Purity
is that of a sample with as many sources as artefacts, whatever there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

SNR_BINS = (0.0, 5.5, 6.0, 7.0, 10.0, 15.0, 30.0, np.inf)
COMPLETENESS_WANTED = 0.93


@dataclass(frozen=True)
class Roc:
    """Completeness against contamination.

    Parameters
    ----------
    thresholds : float64 ndarray, shape (n,)
        Falling; what scores at least as much is kept.
    completeness, contamination : float64 ndarray, shape (n,)
        Parts of the sources and of the artefacts that are kept.
    """

    thresholds: NDArray[np.float64]
    completeness: NDArray[np.float64]
    contamination: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve: the chance that a source scores higher than an artefact."""
        return float(np.trapezoid(self.completeness, self.contamination))

    @property
    def purity(self) -> NDArray[np.float64]:
        """Purity of a sample with as many sources as artefacts, shape (n,)."""
        kept = self.completeness + self.contamination
        return np.where(kept > 0, self.completeness / np.where(kept > 0, kept, 1.0), 1.0)


def make_roc(labels: NDArray[Any], scores: NDArray[Any]) -> Roc:
    """Completeness and contamination at every score.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        1 real, 0 artefact.
    scores : ndarray, shape (n,)

    Raises
    ------
    ValueError
        If there are no sources or no artefacts.
    """
    real = np.asarray(labels) == 1
    if real.all() or not real.any():
        found = f"{int(real.sum())} sources and {int((~real).sum())} artefacts"
        raise ValueError(f"completeness and purity need both sources and artefacts, found {found}")
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    ordered = np.asarray(scores, float)[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # equal scores go together
    completeness = np.cumsum(real[order])[last] / real.sum()
    contamination = np.cumsum(~real[order])[last] / (~real).sum()
    return Roc(
        np.concatenate([[np.inf], ordered[last]]),
        np.concatenate([[0.0], completeness]),
        np.concatenate([[0.0], contamination]),
    )


def at_completeness(roc: Roc, wanted: float = COMPLETENESS_WANTED) -> dict[str, float]:
    """Threshold, completeness, contamination and purity where a completeness is first reached."""
    index = int(np.argmax(roc.completeness >= wanted))
    return _figures(roc, index)


def at_threshold(roc: Roc, threshold: float) -> dict[str, float]:
    """Completeness, contamination and purity of what scores at least ``threshold``."""
    index = int(np.sum(roc.thresholds >= threshold)) - 1
    return _figures(roc, index) | {"threshold": threshold}


def at_balance(roc: Roc) -> dict[str, float]:
    """Where purity and completeness are the same, or nearest to it."""
    return _figures(roc, 1 + int(np.argmin(np.abs(roc.purity[1:] - roc.completeness[1:]))))


def _figures(roc: Roc, index: int) -> dict[str, float]:
    return {
        "threshold": float(roc.thresholds[index]),
        "completeness": float(roc.completeness[index]),
        "contamination": float(roc.contamination[index]),
        "purity": float(roc.purity[index]),
    }


def by_snr(
    labels: NDArray[Any],
    scores: NDArray[Any],
    snr: NDArray[Any],
    threshold: float,
    bins: Sequence[float] = SNR_BINS,
) -> list[dict[str, float]]:
    """Numbers, completeness and contamination at a threshold in bins of signal to noise.

    Parameters
    ----------
    labels, scores, snr : ndarray, shape (n,)
        What each detection is (1 real, 0 artefact), its score, and its signal to noise.
    threshold : float
        What scores at least as much is kept.
    bins : sequence of float, optional
        Edges.

    Returns
    -------
    rows : list of dict
        ``snrMin``, ``snrMax``, ``nReal``, ``nArtefacts``, ``completeness``, ``contamination``; NaN for no
        detections.
    """
    kept, real = np.asarray(scores) >= threshold, np.asarray(labels) == 1
    rows = []
    for low, high in pairwise(bins):
        inside = (snr >= low) & (snr < high)
        rows.append(
            {
                "snrMin": float(low),
                "snrMax": float(high),
                "nReal": int(np.sum(inside & real)),
                "nArtefacts": int(np.sum(inside & ~real)),
                "completeness": _share(kept, inside & real),
                "contamination": _share(kept, inside & ~real),
            }
        )
    return rows


def calibration_table(labels: NDArray[Any], scores: NDArray[Any], n_bins: int = 10) -> list[dict[str, float]]:
    """Mean score and part of sources in bins of the score: the same if scores are probabilities."""
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    place = np.clip(np.digitize(scores, edges) - 1, 0, n_bins - 1)
    real = np.asarray(labels) == 1
    rows = []
    for index in range(n_bins):
        inside = place == index
        mean = float(np.mean(np.asarray(scores)[inside])) if inside.any() else float("nan")
        rows.append({"n": int(inside.sum()), "meanScore": mean, "realShare": _share(real, inside)})
    return rows


def _share(chosen: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(np.mean(chosen[among])) if among.any() else float("nan")
