import numpy as np
import pytest

from astra.spectra.masks import APOGEE_BAD, APOGEE_BAD_FOR_VELOCITY, spikes, widened


def test_bad_bits_are_those_of_the_survey():
    assert int(APOGEE_BAD) == 16639
    assert int(APOGEE_BAD_FOR_VELOCITY) == 16639 | 1 << 8 | 1 << 12


def test_masks_widen_to_both_sides_and_stop_at_the_ends():
    mask = np.array([[True, False, False, False, False, True, False, False]])
    assert widened(mask, 0).tolist() == mask.tolist()
    assert widened(mask, 1).tolist() == [[True, True, False, False, True, True, True, False]]
    assert widened(mask, 100).all()
    assert not widened(np.zeros((2, 3), dtype=bool), 5).any()
    with pytest.raises(ValueError, match="0 pixels or more"):
        widened(mask, -1)


def test_spikes_are_found_but_neither_lines_nor_noise_nor_steep_continua():
    rng = np.random.default_rng(1)
    pixel = np.arange(3000)
    flux = 100.0 + 0.05 * pixel + rng.standard_normal(3000)
    flux -= 60.0 * np.exp(-0.5 * ((pixel - 1500) / 3.0) ** 2)
    hit = np.array([100, 777, 1500, 2990])
    flux[hit] += 80.0
    found = spikes(flux[None], np.ones((1, 3000)), 6.0)
    assert set(np.flatnonzero(found)) <= set(hit)
    assert {100, 777, 2990} <= set(np.flatnonzero(found))


def test_void_pixels_are_no_spikes():
    flux = np.ones((2, 200))
    flux[:, 50] = 1e6
    ivar = np.ones((2, 200))
    ivar[0, 50] = 0.0
    ivar[1] = 0.0
    assert not spikes(flux, ivar, 5.0).any()
    assert spikes(np.ones((0, 200)), np.ones((0, 200)), 5.0).shape == (0, 200)
    assert not spikes(np.ones((1, 5)), np.ones((1, 5)), 5.0).any()
