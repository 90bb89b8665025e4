import dataclasses
import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip

from astra.errors import FormatError, MissingDataError
from astra.images.coadd_psf import CoaddPsf
from astra.images.exposure import Exposure, MaskPlane, PhotoCalib, VisitInfo
from astra.images.psf import Psf
from astra.products.exposures import (
    read_exposure,
    read_exposure_info,
    read_exposure_metadata,
    read_exposure_wcs,
    write_exposure,
)
from astra.products.fits_record import (
    RECORD_EXTENSION,
    PlaneHDU,
    plane_hdu,
    read_record,
    record_hdu,
    write_hdus,
)

HOSTILE = {
    "LONG": "x" * 5000,
    "NEWLINE": "a\nb\tc\r",
    "NONASCII": "Ångström Σ 星",
    "QUOTE": "it's 'quoted' & long & ",
    "SPACES": "  both  ",
    "EMPTY": "",
    "NAN": float("nan"),
    "INF": float("-inf"),
    "DIGITS": 0.1 + 0.2,
    "TINY": -1.2345678901234567e-300,
    "BIG": 2**80,
    "BOOL": True,
    "NUMPY": np.float32(1.5),
    "NUMPYINT": np.int64(-(2**62)),
    "SIMPLE": "not the standard's",
    "END": 1,
    "COMMENT": "text",
    "HISTORY": "text",
    "CONTINUE": "text",
    "NAXIS": 7,
    "VISIT": "other",
    "lower": "case",
    "longer than eight": "key = 'x' /",
    "ключ": "key",
    "": "nameless",
}


def sip_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.crpix = [30.123456789012345, 20.987654321098765]
    wcs.wcs.crval = [351.70379123456789, -0.19755123456789]
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.cd = np.array([[-5.5123456789012e-5, 1.0123456789e-6], [1.1e-6, 5.4e-5]])
    a = np.zeros((4, 4))
    a[2, 0], a[1, 1], a[0, 3] = 1.23456789e-6, -3e-7, 1e-9
    wcs.sip = Sip(a, a.T.copy(), None, None, wcs.wcs.crpix)
    return wcs


def make_exposure(shape=(41, 60), **changes):
    rng = np.random.default_rng(5)
    image = rng.normal(size=shape).astype(np.float32)
    image.flat[:4] = [np.nan, np.inf, -0.0, np.float32(1e-42)]
    mask = rng.integers(0, 2**32, size=shape, dtype=np.uint32)
    variance = rng.uniform(1, 2, size=shape).astype(np.float32)
    info = VisitInfo("simcam", 2026112000001, 1, "r", "r-band", 61364.123456789012, 30.0, 0.026322)
    values = {
        "unit": "nJy",
        "gain": 1.1 + 2.2,
        "wcs": sip_wcs(),
        "psf": Psf(rng.normal(size=(3, 7, 7)) + 1, 1, 10.1, 20.2, 333.3),
        "photo_calib": PhotoCalib(123.456789012345678, 0.1),
        "metadata": {"SKYBG": 12.5, "NSTAR": 4, "BKGSUB": True, "NOTE": "sky by mesh"},
    }
    return Exposure(image, variance, mask, info, **(values | changes))


