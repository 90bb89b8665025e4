"""Tables are the same bytes as those that astropy writes."""

import numpy as np
import pytest
from astropy.io import fits

from astra.products.fits_record import write_hdus
from astra.products.fits_table import table_hdu

PLAIN = np.dtype(
    [
        *((name, name) for name in ("f4", "f8", "i2", "i4", "i8", "u1")),
        ("isNegative", "?"),
        ("band", "S7"),
        ("flag", "S1"),
        ("a_column_of_a_long_name", "f8", (3,)),
        ("covariance", "f4", (2, 3)),
        ("names", "S3", (2,)),
        ("table of names", "S4", (2, 2)),
        ("flags", "?", (2,)),
        ("one", "f8", (1,)),
    ]
)
UNITS = {"f4": "nJy", "f8": "deg", "covariance": "arcsec**2"}


def fill(dtype, n_rows, seed=1):
    rng = np.random.default_rng(seed)
    array = np.zeros(n_rows, dtype)
    for name in dtype.names:
        base, shape = dtype[name].base, (n_rows, *dtype[name].shape)
        if base.kind == "S":
            array[name] = rng.choice([b"", b"a", b"x y"], shape)
        elif base.kind == "b":
            array[name] = rng.random(shape) < 0.5
        elif base.kind in "iu":
            array[name] = rng.integers(np.iinfo(base).min, np.iinfo(base).max, shape, base)
        else:
            array[name] = rng.normal(size=shape)
    return array


def both(tmp_path, array, units):
    of_astropy = fits.BinTableHDU(array, name="CATALOG")
    for name, unit in units.items():
        of_astropy.columns[name].unit = unit
    of_astropy.update_header()
    contents = []
    for number, hdu in enumerate((table_hdu("CATALOG", array, units), of_astropy)):
        write_hdus(tmp_path / f"{number}.fits", [fits.PrimaryHDU(), hdu])
        contents.append((tmp_path / f"{number}.fits").read_bytes())
    return contents


@pytest.mark.parametrize("n_rows", [0, 1, 7, 1000])
def test_a_table_has_the_bytes_of_astropy(tmp_path, n_rows):
    array = fill(PLAIN, n_rows)
    assert not isinstance(table_hdu("CATALOG", array, UNITS), fits.BinTableHDU)
    ours, theirs = both(tmp_path, array, UNITS)
    assert ours == theirs
    read = fits.getdata(tmp_path / "0.fits", "CATALOG")
    np.testing.assert_array_equal(read["i8"], array["i8"])
    np.testing.assert_array_equal(read["isNegative"], array["isNegative"])


@pytest.mark.parametrize(
    ("dtype", "units"),
    [
        ([("x", "u2"), ("y", "f8")], {}),
        ([("x", "c16")], {}),
        ([("x", "f8"), ("o" * 65, "f8")], {}),
        ([("it's", "f8")], {}),
        ([("x", "f8")], {"x": "m" * 70}),
    ],
)
def test_what_needs_more_is_left_to_astropy(tmp_path, dtype, units):
    array = fill(np.dtype(dtype), 5)
    assert isinstance(table_hdu("CATALOG", array, units), fits.BinTableHDU)
    ours, theirs = both(tmp_path, array, units)
    assert ours == theirs


def test_rows_of_the_other_byte_order_and_with_gaps_are_the_same_table(tmp_path):
    array = fill(np.dtype([("x", "f8"), ("n", "i4")]), 9)
    other = np.zeros(9, np.dtype({"names": ["x", "n"], "formats": [">f8", ">i4"], "offsets": [8, 0]}))
    for name in ("x", "n"):
        other[name] = array[name]
    ours, theirs = (both(tmp_path, rows, {})[0] for rows in (array, other))
    assert ours == theirs
