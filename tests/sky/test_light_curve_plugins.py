"""Statistics of many objects at once against plain numpy and scipy, one object and band at a time."""

import numpy as np
import pytest
import scipy.stats

from astra.sky.light_curve_plugins import DEFAULT_PLUGINS, PLUGINS, statistics
from astra.sky.light_curve_sums import (
    BANDS,
    Chain,
    add_detections,
    add_forced,
    band_columns,
    empty_forced_sums,
    empty_sums,
    object_columns,
)

ROW = np.dtype(
    [
        *[("diaObjectId", "i8"), ("diaSourceId", "i8"), ("band", "U1"), ("midpointMjdTai", "f8")],
        *[("ra", "f8"), ("dec", "f8"), ("raErr", "f4"), ("decErr", "f4"), ("ra_dec_Cov", "f4")],
        *[("psfFlux", "f4"), ("psfFluxErr", "f4"), ("scienceFlux", "f4"), ("scienceFluxErr", "f4")],
        *[("centroid_flag", "?"), ("pixelFlags", "?")],
    ]
)
QUICK = [name for name in PLUGINS if "lombScargle" not in name]
N_OBJECTS = 40


@pytest.fixture(scope="module")
def sources():
    """Light curves of 0 to some tens of values a band, some not usable, of 37 objects in order of time."""
    rng = np.random.default_rng(7)
    rows = np.zeros(1500, ROW)
    rows["diaObjectId"] = 100 + np.minimum(rng.geometric(0.06, len(rows)), N_OBJECTS - 4)
    rows["diaSourceId"] = rng.permutation(len(rows))
    rows["band"] = rng.choice(list("ugriz"), len(rows))
    rows["midpointMjdTai"] = 60000 + np.sort(rng.uniform(0, 300, len(rows)))
    rows["ra"], rows["dec"] = rng.normal(0, 1e-4, len(rows)) % 360, rng.normal(-30, 1e-4, len(rows))
    for name in ("psfFlux", "scienceFlux"):
        rows[name] = rng.normal(1e4, 50, len(rows)) + rng.standard_t(2, len(rows)) * 30
        rows[f"{name}Err"] = rng.uniform(5, 60, len(rows))
    for name in ("raErr", "decErr", "ra_dec_Cov"):
        rows[name] = rng.uniform(1e-5, 2e-5, len(rows))
    bad = rng.random((3, len(rows))) < 0.03
    rows["psfFlux"][bad[0]], rows["psfFluxErr"][bad[1]], rows["scienceFluxErr"][bad[2]] = np.nan, 0.0, np.nan
    rows["centroid_flag"], rows["pixelFlags"] = rng.random((2, len(rows))) < 0.02
    alone = np.flatnonzero(rows["diaObjectId"] == 101)[1:]
    return np.delete(rows, alone)  # object 101 has a single value


@pytest.fixture(scope="module")
def chain():
    return Chain(np.arange(100, 100 + N_OBJECTS), np.full(N_OBJECTS, np.inf))


