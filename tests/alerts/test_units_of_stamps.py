"""Small FITS files, against astropy."""

import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astra.alerts.fits_units import read_image, read_units
from astra.errors import FormatError
from tests.alerts.stamped import stamped


def written(*hdus):
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return stream.getvalue()


def test_a_stamp_of_ours_is_read_as_astropy_reads_it():
    data = stamped()["cutoutScience"]
    units = list(read_units(data))
    with fits.open(io.BytesIO(data)) as hdus:
        assert [unit.name for unit in units] == [hdu.name.replace("PRIMARY", "") for hdu in hdus]
        for unit, hdu in zip(units, hdus, strict=True):
            assert read_image(data, unit, max_side=200) == pytest.approx(hdu.data, nan_ok=True)
            assert {key: unit.header[key] for key in hdu.header} == dict(hdu.header)


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "i8", "f4", "f8", "u2"])
def test_every_type_of_pixel_is_read(kind):
    image = (np.arange(15).reshape(3, 5) * 7).astype(kind)  # u2 has a BZERO
    data = written(fits.PrimaryHDU(), fits.ImageHDU(image, name="MORE"))
    unit = list(read_units(data))[1]
    assert np.array_equal(read_image(data, unit, max_side=5), image)


def test_values_of_all_kinds_are_read():
    header = fits.Header()
    cards = {
        "TEXT": "it's / so",
        "EMPTY": "",
        "YES": True,
        "NO": False,
        "INT": -5,
        "FLOAT": 1.25e-30,
        "NONE": None,
    }
    for key, value in cards.items():
        header[key] = value, "a comment"
    header["LONGD"] = 0
    data = written(fits.PrimaryHDU(None, header)).replace(
        b"LONGD   =                    0", b"LONGD   =              1.5D+03"
    )
    (unit,) = read_units(data)
    found = {key: unit.header[key] for key in (*cards, "LONGD")}
    assert found == {**cards, "LONGD": 1500.0}


@given(st.binary(max_size=6000), st.integers(0, 5759))
def test_damage_is_an_error_of_ours_or_none(noise, place):
    data = bytearray(written(fits.PrimaryHDU(np.zeros((3, 5), dtype=np.float32))))
    data[place : place + len(noise)] = noise[: max(0, len(data) - place)]
    try:
        for unit in read_units(bytes(data)):
            read_image(bytes(data), unit, max_side=64)
    except FormatError:
        pass
