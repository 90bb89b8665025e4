import bz2
import gzip
import math
import re

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import ConfigError, FormatError, MissingDataError
from astra.products.spectra import (
    READERS,
    read_ap_star,
    read_ap_visit,
    read_aspcap_star,
    read_spectrum,
)
from astra.products.survey_fits import read_primary_cards
from tests.products.synthetic_spectra import write_ap_star, write_ap_visit, write_aspcap_star


def check_contract(spectrum):
    shape = (spectrum.n_rows, spectrum.n_pixels)
    for plane in (spectrum.flux, spectrum.ivar, spectrum.pixel_flags, spectrum.bad, spectrum.has_data):
        assert plane.shape == shape
        assert plane.dtype.isnative
    assert spectrum.wavelength.shape == spectrum.chip.shape == shape[1:]
    assert np.all(np.diff(spectrum.wavelength) > 0)
    assert np.isfinite(spectrum.flux).all()
    assert np.isfinite(spectrum.ivar).all()
    assert np.all(spectrum.ivar >= 0)
    assert np.all(spectrum.bad[spectrum.ivar == 0])
    assert len(spectrum.kind) == len(spectrum.sources) == spectrum.n_rows
    for values in (
        spectrum.snr,
        spectrum.bc,
        spectrum.v_rel,
        spectrum.v_rad,
        spectrum.jd_mid,
        spectrum.exptime,
    ):
        assert values.shape == shape[:1]


@pytest.mark.parametrize(("n_pixels", "names"), [(64, False), (2048, True), (4096, True)])
def test_visit_has_its_chips_joined_in_increasing_wavelength(tmp_path, n_pixels, names):
    spectrum = read_ap_visit(write_ap_visit(tmp_path / "v.fits", n_pixels=n_pixels, names=names))
    check_contract(spectrum)
    assert spectrum.flux.shape == (1, 3 * n_pixels)
    assert spectrum.wavelength[0] == 15142.0
    assert spectrum.wavelength[-1] == 16955.0
    assert np.array_equal(spectrum.chip, np.repeat([0, 1, 2], n_pixels))
    with fits.open(tmp_path / "v.fits") as hdus:
        assert spectrum.flux[0, -1] == hdus[1].data[0, 0]
        assert spectrum.flux[0, 0] == hdus[1].data[2, -1]
    assert spectrum.frame == "observed"
    assert (spectrum.snr[0], spectrum.jd_mid[0], spectrum.exptime[0]) == (50.0, 2459146.75, 2002.0)
    assert math.isnan(spectrum.bc[0])


def test_visit_pixels_are_bad_by_their_flags_and_errors(tmp_path):
    path = write_ap_visit(tmp_path / "v.fits")
    spectrum = read_ap_visit(path)
    n = 64
    void = [2 * n - 1 - i for i in (3, 4, 5)]
    crossed, persistent = 3 * n - 1 - 7, n - 1 - 9
    assert np.array_equal(np.flatnonzero(spectrum.ivar == 0), sorted(void))
    assert np.array_equal(np.flatnonzero(spectrum.bad), sorted([*void, crossed]))
    assert np.array_equal(np.flatnonzero(~spectrum.has_data), [void[2]])
    assert spectrum.pixel_flags[0, persistent] == 1 << 9
    assert read_ap_visit(path, bad_bits=1 << 9).bad[0, persistent]


def test_text_that_says_nan_is_not_a_number(tmp_path):
    spectrum = read_ap_visit(write_ap_visit(tmp_path / "v.fits", SNR="NaN", VHELIO="n/a", BC="-12.5"))
    assert math.isnan(spectrum.snr[0])
    assert math.isnan(spectrum.meta["SNR"])
    assert math.isnan(spectrum.v_rad[0])
    assert spectrum.bc[0] == -12.5
    assert spectrum.meta["NPAIRS"] == "4"


