"""Fit a reliability model to examples: the only place that needs scikit-learn, imported when called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import ConfigError, TooFewSourcesError
from astra.images.reliability import MODEL_ARRAYS, ReliabilityModel, feature_table
from astra.images.reliability_sampling import Examples

MIN_EXAMPLES = 40  # of each kind
N_FOLDS = 5


@dataclass(frozen=True)
class FitConfig:
    """How trees are grown.

    Parameters
    ----------
    n_trees : int
        Number of trees.
    depth : int
        Largest depth of a tree.
    learning_rate : float
        Part of each tree that is added.
    min_leaf : int
        Fewest examples of a leaf.
    seed : int
        Seed of what is drawn: the examples and features that a tree sees.
    """

    n_trees: int = 250
    depth: int = 4
    learning_rate: float = 0.06
    min_leaf: int = 12
    seed: int = 0


def scikit_learn(name: str) -> ModuleType:
    """Import a module of scikit-learn.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(f"sklearn.{name}")
    except ImportError as exc:
        message = (
            "a reliability model is trained with scikit-learn, which is not installed; "
            'install it with: pip install "astra-pipeline[train]"'
        )
        raise ConfigError(message) from exc


def fit_model(
    examples: Examples, config: FitConfig | None = None
) -> tuple[ReliabilityModel, NDArray[np.float64]]:
    """Fit a model, its probabilities calibrated on frames that it was not fitted to.

    Parameters
    ----------
    examples : Examples
        As many real ones as artefacts: a score is then a probability at equal numbers.
    config : FitConfig, optional

    Returns
    -------
    model : ReliabilityModel
    scores : float64 ndarray, shape (n,)
        Score of each example by models that were fitted to other frames alone.

    Raises
    ------
    ConfigError
        If scikit-learn is not installed.
    TooFewSourcesError
        If there are too few examples.
    """
    config = config or FitConfig()
    _require_examples(examples)
    decisions = cross_decisions(examples, config)
    slope, intercept = _logistic(decisions, examples.labels)
    model = replace(_grow(examples, config), slope=slope, intercept=intercept)
    return model, model.probability(decisions).astype(float)


def _require_examples(examples: Examples) -> None:
    counts = [int(np.sum(examples.labels == label)) for label in (1, 0)]
    if min(counts) < MIN_EXAMPLES:
        message = (
            f"{counts[0]} real detections and {counts[1]} artefacts are there to train on, but "
            f"{MIN_EXAMPLES} of each are required"
        )
        raise TooFewSourcesError(message, n_real=counts[0], n_artefacts=counts[1])


def cross_decisions(examples: Examples, config: FitConfig) -> NDArray[np.float64]:
    """Decision on each example by a model fitted to the frames of other folds.

    With fewer frames than folds, the folds are of single detections.
    """
    groups = examples.groups
    if len(np.unique(groups)) < N_FOLDS:
        groups = np.arange(len(examples))
    rng = np.random.default_rng([config.seed, len(examples)])
    names = np.unique(groups)
    fold = rng.permutation(len(names)) % N_FOLDS
    of_example = fold[np.searchsorted(names, groups)]
    decisions = np.empty(len(examples))
    for k in range(N_FOLDS):
        model = _grow(examples.select(of_example != k), config)
        decisions[of_example == k] = model.decision(examples.features[of_example == k])
    return decisions


def _grow(examples: Examples, config: FitConfig) -> ReliabilityModel:
    """Fit the trees, without calibration."""
    ensemble = scikit_learn("ensemble")
    names = tuple(examples.features.dtype.names or ())
    table = feature_table(examples.features, names)
    boosted = ensemble.GradientBoostingClassifier(
        n_estimators=config.n_trees,
        max_depth=config.depth,
        learning_rate=config.learning_rate,
        min_samples_leaf=config.min_leaf,
        subsample=0.6,
        max_features=0.3,
        random_state=config.seed,
    )
    boosted.fit(table, examples.labels)
    # At equal numbers the trees start from nothing, and else from the logarithm of the odds.
    start = float(np.log(np.mean(examples.labels) / (1.0 - np.mean(examples.labels))))
    return export_trees(
        [estimator.tree_ for estimator in boosted.estimators_[:, 0]], names, config.learning_rate, start
    )


def export_trees(
    trees: list[Any], names: tuple[str, ...], learning_rate: float, offset: float
) -> ReliabilityModel:
    """Turn the trees of scikit-learn into arrays.

    Parameters
    ----------
    trees : list of sklearn.tree._tree.Tree
        Regression trees.
    names : tuple of str
        Features.
    learning_rate : float
        Factor of each tree.
    offset : float
        Where the sum starts.
    """
    shape = len(trees), max(tree.node_count for tree in trees)
    arrays: dict[str, Any] = {name: np.zeros(shape, kind) for name, kind in MODEL_ARRAYS.items()}
    for row, tree in enumerate(trees):
        nodes = np.arange(tree.node_count)
        is_leaf = tree.children_left < 0
        arrays["left"][row, : len(nodes)] = np.where(is_leaf, nodes, tree.children_left)
        arrays["right"][row, : len(nodes)] = np.where(is_leaf, nodes, tree.children_right)
        arrays["feature"][row, : len(nodes)] = np.where(is_leaf, 0, tree.feature)
        arrays["threshold"][row, : len(nodes)] = _not_above(np.where(is_leaf, 0.0, tree.threshold))
        arrays["value"][row, : len(nodes)] = learning_rate * tree.value[:, 0, 0]
    depth = max(tree.max_depth for tree in trees)
    scalars: dict[str, Any] = {"offset": offset, "depth": max(int(depth), 1)}
    return ReliabilityModel(feature_names=names, **arrays, **scalars)


def _not_above(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Largest float32 at most the threshold: float32 features then go the same way as before."""
    single = threshold.astype(np.float32)
    return np.where(single.astype(np.float64) > threshold, np.nextafter(single, np.float32(-np.inf)), single)


def _logistic(decisions: NDArray[np.float64], labels: NDArray[np.int8]) -> tuple[float, float]:
    """Slope and intercept of the logistic curve that predicts the labels best, by Newton's method."""
    design = np.stack([decisions, np.ones(len(decisions))], axis=1)
    parameters = np.array([1.0, 0.0])
    for _ in range(50):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ parameters, -30.0, 30.0)))
        weight = probability * (1.0 - probability)
        # The weak pull towards (1, 0) keeps it finite where the two kinds do not overlap.
        gradient = design.T @ (labels - probability) - (parameters - [1.0, 0.0])
        hessian = design.T @ (design * weight[:, None]) + np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        parameters = parameters + step
        if np.abs(step).max() < 1e-10:
            break
    return float(parameters[0]), float(parameters[1])
