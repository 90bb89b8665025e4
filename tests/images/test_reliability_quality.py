"""Completeness, purity and calibration against counts by hand."""

import numpy as np
import pytest

from astra.images.reliability_quality import (
    at_balance,
    at_completeness,
    at_threshold,
    by_snr,
    calibration_table,
    make_roc,
)

LABELS = np.array([1, 1, 1, 1, 0, 0])
SCORES = np.array([0.9, 0.8, 0.8, 0.3, 0.8, 0.1])


def test_curve_goes_through_the_counts():
    roc = make_roc(LABELS, SCORES)
    np.testing.assert_allclose(roc.thresholds, [np.inf, 0.9, 0.8, 0.3, 0.1])
    np.testing.assert_allclose(roc.completeness, [0, 0.25, 0.75, 1, 1])
    np.testing.assert_allclose(roc.contamination, [0, 0, 0.5, 0.5, 1])


def test_area_is_the_chance_to_rank_right():
    pairs = [(a > b) + 0.5 * (a == b) for a in SCORES[:4] for b in SCORES[4:]]
    assert make_roc(LABELS, SCORES).area == pytest.approx(np.mean(pairs))


def test_purity_is_that_of_equal_numbers():
    assert at_threshold(make_roc(LABELS, SCORES), 0.5)["purity"] == pytest.approx(0.75 / (0.75 + 0.5))


def test_perfect_scores_are_pure_and_complete():
    roc = make_roc(LABELS, LABELS.astype(float))
    assert roc.area == 1.0
    assert at_completeness(roc) == {
        "threshold": 1.0, "completeness": 1.0, "contamination": 0.0, "purity": 1.0
    }  # fmt: skip
    assert at_balance(roc)["purity"] == 1.0


def test_nothing_is_above_a_high_threshold():
    found = at_threshold(make_roc(LABELS, SCORES), 0.95)
    assert found["completeness"] == found["contamination"] == 0.0


def test_bins_of_signal_to_noise_hold_every_detection_once():
    snr = np.array([5.0, 6.0, 7.0, 100.0, 5.0, 7.0])
    rows = by_snr(LABELS, SCORES, snr, 0.5, (0.0, 6.0, 7.0, np.inf))
    assert [row["nReal"] for row in rows] == [1, 1, 2]
    assert [row["nArtefacts"] for row in rows] == [1, 0, 1]
    assert [row["completeness"] for row in rows] == [1.0, 1.0, 0.5]
    assert rows[0]["contamination"] == 1.0
    assert np.isnan(rows[1]["contamination"])


def test_calibration_compares_scores_with_shares():
    rows = calibration_table(LABELS, SCORES, 2)
    assert [row["n"] for row in rows] == [2, 4]
    assert rows[1]["meanScore"] == pytest.approx(0.825)
    assert rows[1]["realShare"] == pytest.approx(0.75)
    assert calibration_table(LABELS, np.ones(6), 4)[-1]["n"] == 6


@pytest.mark.parametrize("labels", [np.ones(4), np.zeros(4), np.zeros(0)])
def test_one_kind_alone_has_no_purity(labels):
    with pytest.raises(ValueError, match="both sources and artefacts"):
        make_roc(labels, labels)
