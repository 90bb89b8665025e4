import numpy as np
import pytest

from astra.spectra.flags import UNUSABLE, SpectrumFlag, flag_names
from astra.spectra.grid import APSTAR_GRID, BOSS_GRID, LogGrid, aspcap_chips, log_grid_of
from astra.spectra.velocities import SPEED_OF_LIGHT_KMS, compose, remove, shifted


def test_grid_of_stars_is_the_survey_s():
    wavelength = APSTAR_GRID.wavelength
    assert wavelength.shape == (8575,)
    assert wavelength[0] == pytest.approx(15100.802, abs=1e-3)
    assert wavelength[-1] == pytest.approx(16999.808, abs=1e-3)
    assert APSTAR_GRID.pixel_kms == pytest.approx(4.1418, abs=1e-4)
    assert APSTAR_GRID.pixel_of(wavelength) == pytest.approx(np.arange(8575), abs=1e-6)


def test_velocity_and_shift_are_inverse_and_shift_wavelengths():
    velocity = np.array([-1000.0, -3.0, 0.0, 120.5, 40000.0])
    shift = APSTAR_GRID.shift_of(velocity)
    assert APSTAR_GRID.velocity_of(shift) == pytest.approx(velocity)
    moved = APSTAR_GRID.pixel_of(shifted(np.full(5, 16000.0), velocity))
    assert moved - APSTAR_GRID.pixel_of(np.array(16000.0)) == pytest.approx(shift)


def test_velocities_compose_by_their_factors():
    assert compose(80.0, 30.0) == pytest.approx(110.0 + 2400.0 / SPEED_OF_LIGHT_KMS)
    assert remove(compose(80.0, 30.0), 30.0) == pytest.approx(80.0)
    assert compose() == 0.0


def test_chips_of_aspcap_follow_each_other_on_the_grid():
    chips = aspcap_chips()
    assert [chip.stop - chip.start for chip in chips] == [3028, 2495, 1991]
    assert chips[0].stop < chips[1].start
    assert np.log10(APSTAR_GRID.wavelength[chips[1].start]) == pytest.approx(4.20051, abs=3e-6)


def test_a_grid_is_recognised_from_its_wavelengths():
    found = log_grid_of(BOSS_GRID.wavelength)
    assert found.n_pixels == BOSS_GRID.n_pixels
    assert (found.start, found.step) == pytest.approx((BOSS_GRID.start, BOSS_GRID.step))
    assert log_grid_of(np.linspace(4000.0, 9000.0, 100)) is None
    assert log_grid_of(LogGrid(3.5, 1e-4, 5).wavelength[::-1]) is None
    with pytest.raises(ValueError, match="two wavelengths"):
        log_grid_of(np.array([4000.0]))


def test_bits_have_names_and_are_single():
    assert flag_names(int(SpectrumFlag.NO_DATA | SpectrumFlag.WEAK_PEAK)) == ("NO_DATA", "WEAK_PEAK")
    assert flag_names(0) == ()
    assert len({flag.value for flag in SpectrumFlag}) == len(SpectrumFlag)
    assert UNUSABLE & SpectrumFlag.READ_FAILED