def plain(rows, first):
    """Every statistic of one object in one band, written plainly."""
    use = np.isfinite(rows["psfFlux"]) & np.isfinite(rows["psfFluxErr"]) & (rows["psfFluxErr"] > 0)
    flux, err = rows["psfFlux"][use].astype(float), rows["psfFluxErr"][use].astype(float)
    time, n = rows["midpointMjdTai"][use] - first, int(use.sum())
    use = np.isfinite(rows["scienceFlux"]) & np.isfinite(rows["scienceFluxErr"])
    science, science_err = rows["scienceFlux"][use].astype(float), rows["scienceFluxErr"][use].astype(float)
    found = {"psfFluxNdata": n, "scienceFluxSigma": science.std(ddof=1) if len(science) > 1 else np.nan}
    if len(science):
        found["scienceFluxMean"] = np.average(science, weights=science_err**-2)
        found["scienceFluxMeanErr"] = np.sqrt(1 / np.sum(science_err**-2))
    if n == 0:
        return found
    mean = np.average(flux, weights=err**-2)
    found |= {f"psfFluxPercentile{p:02d}": np.percentile(flux, p) for p in (5, 25, 50, 75, 95)}
    found |= {
        "psfFluxMean": mean,
        "psfFluxMeanErr": np.sqrt(1 / np.sum(err**-2)),
        "psfFluxMin": flux.min(),
        "psfFluxMax": flux.max(),
        "psfFluxErrMean": err.mean(),
        "psfFluxChi2": np.sum(((flux - mean) / err) ** 2),
        "psfFluxMAD": scipy.stats.median_abs_deviation(flux),
    }
    if n > 1:
        slope, intercept = np.polyfit(time, flux, 1, w=1 / err)
        found |= {
            "psfFluxSigma": flux.std(ddof=1),
            "psfFluxMaxSlope": (np.diff(flux) / np.diff(time)).max(),
            "psfFluxLinearSlope": slope,
            "psfFluxLinearIntercept": intercept,
            "psfFluxStetsonJ": plain_stetson_j(flux, err),
        }
    if n > 2:
        found["psfFluxSkew"] = scipy.stats.skew(flux, bias=False)
    return found


def plain_stetson_j(flux, err):
    n = len(flux)
    mean = np.average(flux, weights=err**-2)
    for _ in range(20):
        delta = np.sqrt(n / (n - 1)) * (flux - mean) / err
        before = mean
        mean = np.average(flux, weights=err**-2 / (1 + (np.abs(delta) / 2) ** 2))
        if abs(mean - before) < 1e-6 * abs(mean):
            break
    delta = np.sqrt(n / (n - 1)) * (flux - mean) / err
    product = delta**2 - 1
    return np.mean(np.sign(product) * np.sqrt(np.abs(product)))


def test_every_statistic_is_its_formula_of_one_object_at_a_time(sources, chain):
    states = add_detections(chain, empty_sums(N_OBJECTS), sources)
    columns = band_columns(states, empty_forced_sums(len(states))) | statistics(
        chain, sources, sources["midpointMjdTai"], QUICK
    )
    n_compared = 0
    for number, object_id in enumerate(chain.object_ids):
        own = sources[sources["diaObjectId"] == object_id]
        for band in BANDS:
            expected = plain(own[own["band"] == band], own["midpointMjdTai"].min(initial=np.inf))
            for name, values in columns.items():
                if not name.startswith(f"{band}_") or "fpFlux" in name:
                    continue
                value = expected.get(name[2:], np.nan)
                # Differences of two times lose digits in the same way on both sides, fits in other ways.
                rtol = 1e-9 if "Linear" in name else 1e-12
                scale = 1e-12 * 100 if "Skew" in name or "StetsonJ" in name else 0.0  # they may be near 0
                assert values[number] == pytest.approx(value, rel=rtol, abs=scale, nan_ok=True), (
                    object_id,
                    name,
                )
                n_compared += np.isfinite(value)
    assert n_compared > 2000


def test_positions_are_means_of_unit_vectors_with_propagated_errors(sources, chain):
    columns = object_columns(add_detections(chain, empty_sums(N_OBJECTS), sources))
    for number, object_id in enumerate(chain.object_ids):
        own = sources[sources["diaObjectId"] == object_id]
        assert columns["nDiaSources"][number] == len(own)
        if not len(own):
            assert np.isnan(columns["raErr"][number])
            continue
        ra, dec = np.deg2rad(own["ra"]), np.deg2rad(own["dec"])
        x, y, z = (np.cos(dec) * np.cos(ra)).sum(), (np.cos(dec) * np.sin(ra)).sum(), np.sin(dec).sum()
        assert columns["ra"][number] == pytest.approx(np.rad2deg(np.arctan2(y, x)) % 360, rel=1e-12)
        assert columns["dec"][number] == pytest.approx(np.rad2deg(np.arctan2(z, np.hypot(x, y))), rel=1e-12)
        err = np.sqrt(np.sum(own["decErr"].astype(float) ** 2)) / len(own)
        assert columns["decErr"][number] == pytest.approx(err, rel=1e-12)
        covariance = own["ra_dec_Cov"].astype(float).sum() / len(own) ** 2
        assert columns["ra_dec_Cov"][number] == pytest.approx(covariance, rel=1e-12)
        assert columns["lastDiaSourceMjdTai"][number] == own["midpointMjdTai"].max()


