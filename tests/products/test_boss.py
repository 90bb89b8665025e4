import re

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError
from astra.products.spectra import read_spec
from tests.products.synthetic_spectra import write_ap_visit, write_spec


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
