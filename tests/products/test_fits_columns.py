import io

import numpy as np
import pytest
from astropy.io import fits

from astra.products.fits_columns import read_columns, read_row, scaled, table_columns
from astra.products.fits_units import FileBytes, find_units
from tests.products.test_fits_units import as_bytes


def table_hdu():
    columns = [
        fits.Column("flags", "11X", array=np.ones((3, 11), dtype=bool)),
        fits.Column("Name", "8A", array=["M 31", "", "x"]),
        fits.Column("many", "2D", array=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        fits.Column("id", "K", array=[2**40 + 1, -1, 0]),
        fits.Column("bits", "K", bzero=2**63, array=np.array([0, 1 << 40, 2**64 - 1], np.uint64)),
        fits.Column("small", "I", bzero=32768, array=np.array([0, 65535, 7], np.uint16)),
        fits.Column("scaled", "I", array=[0, 2, -1]),
        fits.Column("yes", "L", array=[True, False, True]),
    ]
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header["TSCAL7"], hdu.header["TZERO7"] = 0.5, 10.0
    return hdu


def test_columns_are_those_of_astropy_in_any_case_of_letters():
    content = as_bytes(table_hdu())
    unit = find_units(content)[1]
    found = read_columns(content, unit, ["ID", "MANY", "bits", "small", "scaled", "name", "yes", "absent"])
    with fits.open(io.BytesIO(content), uint=True) as hdus:
        for name in ("ID", "MANY", "bits", "small", "scaled"):
            assert np.array_equal(found[name], hdus[1].data[name]), name
    assert found["bits"].dtype == np.uint64
    assert found["name"].tolist() == [b"M 31", b"", b"x"]
    assert found["yes"].tolist() == [b"T", b"F", b"T"]
    assert "absent" not in found


def test_first_row_is_read_with_its_scales():
    content = as_bytes(table_hdu())
    assert read_row(content, find_units(content)[1], ["NAME", "SCALED", "SMALL", "MANY"]) == {
        "NAME": "M 31",
        "SCALED": 10.0,
        "SMALL": 0,
    }


def test_table_without_rows_and_image_have_no_values():
    empty = fits.BinTableHDU.from_columns([fits.Column("z", "E", array=[])])
    content = as_bytes(empty, fits.ImageHDU(np.zeros((2, 2))))
    units = find_units(content)
    assert read_row(content, units[1], ["Z"]) == {}
    assert len(read_columns(content, units[1], ["z"])["z"]) == 0
    assert read_columns(content, units[2], ["z"]) == {}


def test_table_whose_columns_do_not_fill_its_rows_is_refused():
    content = as_bytes(table_hdu()).replace(b"TFORM3  = '2D", b"TFORM3  = '3D")
    with pytest.raises(ValueError, match=r"fill \d+ bytes of a row, not \d+"):
        table_columns(find_units(content)[1])


def test_values_without_scale_are_not_copied():
    stored = np.arange(3, dtype=">i2")
    assert scaled(stored, 1, 0) is stored


def test_file_is_sliced_like_its_content_and_notices_that_it_shrinks(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(range(200)))
    with path.open("rb") as stream:
        content = FileBytes(stream.fileno())
        assert len(content) == 200
        assert content[10:20] == bytes(range(10, 20))
        assert content[190:300] == bytes(range(190, 200))
        assert content[300:400] == b""
        path.write_bytes(b"short")
        with pytest.raises(ValueError, match="has become shorter"):
            content[0:100]
