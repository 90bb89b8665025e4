import numpy as np
import pytest

from astra.products.spectra import read_ap_star, read_ap_visit
from astra.spectra.snr import chip_signal_to_noise, good_pixels, reduction_signal_to_noise, signal_to_noise


@pytest.fixture
def noisy():
    rng = np.random.default_rng(7)
    error = np.array([[1.0], [4.0]]) * rng.uniform(0.9, 1.1, (2, 3001))
    return 100.0 + error * rng.standard_normal((2, 3001)), error**-2


def test_ratio_is_that_of_the_simulation(noisy):
    flux, ivar = noisy
    assert signal_to_noise(flux, ivar) == pytest.approx([100.0, 25.0], rel=0.01)


def test_inputs_are_not_modified(noisy):
    flux, ivar = noisy
    before = flux.copy(), ivar.copy()
    bad = np.zeros(flux.shape, dtype=bool)
    chip_signal_to_noise(flux, ivar, bad, np.arange(3001) // 1001)
    reduction_signal_to_noise(flux, ivar)
    assert np.array_equal(flux, before[0])
    assert np.array_equal(ivar, before[1])
    assert not bad.any()


def test_bad_and_void_pixels_do_not_count(noisy):
    flux, ivar = noisy
    spoiled, bad = flux.copy(), np.zeros(flux.shape, dtype=bool)
    spoiled[:, :1400], bad[:, :1400] = 1e6, True
    assert signal_to_noise(spoiled, ivar, bad) == pytest.approx(signal_to_noise(flux, ivar), rel=0.01)
    void = np.where(bad, 0.0, ivar)
    assert np.array_equal(signal_to_noise(spoiled, void), signal_to_noise(spoiled, ivar, bad))
    spoiled[:, 2000] = np.nan
    assert np.isfinite(signal_to_noise(spoiled, void)).all()


def test_nothing_good_is_nan_and_nothing_at_all_is_empty():
    flux, ivar = np.ones((2, 5)), np.array([[0.0] * 5, [1.0] * 5])
    assert np.array_equal(signal_to_noise(flux, ivar), [np.nan, 1.0], equal_nan=True)
    none = np.zeros((2, 5), dtype=bool)
    assert np.isnan(reduction_signal_to_noise(flux, ivar, none)).all()
    assert signal_to_noise(np.empty((0, 5)), np.empty((0, 5))).shape == (0,)


def test_chips_are_measured_apart():
    chip = np.repeat([0, 1, 2, -1], 10)
    flux = np.choose(chip + 1, [99.0, 1.0, 2.0, 3.0])[None, :]
    measured = chip_signal_to_noise(flux, np.full((1, 40), 4.0), None, chip)
    assert np.array_equal(measured, [[2.0, 4.0, 6.0]])
    no_chips = chip_signal_to_noise(flux, np.full((1, 40), 4.0), None, np.full(40, -1))
    assert np.isnan(no_chips).all()


def test_ratio_scales_with_exposure_and_not_with_units(noisy):
    flux, ivar = noisy
    assert signal_to_noise(1e-17 * flux, 1e34 * ivar) == pytest.approx(signal_to_noise(flux, ivar))
    assert signal_to_noise(flux, 4 * ivar) == pytest.approx(2 * signal_to_noise(flux, ivar))


def test_reduction_takes_the_upper_of_two_middle_values_of_all_pixels():
    flux = np.array([[4.0, 1.0, 3.0, 2.0]])
    assert reduction_signal_to_noise(flux, np.ones((1, 4)))[0] == 3.0
    assert reduction_signal_to_noise(flux, np.array([[1.0, 1.0, 0.0, 1.0]]))[0] == 2.0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="must have one shape"):
        good_pixels(np.ones((1, 4)), np.ones((1, 5)), None)
    with pytest.raises(ValueError, match="must have one shape"):
        signal_to_noise(np.ones(4), np.ones(4))


def test_headers_of_all_real_visits_are_reproduced(shared_data):
    paths = sorted((shared_data / "apogee").glob("apVisit-*.fits"))
    spectra = [read_ap_visit(path) for path in paths]
    measured = [reduction_signal_to_noise(s.flux, s.ivar, s.has_data & (s.chip == 1))[0] for s in spectra]
    assert len(measured) == 16
    assert measured == pytest.approx([s.snr[0] for s in spectra], rel=2e-6)


def test_headers_of_all_real_stars_are_reproduced(shared_data):
    paths = sorted((shared_data / "apogee").glob("apStar-*.fits"))
    spectra = [read_ap_star(path) for path in paths]
    measured = [reduction_signal_to_noise(s.flux, s.ivar, s.has_data)[0] for s in spectra]
    assert measured == pytest.approx([s.snr[0] for s in spectra], rel=2e-6)
