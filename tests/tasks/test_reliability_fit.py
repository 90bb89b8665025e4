"""Fitting: what the trees of scikit-learn say is what the arrays say, and equal seeds give equal models."""

import json

import numpy as np
import pytest

from astra.errors import ConfigError, TooFewSourcesError
from astra.images.reliability import feature_table
from astra.images.reliability_quality import calibration_table, make_roc
from astra.images.reliability_sampling import Examples
from astra.products.reliability_model import write_reliability_model
from astra.tasks.reliability_fit import (
    FitConfig,
    _not_above,
    cross_decisions,
    export_trees,
    fit_model,
    scikit_learn,
)
from astra.tasks.reliability_report import feature_use, make_report

pytest.importorskip("sklearn")
CONFIG = FitConfig(n_trees=30, depth=3, seed=4)


def make_examples(n=600, seed=0, n_frames=12):
    """Two features that tell, one that does not, one that is often missing."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(np.int8)
    features = np.zeros(n, dtype=[(name, "f4") for name in ("noise", "first", "second", "missing")])
    features["noise"] = rng.normal(size=n)
    features["first"] = rng.normal(size=n) + 1.5 * labels
    features["second"] = rng.normal(size=n) - labels
    features["missing"] = np.where(rng.random(n) < 0.4, np.nan, rng.normal(size=n) + labels)
    return Examples(features, labels, rng.uniform(5, 50, n), np.arange(n) % n_frames)


@pytest.fixture(scope="module")
def fitted():
    return fit_model(make_examples(), CONFIG)


def test_arrays_decide_as_the_trees_do():
    from sklearn.ensemble import GradientBoostingClassifier

    examples = make_examples()
    names = examples.features.dtype.names
    table = feature_table(examples.features, names)
    trees = GradientBoostingClassifier(n_estimators=20, random_state=1, subsample=0.7)
    trees.fit(table, examples.labels)
    exported = export_trees([tree.tree_ for tree in trees.estimators_[:, 0]], names, 0.1, 0.0)
    expected = trees.decision_function(table)
    np.testing.assert_allclose(exported.decision(examples.features), expected, atol=1e-5)


def test_limits_never_move_up_to_the_next_number():
    limits = np.concatenate([np.random.default_rng(0).normal(size=1000), [1.0, 0.0, 1.0 + 1e-9]])
    single = _not_above(limits)
    assert single.dtype == np.float32
    assert (single.astype(float) <= limits).all()
    assert (np.nextafter(single, np.float32(np.inf)).astype(float) > limits).all()


def test_scores_of_other_frames_tell_and_are_probabilities(fitted):
    examples, (_, scores) = make_examples(), fitted
    assert make_roc(examples.labels, scores).area > 0.85
    for row in calibration_table(examples.labels, scores, 4):
        error = 3.0 * 0.5 / np.sqrt(max(row["n"], 1))
        assert row["meanScore"] == pytest.approx(row["realShare"], abs=error)


def test_model_tells_on_new_data(fitted):
    fresh = make_examples(seed=9)
    assert make_roc(fresh.labels, fitted[0].score(fresh.features)).area > 0.85


def test_equal_seeds_give_equal_models_and_others_do_not(fitted):
    again, scores = fit_model(make_examples(), CONFIG)
    assert again.version == fitted[0].version
    np.testing.assert_array_equal(scores, fitted[1])
    other, _ = fit_model(make_examples(), FitConfig(n_trees=30, depth=3, seed=5))
    assert other.version != fitted[0].version


def test_labels_that_mean_nothing_are_not_learnt():
    examples = make_examples()
    shuffled = np.random.default_rng(2).permutation(examples.labels)
    scores = fit_model(Examples(examples.features, shuffled, examples.snr, examples.groups), CONFIG)[1]
    assert make_roc(shuffled, scores).area == pytest.approx(0.5, abs=0.08)


def test_frames_are_never_on_both_sides():
    examples = make_examples(n_frames=6)
    # A feature that names the frame, and labels that follow it: only a model that has seen it could know.
    features = examples.features.copy()
    for name in features.dtype.names:
        features[name] = examples.groups
    labels = np.array([0, 1, 1, 0, 1, 0], np.int8)[examples.groups]
    decisions = cross_decisions(Examples(features, labels, examples.snr, examples.groups), CONFIG)
    assert np.mean((decisions > 0) == labels) < 0.8


def test_few_frames_are_divided_by_detection():
    decisions = cross_decisions(make_examples(n_frames=1), CONFIG)
    assert np.isfinite(decisions).all()


def test_too_few_examples_are_refused():
    few = make_examples().select(np.arange(30))
    with pytest.raises(TooFewSourcesError, match="15 real detections and 15 artefacts are there to train on"):
        fit_model(few)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    import importlib

    def absent(name, *arguments):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r'pip install "astra-pipeline\[train\]"'):
        scikit_learn("ensemble")


def test_report_is_plain_and_counts(fitted):
    examples, (model, scores) = make_examples(), fitted
    report = make_report(model, examples, scores, [("a frame", examples)], 0.5)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["examples"] == {"real": 300, "artefacts": 300}
    assert report["version"] == model.version
    assert report["bySnr"][-1]["snrMax"] is None
    assert sum(row["nReal"] for row in report["bySnr"]) == 300


def test_use_of_features_counts_nodes(fitted):
    use = feature_use(fitted[0])
    total = sum(use.values())
    assert list(use.values()) == sorted(use.values(), reverse=True)
    assert 30 <= total <= 30 * 7
    assert set(use) == {"noise", "first", "second", "missing"}


def test_equal_seeds_give_equal_files_with_their_reports(tmp_path):
    for name in ("first", "second"):
        examples = make_examples()
        model, scores = fit_model(examples, CONFIG)
        report = make_report(model, examples, scores, [("a frame", examples)], 0.5)
        write_reliability_model(tmp_path / f"{name}.npz", model.with_report(report))
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
