import numpy as np
import pytest

from astra.errors import FormatError
from astra.products.spectra import read_mwm, read_spectrum
from tests.products.synthetic_spectra import write_ap_star, write_mwm
from tests.products.test_apogee import check_contract


def test_visits_of_both_observatories_are_rows_of_one_spectrum(tmp_path):
    path = write_mwm(tmp_path / "mwmVisit-0.6.0-54392544.fits", apogee=(2, 3))
    spectrum = read_mwm(path, "apogee")
    check_contract(spectrum)
    assert spectrum.flux.shape == (5, 8575)
    assert (spectrum.product, spectrum.frame, spectrum.instrument) == ("apStar", "rest", "APOGEE")
    assert spectrum.kind == ("visit",) * 5
    assert spectrum.catalogue["telescope"] == ("apo25m",) * 2 + ("lco25m",) * 3
    assert spectrum.catalogue["in_stack"] == (True,) * 5
    assert np.array_equal(spectrum.jd_mid, 2459000.5 + np.array([0, 1, 0, 1, 2]))
    assert np.array_equal(spectrum.v_rad, [-7.5] * 5)
    assert spectrum.wavelength == pytest.approx(10 ** (4.179 + 6e-6 * np.arange(8575)), rel=1e-14)
    assert spectrum.meta["GAIA3_ID"] is None
    assert spectrum.meta["TELESCOP"] == "apo25m+lco25m"
    assert set(np.flatnonzero(spectrum.bad[4])) == {5, 6, 7}
    assert np.array_equal(spectrum.planes["continuum"], np.full((5, 8575), 60.0))


def test_instrument_must_be_named_where_there_are_two(tmp_path):
    path = write_mwm(tmp_path / "both.fits")
    with pytest.raises(FormatError, match="spectra of BOSS and of APOGEE"):
        read_mwm(path)
    with pytest.raises(ValueError, match="must be BOSS or APOGEE"):
        read_mwm(path, "MaNGA")
    spectrum = read_spectrum("mwmVisit-boss", path)
    check_contract(spectrum)
    assert (spectrum.product, spectrum.n_pixels, spectrum.n_rows) == ("spec", 4648, 2)
    assert np.array_equal(spectrum.v_rad, [-7.5, -7.5])
    assert (spectrum.catalogue["RACAT"], spectrum.catalogue["SDSS_ID"]) == (83.0, 54392544)
    assert set(np.flatnonzero(spectrum.bad[0])) == {5, 6, 7}


def test_only_instrument_need_not_be_named(tmp_path):
    path = write_mwm(tmp_path / "a.fits", boss=(0, 0), apogee=(0, 1), star=True, grid_column=False)
    spectrum = read_spectrum("mwmStar", path)
    assert spectrum.kind == ("coadd",)
    assert spectrum.meta["TELESCOP"] == "lco25m"
    assert spectrum.wavelength[0] == pytest.approx(10**4.179, rel=1e-14)
    with pytest.raises(FormatError, match="has no spectra of BOSS"):
        read_spectrum("mwmStar-boss", path)


def test_file_without_spectra_and_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FormatError, match="has no spectra"):
        read_mwm(write_mwm(tmp_path / "none.fits", boss=(0, 0), apogee=(0, 0)))
    star = write_ap_star(tmp_path / "s.fits", n_visits=1)
    for instrument in ("", "APOGEE"):
        with pytest.raises(FormatError, match=r"no spectra|columns of arrays"):
            read_mwm(star, instrument)
