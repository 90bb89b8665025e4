import re

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError
from astra.products.spectra import read_spec, read_spec_exposures
from tests.products.synthetic_spectra import add_exposures, write_ap_visit, write_spec


@pytest.mark.parametrize(
    ("telescope", "upper"), [("SDSS 2.5-M", False), ("SDSS 2.5-M", True), ("LCO Du Pont", True)]
)
def test_spectrum_of_any_release_and_site_is_read(tmp_path, telescope, upper):
    spectrum = read_spec(write_spec(tmp_path / "b.fits", telescope=telescope, upper=upper))
    assert spectrum.flux.shape == (1, 4648)
    assert spectrum.frame == "barycentric"
    assert spectrum.kind == ("coadd",)
    assert (spectrum.snr[0], spectrum.bc[0], spectrum.exptime[0]) == (20.0, 12.5, 3600.0)
    assert spectrum.catalogue == {"CATALOGID": 4544940698, "CLASS": "STAR", "SN_MEDIAN_ALL": 20.0, "Z": -1e-4}
    assert np.all(spectrum.chip == -1)


def test_only_void_bright_sky_and_fibre_pixels_are_bad(tmp_path):
    path = write_spec(tmp_path / "b.fits")
    spectrum = read_spec(path)
    assert np.array_equal(np.flatnonzero(spectrum.bad), [5, 6, 7])
    assert np.array_equal(np.flatnonzero(spectrum.ivar == 0), [5, 6])
    assert np.array_equal(np.flatnonzero(~spectrum.has_data), [6])
    assert np.isfinite(spectrum.flux).all()
    assert np.array_equal(np.flatnonzero(read_spec(path, bad_bits=1 << 16).bad), [5, 6, 8])


def test_wavelengths_are_freed_of_single_precision(tmp_path):
    spectrum = read_spec(write_spec(tmp_path / "b.fits"))
    exact = 10 ** (3.5523 + 1e-4 * np.arange(4648))
    velocity = 299792.458 * (spectrum.wavelength / exact - 1)
    assert np.abs(velocity).max() < 1e-6


def test_wavelengths_off_the_grid_are_kept(tmp_path):
    path = write_spec(tmp_path / "b.fits", n_pixels=50)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["loglam"] = 3.6 + 2e-4 * np.arange(50)
    assert read_spec(path).wavelength == pytest.approx(10 ** (3.6 + 2e-4 * np.arange(50)), rel=1e-6)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["loglam"][3] = np.nan
    with pytest.raises(FormatError, match="increasing wavelengths"):
        read_spec(path)


def test_file_cut_short_anywhere_is_refused_with_its_path(tmp_path):
    path = write_spec(tmp_path / "b.fits")
    whole = path.read_bytes()
    for size in (0, 2880, len(whole) // 2 + 1, len(whole) - 2880, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=re.escape(str(path))) as caught:
            read_spec(path)
        assert caught.value.context["path"] == str(path)


def test_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FormatError, match="lacks flux, ivar, loglam, and_mask"):
        read_spec(write_ap_visit(tmp_path / "v.fits"))


def test_real_spectra_are_read(shared_data):
    paths = sorted((shared_data / "boss").glob("spec-*.fits"))
    assert len(paths) == 4
    for path in paths:
        spectrum = read_spec(path)
        with fits.open(path) as hdus:
            stored = hdus[1].data["loglam"].astype(float)
        assert np.abs(np.log10(spectrum.wavelength) - stored).max() < 2.4e-7
        assert np.ptp(np.diff(np.log10(spectrum.wavelength))) < 1e-12
        assert spectrum.catalogue["CLASS"] in {"STAR", "QSO"}
        assert spectrum.catalogue["PLATE"] == spectrum.meta["PLATEID"]
        assert 0 < spectrum.bad.mean() < 0.06


def test_exposures_of_a_full_file_have_grids_of_their_own(tmp_path):
    path = write_spec(tmp_path / "b.fits", n_pixels=100)
    assert read_spec_exposures(path) == ()
    add_exposures(path, n=3)
    blue, red, again = read_spec_exposures(path, bad_bits=1 << 16)
    assert [s.sources[0] for s in (blue, red, again)] == ["B1-00000000", "R1-00000001", "B1-00000002"]
    assert blue.wavelength == pytest.approx(10 ** (3.55 + 1.3e-4 * np.arange(60)), rel=1e-6)
    assert red.kind == ("exposure",)
    assert (red.exptime[0], red.bc[0]) == (900.0, -3.0)
    assert red.jd_mid[0] == pytest.approx((4900375284.0 + 450 - 35) / 86400 + 2400000.5, abs=1e-6)
    assert np.array_equal(red.bad[0], np.arange(60) % 2 == 1)
    assert read_spec(path).kind == ("coadd",)


def test_time_is_that_of_the_table_or_unknown(tmp_path):
    assert np.isnan(read_spec(write_spec(tmp_path / "b.fits")).jd_mid[0])
    path = write_spec(tmp_path / "c.fits", **{"TAI-BEG": 5.1e9, "TAI-END": 5.1e9 + 3600})
    assert read_spec(path).jd_mid[0] == pytest.approx((5.1e9 + 1800 - 37) / 86400 + 2400000.5, abs=1e-6)


def test_real_exposures_agree_with_their_sum(shared_data):
    path = shared_data / "boss" / "spec-7338-56717-0779.fits"
    total, exposures = read_spec(path), read_spec_exposures(path)
    assert len(exposures) == total.meta["NEXP"]
    assert np.isfinite(total.planes["model"]).all()
    for one in exposures:
        inside = slice(*np.searchsorted(total.wavelength, one.wavelength[[0, -1]]))
        good = ~total.bad[0, inside]
        theirs = np.interp(total.wavelength[inside], one.wavelength, one.flux[0])[good]
        assert np.median(theirs) == pytest.approx(np.median(total.flux[0, inside][good]), rel=0.15)
        assert abs(one.jd_mid[0] - 2400000.5 - 56717) < 1.0
