import os

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import DataError
from astra.products.spectra import read_ap_star, read_ap_visit, read_aspcap_star
from astra.products.star_files import CombinedStar, VisitRow, write_ap_star
from astra.spectra.coadd import RestVisit, combine
from astra.spectra.grid import APSTAR_GRID
from tests.products.synthetic_spectra import write_ap_star as write_survey_star
from tests.products.synthetic_spectra import write_ap_visit as write_survey_visit
from tests.products.synthetic_spectra import write_aspcap_star

SAME = ("wavelength", "pixel_flags", "bad", "has_data", "chip")
NUMBERS = ("snr", "bc", "v_rel", "v_rad", "jd_mid")


def assert_equal(written, spectrum, rtol):
    for name in SAME:
        assert np.array_equal(getattr(written, name), getattr(spectrum, name)), name
    for name in ("flux", "ivar"):
        assert np.allclose(getattr(written, name), getattr(spectrum, name), rtol=rtol, atol=0), name
    for name in NUMBERS:
        assert np.array_equal(getattr(written, name), getattr(spectrum, name), equal_nan=True), name
    assert (written.kind, written.sources, written.frame) == (spectrum.kind, spectrum.sources, spectrum.frame)


@pytest.mark.parametrize("style", ["dr13", "dr17", "dr19"])
@pytest.mark.parametrize("n_visits", [1, 3])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 3e-7), (np.float64, 1e-14)])
def test_star_is_read_back_as_it_was(tmp_path, style, n_visits, dtype, rtol):
    spectrum = read_ap_star(write_survey_star(tmp_path / "s.fits", n_visits=n_visits, style=style))
    path = tmp_path / "new" / "star.fits"
    write_ap_star(spectrum, path, dtype=dtype)
    assert_equal(read_ap_star(path), spectrum, rtol)
    assert os.listdir(path.parent) == ["star.fits"]


def test_file_is_valid_for_astropy_and_has_the_survey_units(tmp_path):
    spectrum = read_ap_star(write_survey_star(tmp_path / "s.fits", n_visits=2, TEFF=4500.0))
    write_ap_star(spectrum, tmp_path / "n.fits", cards={"SOFTWARE": "x", "TEFF": 4600.0})
    with fits.open(tmp_path / "n.fits", checksum=True) as file:
        file.verify("exception")
        assert len(file) == 10
        assert file[1].data.shape == (4, 8575)
        assert file[1].header["BUNIT"].startswith("Flux (10^(-17) erg")
        assert file[3].data.dtype.kind == "i"
        assert (file[0].header["SOFTWARE"], file[0].header["TEFF"]) == ("x", 4600.0)
        assert file[0].header["NWAVE"] == 8575
        assert file[9].data["VREL"] == pytest.approx(spectrum.v_rel[2:])
        weights = np.where(file[2].data[0] < 1e9, file[2].data[0], np.inf) ** -2.0
        assert np.allclose(np.nan_to_num(weights), spectrum.ivar[0], rtol=1e-6)


def test_void_pixels_stay_void_whatever_the_unit(tmp_path):
    spectrum = read_ap_star(write_survey_star(tmp_path / "s.fits", n_visits=1))
    faint = type(spectrum)(**{**vars(spectrum), "flux": spectrum.flux * 1e9, "ivar": spectrum.ivar * 1e-18})
    write_ap_star(faint, tmp_path / "n.fits", dtype=np.float64)
    assert np.array_equal(read_ap_star(tmp_path / "n.fits").ivar > 0, spectrum.ivar > 0)


def test_flags_of_any_width_are_kept(tmp_path):
    spectrum = read_ap_star(write_survey_star(tmp_path / "s.fits", n_visits=1))
    for bit, width in ((14, 2), (16, 4), (40, 8)):
        spectrum.pixel_flags[0, 9] = 1 << bit
        write_ap_star(spectrum, tmp_path / f"{bit}.fits")
        assert read_ap_star(tmp_path / f"{bit}.fits").pixel_flags[0, 9] == 1 << bit
        with fits.open(tmp_path / f"{bit}.fits") as file:
            assert file[3].data.dtype.itemsize == width


def rest_visit(value, seed):
    rng = np.random.default_rng(seed)
    flux = value + rng.standard_normal(APSTAR_GRID.n_pixels)
    flags = np.zeros(APSTAR_GRID.n_pixels, np.int64)
    return RestVisit(flux, np.ones_like(flux), flags, np.full_like(flux, value), flags > 0)


def test_sum_of_visits_is_written_and_read_back(tmp_path):
    visits = [
        VisitRow(rest_visit(100.0, seed), f"apVisit-{seed}.fits", 2459000.5 + seed, seed, 1.0, 2.0, 3.0, 99.0)
        for seed in range(3)
    ]
    sums = [combine([row.spectrum for row in visits])] * 2
    write_ap_star(CombinedStar("2M", sums, visits, 170.0), tmp_path / "c.fits")
    found = read_ap_star(tmp_path / "c.fits")
    assert found.kind == ("coadd", "coadd_global", "visit", "visit", "visit")
    assert found.snr.tolist()[:1] + found.snr.tolist()[2:] == [170.0, 99.0, 99.0, 99.0]
    assert np.allclose(found.flux[0], sums[0].flux, rtol=1e-6)
    assert np.allclose(found.ivar[0], sums[0].ivar, rtol=1e-6)
    assert found.meta["FIBER2"] == 1
    write_ap_star(CombinedStar("2M", sums, visits[:1], 99.0), tmp_path / "one.fits")
    assert read_ap_star(tmp_path / "one.fits").kind == ("visit",)


def test_what_is_no_star_is_refused_and_leaves_no_file(tmp_path):
    visit = read_ap_visit(write_survey_visit(tmp_path / "v.fits"))
    fit = read_aspcap_star(write_aspcap_star(tmp_path / "f.fits"))
    for spectrum in (visit, fit):
        with pytest.raises(DataError, match="to be written as apStar"):
            write_ap_star(spectrum, tmp_path / "n.fits")
    assert not (tmp_path / "n.fits").exists()


def test_real_stars_are_read_back(shared_data, tmp_path):
    for path in sorted((shared_data / "apogee").glob("apStar-*.fits")):
        spectrum = read_ap_star(path)
        write_ap_star(spectrum, tmp_path / path.name)
        written = read_ap_star(tmp_path / path.name)
        assert_equal(written, spectrum, 3e-7)
        for key in ("RA", "DEC", "STARFLAG", "VSCATTER", "J", "LOCID"):
            assert written.meta[key] == spectrum.meta[key], key
