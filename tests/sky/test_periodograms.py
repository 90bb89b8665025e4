import numpy as np
import pytest
from astropy.timeseries import LombScargle, LombScargleMultiband

from astra.sky import periodograms
from astra.sky.periodograms import baluev_probability, frequencies, multiband_period, period

PERIOD = 0.73


@pytest.fixture(scope="module")
def light_curve():
    """Sine waves of one period with an amplitude and a phase in each band."""
    rng = np.random.default_rng(5)
    time = np.sort(rng.uniform(0, 12, 24))
    band = np.array(list("gr"))[np.arange(24) % 2]
    amplitude, phase = np.where(band == "g", 100.0, 60.0), np.where(band == "g", 0.4, 1.0)
    flux = 500 + amplitude * np.sin(2 * np.pi * time / PERIOD + phase)
    return time, flux, np.full(24, 0.5), band


def test_the_period_is_that_of_astropys_periodogram(light_curve):
    time, flux, err, band = light_curve
    chosen = band == "g"
    values = time[chosen], flux[chosen], err[chosen]
    n = int(chosen.sum())
    index = np.repeat([1, 3], [n, 4])
    stacked = tuple(np.concatenate([column, column[:4]]) for column in values)
    found = period(4, index, stacked)
    grid = LombScargle(*values).autofrequency(samples_per_peak=5, nyquist_factor=100)
    power = LombScargle(*values).power(grid, method="slow")
    assert frequencies(values[0]) == pytest.approx(grid, rel=1e-12)
    assert found["period"][1] == pytest.approx(1 / grid[np.argmax(power)], rel=1e-9)
    assert found["power"][1] == pytest.approx(power.max(), rel=1e-9)
    assert np.isnan(found["period"][[0, 2, 3]]).all()


def test_one_period_is_found_in_all_bands_together(light_curve, monkeypatch):
    monkeypatch.setattr(periodograms, "NYQUIST_FACTOR", 3)
    monkeypatch.setattr(frequencies, "__defaults__", (5, 3))
    time, flux, err, band = light_curve
    found = multiband_period(2, np.zeros(24, dtype=np.int64), (time, flux, err), band)
    model = LombScargleMultiband(time, flux, band, err)
    grid = model.autofrequency(samples_per_peak=5, nyquist_factor=3)
    power = model.power(grid, method="flexible")
    assert found["multiPower"][0] == pytest.approx(power.max(), rel=1e-9)
    assert found["multiPeriod"][0] == pytest.approx(1 / grid[np.argmax(power)], rel=1e-9)
    assert found["multiPeriod"][0] == pytest.approx(PERIOD, rel=0.02)
    assert found["g_multiAmp"][0] == pytest.approx(100, rel=0.2)
    assert found["g_multiAmp"][0] > found["r_multiAmp"][0] > 40
    fitted = model.model(np.array([0.11]), 1 / found["multiPeriod"][0])[0, 0]
    middle = model.model(np.array([0.0, found["multiPeriod"][0] / 2]), 1 / found["multiPeriod"][0])[0].mean()
    angle = 2 * np.pi * 0.11 / found["multiPeriod"][0] + found["g_multiPhase"][0]
    assert fitted == pytest.approx(middle + found["g_multiAmp"][0] * np.sin(angle), rel=1e-9)
    assert np.isnan(found["i_multiAmp"]).all()
    assert np.isnan(found["multiPeriod"][1])


@pytest.mark.parametrize("power", [0.2, 0.6, 0.97])
def test_false_alarms_are_those_of_astropys_baluev_bound(light_curve, power):
    time, flux, err, _ = light_curve
    model = LombScargle(time, flux, err)
    expected = model.false_alarm_probability(power, method="baluev", maximum_frequency=50.0)
    last = model.autofrequency(maximum_frequency=50.0)[-1]
    assert baluev_probability(power, time, last) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_values_at_one_time_have_no_period():
    same = np.full(12, 3.0)
    values = same, np.arange(12.0), np.ones(12)
    index, band = np.zeros(12, dtype=np.int64), np.full(12, "r")
    assert np.isnan(period(1, index, values)["period"]).all()
    assert np.isnan(multiband_period(1, index, values, band)["multiPeriod"]).all()