def assert_equal_exposures(found, expected):
    for name in ("image", "variance", "mask"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype
        assert a.dtype.isnative
        assert a.tobytes() == np.ascontiguousarray(b).tobytes()
    for name in ("info", "unit", "gain", "photo_calib"):
        assert getattr(found, name) == getattr(expected, name)
    assert repr(found.metadata) == repr(
        {k: getattr(v, "item", lambda v=v: v)() for k, v in expected.metadata.items()}
    )


def test_round_trip_is_exact(tmp_path):
    exposure = make_exposure()
    write_exposure(tmp_path / "deep" / "calexp.fits", exposure)
    found = read_exposure(tmp_path / "deep" / "calexp.fits", verify=True)
    assert_equal_exposures(found, exposure)
    assert found.psf.coefficients.tobytes() == exposure.psf.coefficients.tobytes()
    assert dataclasses.replace(found.psf, coefficients=exposure.psf.coefficients) == exposure.psf
    assert found.image.flags.writeable


def make_coadd_psf():
    rng = np.random.default_rng(8)
    weights = rng.uniform(size=(2, 2, 3)).astype(np.float32)
    return CoaddPsf(rng.normal(size=(6, 7, 7)) + 1, 1, 10.1, 20.2, 333.3, weights=weights, cell_pixel=24)


def test_psf_of_a_coadd_and_noise_power_round_trip(tmp_path):
    power = np.random.default_rng(9).uniform(size=(64, 64))
    exposure = make_exposure(psf=make_coadd_psf(), noise_power=power)
    write_exposure(tmp_path / "a.fits", exposure)
    found = read_exposure(tmp_path / "a.fits", verify=True)
    assert_equal_exposures(found, exposure)
    assert found.noise_power.tobytes() == power.tobytes()
    assert found.psf.weights.tobytes() == exposure.psf.weights.tobytes()
    same = {"coefficients": exposure.psf.coefficients, "weights": exposure.psf.weights}
    assert dataclasses.replace(found.psf, **same) == exposure.psf
    np.testing.assert_array_equal(found.psf.stamp(30.0, 30.0), exposure.psf.stamp(30.0, 30.0))
    assert read_exposure(tmp_path / "a.fits").psf.cell_pixel == 24


def rewrite_record(path, change):
    """Change the record of a file as an older or a newer version would have written it."""
    with fits.open(path) as hdus:
        record = read_record(hdus)
        change(record)
        kept = [hdu.copy() for hdu in hdus if hdu.name != RECORD_EXTENSION]
        fits.HDUList([*kept, record_hdu(record)]).writeto(path, overwrite=True)


def test_files_of_older_versions_are_read(tmp_path):
    def age(record):
        assert record.pop("has_noise_power") is False
        assert "class" not in record["psf"]

    exposure = make_exposure()
    write_exposure(tmp_path / "a.fits", exposure)
    rewrite_record(tmp_path / "a.fits", age)
    found = read_exposure(tmp_path / "a.fits")
    assert_equal_exposures(found, exposure)
    assert found.noise_power is None
    assert type(found.psf) is Psf


def test_a_psf_of_an_unknown_class_is_a_format_error(tmp_path):
    write_exposure(tmp_path / "a.fits", make_exposure(psf=make_coadd_psf()))
    rewrite_record(tmp_path / "a.fits", lambda record: record["psf"].update({"class": "NewPsf"}))
    with pytest.raises(FormatError, match="class NewPsf"):
        read_exposure(tmp_path / "a.fits")


def test_sip_wcs_round_trips(tmp_path):
    exposure = make_exposure()
    write_exposure(tmp_path / "a.fits", exposure)
    found = read_exposure(tmp_path / "a.fits").wcs
    x, y = np.meshgrid(np.linspace(-100, 3000, 7), np.linspace(-50, 2000, 5))
    expected = exposure.wcs.all_pix2world(x, y, 0)
    difference_mas = np.abs(np.array(found.all_pix2world(x, y, 0)) - expected) * 3.6e6
    assert difference_mas.max() < 1e-6
    write_exposure(tmp_path / "b.fits", exposure.replace(wcs=found))
    again = read_exposure(tmp_path / "b.fits").wcs
    np.testing.assert_array_equal(again.all_pix2world(x, y, 0), found.all_pix2world(x, y, 0))


def test_what_is_absent_stays_absent(tmp_path):
    exposure = make_exposure(wcs=None, psf=None, photo_calib=None, metadata={}, unit="adu")
    write_exposure(tmp_path / "a.fits", exposure)
    found = read_exposure(tmp_path / "a.fits")
    assert_equal_exposures(found, exposure)
    assert (found.wcs, found.psf, found.photo_calib) == (None, None, None)


def test_hostile_metadata_round_trip_and_leave_a_standard_file(tmp_path):
    exposure = make_exposure(metadata=HOSTILE)
    write_exposure(tmp_path / "a.fits", exposure)
    assert_equal_exposures(read_exposure(tmp_path / "a.fits", verify=True), exposure)
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["VISIT"] == 2026112000001
        assert hdus[0].header["QUOTE"].startswith("it's 'quoted'")


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, b"bytes", 1j])
def test_metadata_of_other_types_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="'KEY' must be text"):
        write_exposure(tmp_path / "a.fits", make_exposure(metadata={"KEY": value}))
    assert list(tmp_path.iterdir()) == []


