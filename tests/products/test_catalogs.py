import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.errors import FormatError, MissingDataError
from astra.products.catalogs import read_catalog, read_catalog_metadata, read_catalog_units, write_catalog

TEXT = st.characters(exclude_categories=["Cs"])
DTYPE = np.dtype(
    [
        ("diaSourceId", np.int64),
        ("x", np.float64),
        ("psfFlux", np.float32),
        ("flag", np.bool_),
        ("n", np.int32),
        ("bits", np.uint32),
        ("small", np.int16),
        ("moments", np.float64, (3,)),
        ("name", "U12"),
        ("code", "S4"),
    ]
)


def make_catalog(n=5):
    rng = np.random.default_rng(1)
    array = np.zeros(n, dtype=DTYPE)
    array["diaSourceId"] = rng.integers(-(2**63), 2**63 - 1, size=n)
    array["x"] = rng.normal(size=n)
    array["psfFlux"] = rng.normal(size=n)
    array["flag"] = rng.random(n) < 0.5
    array["n"] = rng.integers(-(2**31), 2**31 - 1, size=n)
    array["bits"] = rng.integers(0, 2**32 - 1, size=n)
    array["small"] = -7
    array["moments"] = rng.normal(size=(n, 3))
    array["name"] = (["M 31", "Σ 星", " blank", "", "twelve chars"] * (n // 5 + 1))[:n]
    array["code"] = b"ab"
    if n:
        array["x"][0] = np.nan
    return array


def assert_same_table(found, expected):
    assert found.dtype == expected.dtype
    assert all(found.dtype[name].isnative for name in found.dtype.names)
    for name in expected.dtype.names:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("n", [0, 1, 5, 1000])
def test_round_trip_is_exact(tmp_path, n):
    array = make_catalog(n)
    write_catalog(tmp_path / "new" / "src.fits", array, units={"x": "pixel", "psfFlux": "nJy"})
    assert_same_table(read_catalog(tmp_path / "new" / "src.fits", verify=True), array)


@settings(max_examples=40, deadline=None)
@given(
    value=st.integers(-(2**63), 2**63 - 1),
    number=st.floats(allow_nan=False),
    text=st.text(TEXT, max_size=8).filter(lambda text: text == text.rstrip(" \0")),
)
def test_any_value_round_trips(tmp_path_factory, value, number, text):
    array = np.array([(value, number, text)], dtype=[("a", "i8"), ("b", "f8"), ("c", "U8")])
    path = tmp_path_factory.mktemp("catalog") / "a.fits"
    write_catalog(path, array)
    assert_same_table(read_catalog(path), array)


def test_big_endian_and_strided_input_is_written_by_value(tmp_path):
    array = make_catalog(10).astype(DTYPE.newbyteorder(">"))[::2]
    write_catalog(tmp_path / "a.fits", array)
    assert_same_table(read_catalog(tmp_path / "a.fits"), make_catalog(10)[::2])


def test_blanks_at_the_end_of_text_are_dropped_with_the_checksum_right(tmp_path):
    array = np.array([(" a  ", b"b "), ("", b" ")], dtype=[("text", "U5"), ("code", "S3")])
    write_catalog(tmp_path / "a.fits", array)
    table = read_catalog(tmp_path / "a.fits", verify=True)
    assert table["text"].tolist() == [" a", ""]
    assert table["code"].tolist() == [b"b", b""]


def test_units_and_metadata_are_kept(tmp_path):
    metadata = {"NSRC": 5, "NOTE": "x" * 500 + "\nÅ", "SCALE": 0.1 + 0.2, "GOOD": True}
    write_catalog(
        tmp_path / "a.fits", make_catalog(), units={"psfFlux": "nJy", "x": "pixel"}, metadata=metadata
    )
    assert read_catalog_units(tmp_path / "a.fits") == {"psfFlux": "nJy", "x": "pixel"}
    assert read_catalog_metadata(tmp_path / "a.fits") == metadata
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus["CATALOG"].data["flag"].dtype == np.bool_
        assert all(hdu.verify_checksum() == 1 for hdu in hdus)


def test_equal_catalogues_give_equal_bytes(tmp_path):
    for name in "ab":
        write_catalog(tmp_path / name, make_catalog(), metadata={"K": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_table_given_is_not_changed(tmp_path):
    array = make_catalog()
    write_catalog(tmp_path / "a.fits", array)
    assert_same_table(array, make_catalog())


def test_a_table_of_others_is_read_in_native_byte_order(tmp_path):
    columns = [
        fits.Column("ra", "D", array=np.arange(3.0)),
        fits.Column("ok", "L", array=[True, False, True]),
        fits.Column("name", "8A", array=["a", "b", "c"]),
        fits.Column("vector", "2E", array=np.ones((3, 2))),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    table = read_catalog(tmp_path / "a.fits")
    assert table["ra"].dtype == np.float64
    assert table["ra"].dtype.isnative
    assert table["ok"].tolist() == [True, False, True]
    assert table["name"].tolist() == ["a", "b", "c"]
    assert table["vector"].shape == (3, 2)
    assert read_catalog_metadata(tmp_path / "a.fits") == {}


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="columns that the catalogue does not have: fluxx"):
        write_catalog(tmp_path / "a.fits", make_catalog(), units={"fluxx": "nJy"})
    with pytest.raises(ValueError, match="1-d structured"):
        write_catalog(tmp_path / "a.fits", np.zeros(3))
    assert list(tmp_path.iterdir()) == []


def test_missing_foreign_and_truncated_files_are_named(tmp_path):
    with pytest.raises(MissingDataError, match="gone"):
        read_catalog(tmp_path / "gone.fits")
    fits.PrimaryHDU(np.zeros((3, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(FormatError, match=r"image\.fits has no binary table"):
        read_catalog(tmp_path / "image.fits")
    write_catalog(tmp_path / "cut.fits", make_catalog(1000))
    content = (tmp_path / "cut.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=r"cut\.fits"):
        read_catalog(tmp_path / "cut.fits")