def test_compressed_file_reads_the_same(tmp_path):
    path = write_ap_visit(tmp_path / "v.fits")
    (tmp_path / "v.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert np.array_equal(read_ap_visit(f"{path}.gz").flux, read_ap_visit(path).flux)


@pytest.mark.parametrize(
    ("style", "v_rel", "v_rad"), [("dr13", 2.0, 3.0), ("dr17", 2.0, 3.0), ("dr19", 1.5, 2.0)]
)
def test_star_has_sums_and_visits_of_any_release(tmp_path, style, v_rel, v_rad):
    spectrum = read_ap_star(write_ap_star(tmp_path / "s.fits", n_visits=3, style=style))
    check_contract(spectrum)
    assert spectrum.kind == ("coadd", "coadd_global", "visit", "visit", "visit")
    assert spectrum.sources == ("", "", "apVisit-1.fits", "apVisit-2.fits", "apVisit-3.fits")
    assert spectrum.wavelength[0] == pytest.approx(10**4.179, rel=1e-14)
    assert spectrum.wavelength[-1] == pytest.approx(10 ** (4.179 + 6e-6 * 8574), rel=1e-14)
    assert np.allclose(spectrum.v_rel[2:], v_rel * np.array([1, 2, 3]))
    assert np.allclose(spectrum.v_rad, [11.0, 11.0, v_rad, 2 * v_rad, 3 * v_rad])
    assert np.array_equal(spectrum.snr, [40.0, np.nan, 31.0, np.nan, 33.0], equal_nan=True)
    assert np.array_equal(spectrum.bc, [np.nan, np.nan, 10.0, 20.0, 30.0], equal_nan=True)
    assert spectrum.jd_mid[2] == 2459001.5
    assert np.all(spectrum.ivar[:, 3300:3500] == 0)
    assert spectrum.has_data[0, 3400] == (style != "dr19")
    assert spectrum.bad[:, 100].all()
    edges = spectrum.wavelength[np.searchsorted(spectrum.chip, [1, 2])]
    assert edges == pytest.approx([15833.5, 16454.0], abs=1.0)


@pytest.mark.parametrize("one_d", [False, True])
def test_star_of_one_visit_has_one_row(tmp_path, one_d):
    spectrum = read_ap_star(write_ap_star(tmp_path / "s.fits", n_visits=1, one_d=one_d))
    check_contract(spectrum)
    assert spectrum.kind == ("visit",)
    assert spectrum.sources == ("apVisit-1.fits",)
    assert (spectrum.snr[0], spectrum.v_rad[0]) == (40.0, 3.0)


def test_file_cut_short_anywhere_is_refused_with_its_path(tmp_path):
    path = write_ap_visit(tmp_path / "v.fits")
    whole = path.read_bytes()
    for size in (0, 100, 2880, 4000, 2880 * 3, len(whole) // 2 + 1, len(whole) - 2880, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=re.escape(str(path))) as caught:
            read_ap_visit(path)
        assert caught.value.context["path"] == str(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.fits does not exist"):
        read_ap_star(tmp_path / "none.fits")


def test_file_of_another_kind_is_refused(tmp_path):
    visit = write_ap_visit(tmp_path / "v.fits")
    star = write_ap_star(tmp_path / "s.fits")
    with pytest.raises(FormatError, match="to be an apVisit file"):
        read_ap_visit(star)
    with pytest.raises(FormatError, match="to be an apStar file"):
        read_ap_star(visit)
    with pytest.raises(FormatError, match="to be a BOSS spectrum"):
        READERS["spec"](star)
    with pytest.raises(ConfigError, match="no reader for product 'lvmFrame'"):
        read_spectrum("lvmFrame", star)


def test_star_whose_rows_do_not_fit_its_visits_is_refused(tmp_path):
    with pytest.raises(FormatError, match="not 4 for 5"):
        read_ap_star(write_ap_star(tmp_path / "s.fits", n_visits=2, NVISITS=5))


def test_visit_whose_chips_overlap_is_refused(tmp_path):
    path = write_ap_visit(tmp_path / "v.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[4].data[1] = hdus[4].data[0] + 0.01
    with pytest.raises(FormatError, match="three chips that do not overlap"):
        read_ap_visit(path)


def test_real_visits_and_stars_are_read(shared_data):
    visits = sorted((shared_data / "apogee").glob("apVisit-*.fits"))
    stars = sorted((shared_data / "apogee").glob("apStar-*.fits"))
    assert (len(visits), len(stars)) == (16, 4)
    for path in visits:
        spectrum = read_ap_visit(path)
        check_contract(spectrum)
        assert spectrum.flux.shape == (1, 12288)
        assert spectrum.v_rad[0] == pytest.approx(spectrum.v_rel[0] + spectrum.bc[0], abs=0.01)
    for path in stars:
        spectrum = read_ap_star(path)
        check_contract(spectrum)
        assert spectrum.n_rows == spectrum.meta["NVISITS"] + 2
        assert spectrum.v_rad[2:] == pytest.approx(spectrum.v_rel[2:] + spectrum.bc[2:], abs=0.02)
    with pytest.raises(FormatError):
        read_ap_star(next((shared_data / "apogee").glob("aspcapStar-*.fits")))


def test_fit_of_a_star_is_read_with_its_model(tmp_path):
    spectrum = read_aspcap_star(write_aspcap_star(tmp_path / "f.fits"))
    check_contract(spectrum)
    assert (spectrum.product, spectrum.frame, spectrum.kind, spectrum.flux_unit) == (
        "aspcapStar",
        "rest",
        ("coadd",),
        "",
    )
    assert (spectrum.snr[0], spectrum.v_rad[0]) == (100.0, 6.5)
    assert math.isnan(spectrum.meta["RA"])
    assert spectrum.catalogue == {"APOGEE_ID": "2M0000", "ASPCAPFLAG": 1 << 23, "TEFF": 4500.0}
    void = np.arange(8575)[3300:3500]
    assert np.array_equal(np.flatnonzero(spectrum.bad), void)
    assert np.array_equal(np.flatnonzero(np.isnan(spectrum.planes["model"][0])), void)
    pulls = ((spectrum.flux - spectrum.planes["model"]) * np.sqrt(spectrum.ivar))[~spectrum.bad]
    assert np.std(pulls) == pytest.approx(1.0, abs=0.03)


def test_fit_is_no_star_of_visits_and_the_other_way_round(tmp_path):
    star = write_ap_star(tmp_path / "s.fits", n_visits=3)
    with pytest.raises(FormatError, match="to be an aspcapStar file"):
        read_aspcap_star(star)
    with pytest.raises(FormatError, match=r"NVISITS to be an apStar file|flux, error and integer flags"):
        read_ap_star(write_aspcap_star(tmp_path / "f.fits", nan=False))


def test_primary_cards_are_read_alone(tmp_path):
    path = write_ap_visit(tmp_path / "v.fits", SNR="NaN")
    for ending, pack in ((".gz", gzip.compress), (".bz2", bz2.compress)):
        (tmp_path / f"v.fits{ending}").write_bytes(pack(path.read_bytes()))
    whole = read_ap_visit(path).meta
    path.write_bytes(path.read_bytes()[:5760])  # no more than the header
    for name in (path, f"{path}.gz", f"{path}.bz2"):
        cards = read_primary_cards(name)
        assert list(cards) == list(whole)
        assert math.isnan(cards["SNR"])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FormatError, match="HDU 0 has no end"):
        read_primary_cards(path)
    with pytest.raises(MissingDataError):
        read_primary_cards(tmp_path / "none.fits")


def test_images_with_scales_and_compressed_ones_are_read(tmp_path):
    path = write_ap_visit(tmp_path / "v.fits")
    flags = read_ap_visit(path).pixel_flags
    with fits.open(path) as hdus:
        stored = hdus[3].data.astype(np.uint16)
        hdus[3] = fits.ImageHDU(stored)  # astropy writes BZERO
        hdus.writeto(tmp_path / "u.fits")
        hdus[3] = fits.CompImageHDU(stored.astype(np.int16))
        hdus.writeto(tmp_path / "c.fits")
    for name in ("u.fits", "c.fits"):
        assert np.array_equal(read_ap_visit(tmp_path / name).pixel_flags, flags), name


def test_shared_grids_cannot_be_changed(tmp_path):
    spectrum = read_ap_star(write_ap_star(tmp_path / "s.fits", n_visits=1))
    with pytest.raises(ValueError, match="read-only"):
        spectrum.wavelength[0] = 1.0


def test_real_fits_are_read(shared_data):
    paths = sorted((shared_data / "apogee").glob("aspcapStar-*.fits"))
    assert len(paths) == 4
    for path in paths:
        spectrum = read_aspcap_star(path)
        check_contract(spectrum)
        star = read_ap_star(path.with_name(f"apStar-r6-{path.stem.split('-', 3)[3]}.fits"))
        assert np.array_equal(spectrum.wavelength, star.wavelength)
        assert spectrum.catalogue["APOGEE_ID"] == path.stem.split("-", 3)[3]
        used = ~spectrum.bad[0] & (spectrum.planes["model"][0] > 0)
        assert 7000 < used.sum() < 7515
        assert np.median(spectrum.flux[0][used]) == pytest.approx(0.94, abs=0.05)