def test_other_programs_find_cards_planes_and_wcs(tmp_path):
    exposure = make_exposure()
    write_exposure(tmp_path / "a.fits", exposure)
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        header = hdus[0].header
        assert header["INSTRUME"] == "simcam"
        assert header["MJD-MID"] == exposure.info.midpoint_mjd_tai
        assert header["TIMESYS"] == "TAI"
        assert header["SKYBG"] == 12.5
        assert hdus["VARIANCE"].header["BUNIT"] == "nJy2"
        for plane in MaskPlane:
            assert hdus["MASK"].header[f"MP_{plane.name}"] == plane.bit_length() - 1
        assert all("CHECKSUM" in hdu.header and "DATASUM" in hdu.header for hdu in hdus)
        assert all(hdu.verify_checksum() == 1 for hdu in hdus)
        sky = WCS(hdus["IMAGE"].header).all_pix2world(3.0, 4.0, 0)
    np.testing.assert_allclose(sky, exposure.wcs.all_pix2world(3.0, 4.0, 0), rtol=0, atol=1e-12)


def test_equal_exposures_give_equal_bytes(tmp_path):
    write_exposure(tmp_path / "a.fits", make_exposure())
    write_exposure(tmp_path / "b.fits", make_exposure())
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


def test_info_and_metadata_can_be_read_alone(tmp_path):
    exposure = make_exposure()
    write_exposure(tmp_path / "a.fits", exposure)
    assert read_exposure_info(tmp_path / "a.fits") == exposure.info
    assert read_exposure_metadata(tmp_path / "a.fits") == exposure.metadata


def test_a_compressed_copy_is_read_and_verified(tmp_path):
    exposure = make_exposure()
    write_exposure(tmp_path / "a.fits", exposure)
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(content))
    assert_equal_exposures(read_exposure(tmp_path / "a.fits.gz", verify=True), exposure)
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress(content[:9000] + b"!" + content[9001:]))
    with pytest.raises(FormatError, match="fails the checksum of HDU IMAGE"):
        read_exposure(tmp_path / "b.fits.gz", verify=True)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
def test_planes_that_are_mapped_are_those_that_are_read(tmp_path, name):
    write_exposure(tmp_path / "a.fits", make_exposure())
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    read, mapped = read_exposure(tmp_path / "a.fits"), read_exposure(tmp_path / name, mapped=True)
    for plane in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(mapped, plane), getattr(read, plane))
        assert isinstance(getattr(mapped, plane), np.memmap) == (name == "a.fits")
    assert mapped.metadata == read.metadata


def test_arrays_that_are_not_contiguous_are_written_as_they_look(tmp_path):
    exposure = make_exposure(shape=(40, 60), wcs=None)
    turned = exposure.replace(image=exposure.image.T, variance=exposure.variance.T, mask=exposure.mask.T)
    write_exposure(tmp_path / "a.fits", turned)
    np.testing.assert_array_equal(read_exposure(tmp_path / "a.fits").mask, exposure.mask.T)


def test_a_missing_file_is_missing_data(tmp_path):
    with pytest.raises(MissingDataError, match=r"nothing\.fits") as caught:
        read_exposure(tmp_path / "nothing.fits")
    assert caught.value.context["path"].endswith("nothing.fits")


