"""Reliability of detections: the probability that one is a source of the sky and not an artefact.

The model is an ensemble of small regression trees (gradient boosting: Friedman 2001, Ann. Stat. 29, 1189)
on the features of `astra.images.reliability_features`, its sum turned into a probability by a logistic curve
(Platt 1999). It is plain arrays: nothing but numpy is needed to apply it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.images.exposure import Exposure
from astra.images.reliability_features import FEATURES_VERSION, reliability_features

VERSION_CHARACTERS = 7  # of ``reliabilityVersion`` in the APDB
SCORE_DECIMALS = 6
MISSING = np.float32(-1e6)  # stands for a feature that could not be measured: far below all that could

MODEL_ARRAYS = {"feature": "i2", "threshold": "f4", "left": "i2", "right": "i2", "value": "f4"}
"""Arrays of a model, and their types."""


@dataclass(frozen=True, eq=False)
class ReliabilityModel:
    """A trained model.

    Parameters
    ----------
    feature_names : tuple of str
        Features that it needs, in its order.
    feature, left, right : int16 ndarray, shape (n_trees, n_nodes)
        Feature that a node looks at, and where it goes next: ``left`` for at most ``threshold``; a leaf goes
        to itself.
    threshold, value : float32 ndarray, shape (n_trees, n_nodes)
        Limit of a node, and what a leaf adds to the sum.
    offset : float
        Where the sum starts.
    slope, intercept : float
        The probability is the logistic function of ``slope * sum + intercept``.
    depth : int
        Steps from the root to the deepest leaf.
    features_version : int
        How the features are measured: `astra.images.reliability_features.FEATURES_VERSION`.
    report : mapping
        How it was trained and how well it does.
    """

    feature_names: tuple[str, ...]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    value: NDArray[np.float32]
    offset: float = 0.0
    slope: float = 1.0
    intercept: float = 0.0
    depth: int = 1
    features_version: int = FEATURES_VERSION
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.feature.shape
        for name, kind in MODEL_ARRAYS.items():
            array = getattr(self, name)
            if array.shape != shape or array.ndim != 2 or array.dtype != np.dtype(kind):
                message = (
                    f"{name} of a reliability model must be {np.dtype(kind)} of shape {shape} "
                    f"(trees, nodes), found {array.dtype} of shape {array.shape}"
                )
                raise ValueError(message)
        nodes = np.stack([self.left, self.right])
        used = len(self.feature_names)
        if shape[1] == 0 or nodes.min(initial=0) < 0 or nodes.max(initial=0) >= shape[1]:
            raise ValueError(f"the nodes of a reliability model must lead to nodes below {shape[1]}")
        if self.feature.min(initial=0) < 0 or self.feature.max(initial=0) >= used:
            raise ValueError(f"the nodes of a reliability model must look at one of its {used} features")

    @property
    def version(self) -> str:
        """Name of exactly this model: the first digits of the checksum of all that decides a score."""
        digest = hashlib.sha256(repr((self.feature_names, self.features_version, self.depth)).encode())
        for name, kind in MODEL_ARRAYS.items():
            digest.update(getattr(self, name).astype(np.dtype(kind).newbyteorder("<")).tobytes())
        digest.update(np.array([self.offset, self.slope, self.intercept], "<f8").tobytes())
        return digest.hexdigest()[:VERSION_CHARACTERS]

    def with_report(self, report: Mapping[str, Any]) -> ReliabilityModel:
        """Return the same model with another report."""
        return replace(self, report=report)

    def decision(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Sum over the trees, before it is made a probability, shape (n,).

        Parameters
        ----------
        features : structured ndarray, shape (n,)
            With a column for each of ``feature_names``; NaN where one could not be measured.

        Raises
        ------
        FormatError
            If a feature is missing.
        """
        table = feature_table(features, self.feature_names)
        trees = np.arange(len(self.feature))
        rows = np.arange(len(table))[:, None]
        node = np.zeros((len(table), len(trees)), dtype=np.int64)
        for _ in range(self.depth):
            goes_left = table[rows, self.feature[trees, node]] <= self.threshold[trees, node]
            node = np.where(goes_left, self.left[trees, node], self.right[trees, node])
        total = np.full(len(table), self.offset)
        for tree in trees:  # in the order of the trees: the same sum on every machine
            total += self.value[tree, node[:, tree]]
        return total

    def score(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Reliability in [0, 1], shape (n,); parameters and errors as in `decision`."""
        return self.probability(self.decision(features))

    def probability(self, decisions: NDArray[np.float64]) -> NDArray[np.float32]:
        """Turn decisions into probabilities, rounded so that the last bit of an exponential shows nowhere."""
        argument = np.clip(self.slope * decisions + self.intercept, -50.0, 50.0)
        return np.round(1.0 / (1.0 + np.exp(-argument)), SCORE_DECIMALS).astype(np.float32)


def feature_table(features: NDArray[Any], names: tuple[str, ...]) -> NDArray[np.float32]:
    """Named columns as a matrix, shape (n, n_names), with `MISSING` for NaN.

    Raises
    ------
    FormatError
        If a column is missing.
    """
    absent = [name for name in names if name not in (features.dtype.names or ())]
    if absent:
        message = (
            f"the reliability model needs the features {', '.join(absent)}, which these detections lack; "
            f"train one on detections of this kind with TrainReliability"
        )
        raise FormatError(message, missing=absent)
    table = np.empty((len(features), len(names)), np.float32)
    for column, name in enumerate(names):
        table[:, column] = features[name]
    return np.where(np.isnan(table), MISSING, table)


def score_dia_sources(
    dia_sources: NDArray[Any],
    difference: Exposure,
    science: Exposure,
    matched_template: Exposure,
    model: ReliabilityModel,
) -> NDArray[Any]:
    """Give detections their reliability.

    Parameters
    ----------
    dia_sources : structured ndarray, shape (n,)
        Detections on the difference.
    difference, science, matched_template : Exposure, shape (ny, nx)
        The difference, with PSF, and the two images that it is of [nJy].
    model : ReliabilityModel

    Returns
    -------
    scored : structured ndarray, shape (n,)
        A copy with the columns ``reliability`` (float32) and ``reliabilityVersion``.

    Raises
    ------
    FormatError
        If the detections lack a column, or a feature of the model.
    """
    features = reliability_features(dia_sources, difference, science, matched_template)
    return with_reliability(dia_sources, model.score(features), model.version)


def with_reliability(
    dia_sources: NDArray[Any], reliability: NDArray[np.float32], version: str
) -> NDArray[Any]:
    """Copy of detections with the columns ``reliability`` and ``reliabilityVersion``, new or replaced."""
    added = {"reliability": np.dtype("f4"), "reliabilityVersion": np.dtype(f"U{VERSION_CHARACTERS}")}
    names = dia_sources.dtype.names or ()
    fields = [(name, dia_sources.dtype[name]) for name in names if name not in added]
    scored = np.empty(len(dia_sources), dtype=[*fields, *added.items()])
    for name, _ in fields:
        scored[name] = dia_sources[name]
    scored["reliability"], scored["reliabilityVersion"] = reliability, version
    return scored
