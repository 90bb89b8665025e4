"""What is written down about the training of a reliability model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.images.reliability import ReliabilityModel
from astra.images.reliability_quality import (
    at_balance,
    at_completeness,
    at_threshold,
    by_snr,
    calibration_table,
    make_roc,
)
from astra.images.reliability_sampling import Examples


def make_report(
    model: ReliabilityModel,
    chosen: Examples,
    scores: NDArray[np.float64],
    frames: Sequence[tuple[str, Examples]],
    cut: float,
) -> dict[str, Any]:
    """Report a training.

    Parameters
    ----------
    model : ReliabilityModel
    chosen : Examples
        What it was fitted to.
    scores : float64 ndarray, shape (n,)
        Of these, by models fitted to other frames alone.
    frames : sequence of (str, Examples)
        All that there was, by frame.
    cut : float
        Reliability from which a detection is kept.

    Returns
    -------
    report : dict
        Text, finite numbers, None, lists and dicts.
    """
    roc = make_roc(chosen.labels, scores)
    report = {
        "version": model.version,
        "featuresVersion": model.features_version,
        "scikitLearn": version("scikit-learn"),
        "trees": len(model.feature),
        "examples": {"real": int(chosen.labels.sum()), "artefacts": int((chosen.labels == 0).sum())},
        "frames": [
            {"name": name, "real": int(part.labels.sum()), "artefacts": int((part.labels == 0).sum())}
            for name, part in frames
        ],
        "area": roc.area,
        "atCompleteness": at_completeness(roc),
        "atBalance": at_balance(roc),
        "cut": at_threshold(roc, cut),
        "bySnr": by_snr(chosen.labels, scores, chosen.snr, cut),
        "calibration": calibration_table(chosen.labels, scores),
        "featureUse": feature_use(model),
    }
    return dict(_plain(report))


def feature_use(model: ReliabilityModel) -> dict[str, int]:
    """Count the nodes that look at each feature, most first."""
    is_node = model.left != np.arange(model.left.shape[1])
    is_node &= (model.left > 0) & (model.right > 0)  # what is beyond the last node of a tree leads nowhere
    counts = np.bincount(model.feature[is_node], minlength=len(model.feature_names))
    order = np.argsort(-counts, kind="stable")
    return {model.feature_names[index]: int(counts[index]) for index in order}


def _plain(value: Any) -> Any:
    """Without numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