@pytest.mark.parametrize(
    "content", [b"", b"not fits", b"\0" * 5760, b"SIMPLE  =                    T" + b" " * 2850]
)
def test_what_is_not_fits_is_a_format_error(tmp_path, content):
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.fits"):
        read_exposure(tmp_path / "a.fits")


def test_a_fits_file_of_others_is_a_format_error(tmp_path):
    fits.ImageHDU(np.zeros((3, 4))).writeto(tmp_path / "a.fits")
    with pytest.raises(FormatError, match="not an exposure written by astra"):
        read_exposure(tmp_path / "a.fits")


@pytest.mark.parametrize("fraction", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_a_format_error(tmp_path, fraction):
    path = tmp_path / "a.fits"
    write_exposure(path, make_exposure())
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(FormatError, match=r"a\.fits"):
        read_exposure(path)


def test_a_flipped_byte_anywhere_is_found_on_request_and_never_another_error(tmp_path):
    path = tmp_path / "a.fits"
    write_exposure(path, make_exposure(shape=(9, 11)))
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    for position in rng.integers(0, len(content), size=60):
        damaged = bytearray(content)
        damaged[position] ^= 0x15
        path.write_bytes(bytes(damaged))
        with pytest.raises(FormatError, match=r"a\.fits"):
            read_exposure(path, verify=True)
        try:
            read_exposure(path)
        except FormatError:
            continue


def test_a_wcs_with_lookup_tables_is_refused(tmp_path):
    from astropy.wcs import DistortionLookupTable

    wcs = sip_wcs()
    wcs.cpdis1 = DistortionLookupTable(np.zeros((2, 2), dtype=np.float32), (1, 1), (1, 1), (1, 1))
    with pytest.raises(ValueError, match="lookup tables"):
        write_exposure(tmp_path / "a.fits", make_exposure(wcs=wcs))


def test_where_an_exposure_lies_is_read_alone(tmp_path):
    path = tmp_path / "exposure.fits"
    write_exposure(path, make_exposure(wcs=sip_wcs()))
    wcs, shape = read_exposure_wcs(path)
    assert shape == (41, 60)
    x, y = np.array([0.0, 59.0, 30.5]), np.array([0.0, 3.0, 40.0])
    assert np.array_equal(wcs.all_pix2world(x, y, 0), read_exposure(path).wcs.all_pix2world(x, y, 0))
    write_exposure(path, make_exposure(wcs=None))
    with pytest.raises(FormatError, match="has no WCS"):
        read_exposure_wcs(path)


def test_the_planes_of_an_exposure_stay_as_they_are_while_it_is_written(tmp_path):
    exposure = make_exposure()
    for plane in (exposure.image, exposure.variance, exposure.mask):
        plane.flags.writeable = False
    write_exposure(tmp_path / "a.fits", exposure)
    assert_equal_exposures(read_exposure(tmp_path / "a.fits", verify=True), exposure)
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:  # warns, which fails, if a sum is wrong
        assert hdus["IMAGE"].header["DATASUM"] == str(hdus["IMAGE"]._calculate_datasum())
        assert hdus["IMAGE"].data.dtype == ">f4"


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<i4", ">i4", "<f8", "u1"])
def test_a_plane_is_written_as_astropy_writes_it(tmp_path, kind):
    plane = np.random.default_rng(2).normal(scale=1e4, size=(411, 683)).astype(kind)
    made = plane_hdu("IMAGE", plane, fits.Header())
    assert isinstance(made, PlaneHDU) == (kind in {np.dtype("f4").str, np.dtype("i4").str})
    write_hdus(tmp_path / "a.fits", [fits.PrimaryHDU(), made])
    write_hdus(tmp_path / "b.fits", [fits.PrimaryHDU(), fits.ImageHDU(plane.copy(), name="IMAGE")])
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
