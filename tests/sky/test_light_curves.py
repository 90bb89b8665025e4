import numpy as np
import pytest

from astra.sky.light_curves import statistics_dtype, summarize

ROW = np.dtype(
    [
        *[("band", "U1"), ("midpointMjdTai", "f8"), ("psfFlux", "f4"), ("psfFluxErr", "f4")],
        *[("scienceFlux", "f4"), ("scienceFluxErr", "f4")],
    ]
)


@pytest.fixture
def light_curves():
    rng = np.random.default_rng(3)
    rows = np.zeros(300, ROW)
    rows["band"] = rng.choice(list("gr"), 300)
    rows["midpointMjdTai"] = 60000 + rng.uniform(0, 50, 300)
    for name in ("psfFlux", "scienceFlux"):
        rows[name] = rng.normal(100, 30, 300)
        rows[name + "Err"] = rng.uniform(5, 15, 300)
    return rows, rng.integers(0, 20, 300)


def one_at_a_time(rows):
    """The same statistics of one object in one band, written plainly."""
    rows = np.sort(rows, order="midpointMjdTai")
    flux, err = rows["psfFlux"].astype(float), rows["psfFluxErr"].astype(float)
    science, science_err = rows["scienceFlux"].astype(float), rows["scienceFluxErr"].astype(float)
    return {
        "psfFluxMean": np.average(flux, weights=err**-2),
        "psfFluxMeanErr": (err**-2).sum() ** -0.5,
        "psfFluxSigma": flux.std(ddof=1),
        "psfFluxNdata": len(flux),
        "psfFluxMin": flux.min(),
        "psfFluxMax": flux.max(),
        "psfFluxMaxSlope": (np.diff(flux) / np.diff(rows["midpointMjdTai"])).max(),
        "psfFluxErrMean": err.mean(),
        "scienceFluxMean": np.average(science, weights=science_err**-2),
        "scienceFluxMeanErr": (science_err**-2).sum() ** -0.5,
    }


def test_statistics_agree_with_one_object_at_a_time(light_curves):
    rows, index = light_curves
    result = summarize(rows, index, 20)
    for number in range(20):
        for band in "gr":
            for name, value in one_at_a_time(rows[(index == number) & (rows["band"] == band)]).items():
                assert result[number][f"{band}_{name}"] == pytest.approx(value, rel=1e-5), name


def test_statistics_do_not_depend_on_the_order_of_the_rows(light_curves):
    rows, index = light_curves
    shuffled = np.random.default_rng(0).permutation(len(rows))
    first, second = summarize(rows, index, 20), summarize(rows[shuffled], index[shuffled], 20)
    assert first.tobytes() == second.tobytes()


def test_a_band_without_data_has_no_statistics_and_a_count_of_zero():
    result = summarize(np.zeros(0, ROW), np.zeros(0, dtype=np.int64), 2)
    assert result.dtype == statistics_dtype()
    for name in result.dtype.names:
        if name.endswith("Ndata"):
            assert (result[name] == 0).all()
        else:
            assert np.isnan(result[name]).all(), name


def test_one_value_has_a_mean_but_neither_scatter_nor_slope():
    rows = np.zeros(1, ROW)
    rows["band"], rows["psfFlux"], rows["psfFluxErr"] = "r", 5.0, 2.0
    result = summarize(rows, np.array([0]), 1)[0]
    assert (result["r_psfFluxMean"], result["r_psfFluxMeanErr"], result["r_psfFluxNdata"]) == (5.0, 2.0, 1)
    assert np.isnan(result["r_psfFluxSigma"])
    assert np.isnan(result["r_psfFluxMaxSlope"])


def test_values_without_flux_or_error_do_not_count():
    rows = np.zeros(4, ROW)
    rows["band"], rows["psfFlux"], rows["psfFluxErr"] = "r", [1.0, np.nan, 3.0, 4.0], [1.0, 1.0, np.nan, 0.0]
    assert summarize(rows, np.zeros(4, dtype=np.int64), 1)["r_psfFluxNdata"] == [1]


def test_two_detections_at_one_time_have_no_slope():
    rows = np.zeros(2, ROW)
    rows["band"], rows["psfFlux"], rows["psfFluxErr"] = "g", [1.0, 2.0], 1.0
    assert np.isnan(summarize(rows, np.zeros(2, dtype=np.int64), 1)["g_psfFluxMaxSlope"]).all()


def test_forced_fluxes_make_the_forced_mean():
    forced = np.zeros(2, [("band", "U1"), ("psfFlux", "f4"), ("psfFluxErr", "f4")])
    forced["band"], forced["psfFlux"], forced["psfFluxErr"] = "r", [10.0, 20.0], [1.0, 2.0]
    nothing = np.zeros(0, ROW), np.zeros(0, dtype=np.int64)
    result = summarize(*nothing, 2, forced=forced, forced_index=np.array([1, 1]))
    assert result["r_fpFluxMean"][1] == pytest.approx(12.0)
    assert result["r_fpFluxMeanErr"][1] == pytest.approx(0.8**0.5)
    assert np.isnan(result["r_fpFluxMean"][0])
