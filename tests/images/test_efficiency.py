"""Completeness, biases and depths come out as they were put in."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from astra.images.efficiency import EFFICIENCY_DTYPE, binomial_interval, fit_depth, measure_search
from astra.images.injection import INJECTION_DTYPE
from astra.images.injection_search import DETECTION_DTYPE, Search, search_for


def make_injections(n, rng, shape=(3000, 4000)):
    injections = np.zeros(n, dtype=INJECTION_DTYPE)
    side = int(np.ceil(np.sqrt(n)))
    rows, columns = np.divmod(np.arange(n), side)
    injections["x"] = 20 + columns * shape[1] / (side + 1)
    injections["y"] = 20 + rows * shape[0] / (side + 1)
    injections["snr"] = np.exp(rng.uniform(np.log(3), np.log(60), n))
    injections["flux"] = 100.0 * injections["snr"]
    injections["isNegative"] = rng.random(n) < 0.3
    return injections


def detect(injections, rng, bias=0.0):
    """Detections with true errors of 100 nJy and 0.5 / S/N pixel, seen if they fluctuate above S/N 5."""
    n = len(injections)
    found = np.zeros(n, dtype=DETECTION_DTYPE)
    sign = np.where(injections["isNegative"], -1.0, 1.0)
    found["psfFlux"] = sign * injections["flux"] * (1 + bias) + rng.normal(size=n) * 100
    found["psfFluxErr"] = 100.0
    found["xErr"] = found["yErr"] = 0.5 / injections["snr"]
    found["x"] = injections["x"] + rng.normal(size=n) * found["xErr"]
    found["y"] = injections["y"] + rng.normal(size=n) * found["yErr"]
    found["snr"] = np.abs(found["psfFlux"]) / 100
    found["isNegative"] = injections["isNegative"]
    return found[found["snr"] > 5]


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(2)
    injections = make_injections(6000, rng)
    detections = detect(injections, rng, bias=0.02)
    return injections, measure_search(search_for(injections, rng.permutation(detections)))


def test_completeness_is_that_of_gaussian_noise(measured):
    injections, table = measured
    for line in table[table["quantity"] == "snr"]:
        inside = (injections["snr"] >= line["low"]) & (injections["snr"] < line["high"])
        if inside.sum() == 0:
            continue
        expected = norm.cdf(injections["snr"][inside] * 1.02 - 5).mean()
        spread = np.sqrt(max(expected * (1 - expected), 1e-4) / inside.sum())
        assert line["completeness"] == pytest.approx(expected, abs=4 * spread + 1e-9)
        assert line["completenessLow"] <= line["completeness"] <= line["completenessHigh"]


def test_flux_bias_and_pulls_are_those_put_in(measured):
    table = measured[1]
    bright = table[(table["quantity"] == "snr") & (table["low"] == 20)][0]
    assert bright["fluxBias"] == pytest.approx(0.02, abs=4 * bright["fluxBiasErr"])
    assert bright["fluxBiasErr"] < 0.002
    middle = table[(table["quantity"] == "snr") & (table["low"] == 10)][
        0
    ]  # the bias is small beside the errors
    assert middle["fluxPullSigma"] == pytest.approx(1.0, abs=0.1)
    assert bright["positionPullSigma"] == pytest.approx(1.0, abs=0.1)


def test_false_detections_are_counted_by_their_own_brightness():
    rng = np.random.default_rng(3)
    found = np.zeros(3, dtype=DETECTION_DTYPE)
    found["snr"], found["psfFlux"] = [5.5, 6.5, 8.0], [550, -650, 800]
    found["isFalse"], found["isNew"] = [True, True, False], [True, False, True]
    injections = make_injections(50, rng)
    missed = search_for(injections, found[:0]).matches
    table = measure_search(Search(missed, found))
    snr = table[table["quantity"] == "snr"]
    assert snr["nFalse"].tolist() == [0, 2, 0, 0, 0, 0, 0]
    assert snr["nFalseNew"].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert table[table["quantity"] == "mag"]["nInjected"].sum() == 50
    assert table.dtype == EFFICIENCY_DTYPE


@pytest.mark.parametrize(("n_found", "n"), [(0, 10), (10, 10), (3, 10), (97, 100)])
def test_intervals_are_those_of_clopper_and_pearson(n_found, n):
    low, high = binomial_interval(n_found, n)
    if n_found > 0:
        assert binom.sf(n_found - 1, n, low) == pytest.approx(0.15866, abs=1e-4)
    else:
        assert low == 0
    if n_found < n:
        assert binom.cdf(n_found, n, high) == pytest.approx(0.15866, abs=1e-4)
    else:
        assert high == 1


def test_nothing_injected_gives_empty_bins():
    nothing = np.zeros(0, dtype=INJECTION_DTYPE), np.zeros(0, dtype=DETECTION_DTYPE)
    table = measure_search(search_for(*nothing))
    assert len(table) == 7
    assert (table["nInjected"] == 0).all()
    assert np.isnan(table["completeness"]).all()
    assert binomial_interval(0, 0) == (0.0, 1.0)


def test_the_depth_is_found_within_its_error():
    rng = np.random.default_rng(8)
    pulls = []
    for _ in range(30):
        magnitude = rng.uniform(20, 25, 400)
        found = rng.random(400) < 0.96 * norm.cdf((23.1 - magnitude) / 0.25)
        depth = fit_depth(magnitude, found)
        pulls.append((depth.mag50 - 23.1) / depth.mag50_err)
    assert abs(np.mean(pulls)) < 0.7
    assert 0.6 < np.std(pulls) < 1.5
    assert depth.mag90 == pytest.approx(23.1 - 0.25 * 1.2816, abs=0.15)
    assert depth.plateau == pytest.approx(0.96, abs=0.03)
    assert depth.completeness(np.array([10.0, 30.0])) == pytest.approx([depth.plateau, 0.0])


def test_no_depth_without_both_found_and_missed():
    magnitude = np.linspace(20, 25, 50)
    assert np.isnan(fit_depth(magnitude, np.ones(50, bool)).mag50)
    assert np.isnan(fit_depth(magnitude, np.zeros(50, bool)).mag50)
    assert np.isnan(fit_depth(magnitude[:5], magnitude[:5] < 21).mag50)
