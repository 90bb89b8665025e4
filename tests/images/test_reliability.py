"""The model: trees as arrays, probabilities, and the columns of detections."""

import numpy as np
import pytest

from astra.errors import FormatError
from astra.images.reliability import (
    MISSING,
    VERSION_CHARACTERS,
    ReliabilityModel,
    score_dia_sources,
    with_reliability,
)
from tests.images.reliability_field import make_scene, subtract


def make_model(names=("a", "b"), **changes):
    """Two trees: a <= 1 gives -1, else b <= 2 gives 0.5, else 3; and 0.25 whatever comes."""
    arrays = {
        "feature": np.array([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], np.int16),
        "threshold": np.array([[1, 0, 2, 0, 0], [0, 0, 0, 0, 0]], np.float32),
        "left": np.array([[1, 1, 3, 3, 4], [0, 1, 2, 3, 4]], np.int16),
        "right": np.array([[2, 1, 4, 3, 4], [0, 1, 2, 3, 4]], np.int16),
        "value": np.array([[0, -1, 0, 0.5, 3], [0.25, 0, 0, 0, 0]], np.float32),
    }
    return ReliabilityModel(**{"feature_names": names, **arrays, "depth": 2, "offset": 0.1, **changes})


def table(**columns):
    rows = np.zeros(len(next(iter(columns.values()))), dtype=[(name, "f4") for name in columns])
    for name, values in columns.items():
        rows[name] = values
    return rows


ROWS = {"b": [0.0, 2.0, 2.1], "a": [1.0, 1.5, 9.0]}


def test_decision_follows_the_trees():
    np.testing.assert_allclose(make_model().decision(table(**ROWS)), [-0.65, 0.85, 3.35])


def test_columns_are_taken_by_name():
    swapped = table(a=ROWS["a"], other=[0, 0, 0], b=ROWS["b"])
    np.testing.assert_array_equal(make_model().score(swapped), make_model().score(table(**ROWS)))


def test_score_is_the_logistic_function_of_the_calibrated_decision():
    model = make_model(slope=2.0, intercept=-1.0)
    expected = 1 / (1 + np.exp(1 - 2 * np.array([-0.65, 0.85, 3.35])))
    np.testing.assert_allclose(model.score(table(**ROWS)), expected, atol=1e-6)
    assert model.score(table(**ROWS)).dtype == np.float32


def test_scores_stay_in_0_to_1():
    scores = make_model(slope=1e6).score(table(**ROWS))
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert np.isfinite(scores).all()


def test_what_could_not_be_measured_goes_below_every_limit():
    found = make_model().decision(table(a=[np.nan, 5.0], b=[9.0, np.nan]))
    np.testing.assert_allclose(found, make_model().decision(table(a=[MISSING, 5.0], b=[9.0, MISSING])))
    np.testing.assert_allclose(found, [-0.65, 0.85])


def test_no_detections_have_no_scores():
    assert make_model().score(table(**ROWS)[:0]).shape == (0,)


def test_missing_feature_is_named():
    with pytest.raises(FormatError, match=r"needs the features b, which .* TrainReliability") as caught:
        make_model().score(table(a=[1.0]))
    assert caught.value.context["missing"] == ["b"]


def test_version_names_all_that_decides_a_score_and_nothing_else():
    versions = [
        make_model().version,
        make_model(slope=1.1).version,
        make_model(offset=0.2).version,
        make_model(value=make_model().value * np.float32(1.01)).version,
        make_model(names=("a", "c")).version,
        make_model(features_version=99).version,
    ]
    assert len(set(versions)) == len(versions)
    assert all(len(version) == VERSION_CHARACTERS for version in versions)
    assert make_model(report={"seed": 1}).version == make_model().version


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"left": np.zeros((2, 4), np.int16)},
            r"left of a reliability model must be int16 of shape \(2, 5\)",
        ),
        ({"value": np.zeros((2, 5))}, "value of a reliability model must be float32"),
        ({"right": np.full((2, 5), 5, np.int16)}, "must lead to nodes below 5"),
        ({"feature": np.full((2, 5), 2, np.int16)}, "must look at one of its 2 features"),
    ],
)
def test_wrong_shape_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_model(**changes)


def test_detections_get_their_columns_once():
    rows = table(x=[1.0, 2.0])
    once = with_reliability(rows, np.array([0.1, 0.9], np.float32), "abc")
    twice = with_reliability(once, np.array([0.2, 0.8], np.float32), "abcdefg")
    assert once.dtype.names == twice.dtype.names == ("x", "reliability", "reliabilityVersion")
    np.testing.assert_array_equal(twice["x"], rows["x"])
    np.testing.assert_allclose(twice["reliability"], [0.2, 0.8])
    assert list(twice["reliabilityVersion"]) == ["abcdefg"] * 2


def test_scored_detections_are_what_they_were_and_their_scores():
    science, template, _ = make_scene(n_stars=60)
    result = subtract(science, template)
    model = make_model(("snr", "pointShare"))
    scored = score_dia_sources(result.dia_sources, result.difference, science, result.matched_template, model)
    for name in result.dia_sources.dtype.names:
        np.testing.assert_array_equal(scored[name], result.dia_sources[name])
    assert (scored["reliabilityVersion"] == model.version).all()
    assert "reliability" not in result.dia_sources.dtype.names