def test_scatter_keeps_its_digits_far_from_zero():
    rng = np.random.default_rng(1)
    rows = np.zeros(200, ROW)
    rows["band"], rows["psfFluxErr"], rows["midpointMjdTai"] = "r", 1.0, np.arange(200)
    rows["psfFlux"] = 1e6 + rng.normal(0, 1, 200)
    states = add_detections(Chain(np.array([0]), np.array([np.inf])), empty_sums(1), rows)
    expected = rows["psfFlux"].astype(float).std(ddof=1)
    assert band_columns(states, empty_forced_sums(len(states)))["r_psfFluxSigma"][0] == pytest.approx(
        expected, rel=1e-11
    )


def test_versions_of_one_object_have_each_what_was_known_then(sources):
    own = sources[sources["diaObjectId"] == 102]
    times = np.quantile(own["midpointMjdTai"], [0.2, 0.5, 1.0])
    chain = Chain(np.full(3, 102), times)
    together = statistics(chain, sources, sources["midpointMjdTai"], QUICK)
    states = add_detections(chain, empty_sums(3), sources)
    for number, time in enumerate(times):
        alone = own[own["midpointMjdTai"] <= time]
        single = Chain(np.array([102]), np.array([np.inf]))
        expected = statistics(single, alone, alone["midpointMjdTai"], QUICK)
        for name, values in expected.items():
            np.testing.assert_array_equal(together[name][number], values[0], err_msg=name)
        assert add_detections(single, empty_sums(1), alone).tobytes() == states[number].tobytes()


def test_sums_that_are_carried_on_are_those_of_all_measurements(sources, chain):
    cut = 60100.0
    early, late = sources[sources["midpointMjdTai"] <= cut], sources[sources["midpointMjdTai"] > cut]
    for add, empty in ((add_detections, empty_sums), (add_forced, empty_forced_sums)):
        first = add(chain, empty(N_OBJECTS), early, early["midpointMjdTai"])
        carried = add(chain, first, late, late["midpointMjdTai"])
        whole = add(chain, empty(N_OBJECTS), sources, sources["midpointMjdTai"])
        assert carried.tobytes() == whole.tobytes()
        assert whole.any()


def test_flags_tell_whether_any_detection_has_one(sources, chain):
    flags = statistics(chain, sources, sources["midpointMjdTai"], ["ap_diaObjectFlag"])["flags"]
    for number, object_id in enumerate(chain.object_ids):
        own = sources[sources["diaObjectId"] == object_id]
        assert flags[number] == (own["centroid_flag"] | own["pixelFlags"]).any()


def test_nothing_at_all_has_no_statistics():
    nothing = Chain(np.zeros(0, dtype=np.int64), np.zeros(0))
    columns = statistics(nothing, np.zeros(0, ROW), np.zeros(0), list(PLUGINS))
    assert all(values.shape == (0,) for values in columns.values())
    lonely = statistics(
        Chain(np.array([1]), np.array([np.inf])), np.zeros(0, ROW), np.zeros(0), list(PLUGINS)
    )
    assert all(np.isnan(values).all() for name, values in lonely.items() if name != "flags")


def test_the_default_statistics_are_left_to_the_sums_and_others_refused(sources, chain):
    assert statistics(chain, sources, sources["midpointMjdTai"], DEFAULT_PLUGINS) == {}
    with pytest.raises(ValueError, match="there is no statistic ap_unknown; there are ap_meanPosition"):
        statistics(chain, sources, sources["midpointMjdTai"], ["ap_unknown"])
