import io

import numpy as np
import pytest
from astropy.io import fits

from astra.products.fits_columns import read_row
from astra.products.fits_units import find_units
from tests.products.synthetic_spectra import write_spec


def as_bytes(*hdus):
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(stream)
    return stream.getvalue()


@pytest.fixture
def table():
    columns = [
        fits.Column("flags", "11X", array=np.ones((1, 11), dtype=bool)),
        fits.Column("Name", "8A", array=["M 31"]),
        fits.Column("many", "3D", array=[[1.0, 2.0, 3.0]]),
        fits.Column("id", "K", array=[2**40 + 1]),
        fits.Column("z", "E", array=[0.25]),
        fits.Column("byte", "B", array=[200]),
        fits.Column("list", "PJ()", array=np.array([[1, 2]], dtype=object)),
        fits.Column("after", "I", array=[-7]),
    ]
    return fits.BinTableHDU.from_columns(columns)


def test_units_stand_where_astropy_finds_them(tmp_path, table):
    content = as_bytes(table, fits.ImageHDU(np.zeros((3, 5, 7), "f8")), fits.ImageHDU())
    units = find_units(content)
    with fits.open(io.BytesIO(content)) as hdus:
        assert len(hdus) == len(units)
        for hdu, unit in zip(hdus, units, strict=True):
            info = hdu.fileinfo()
            assert (unit.header_start, unit.data_start) == (info["hdrLoc"], info["datLoc"])
            assert unit.end == info["datLoc"] + info["datSpan"]


def test_wanted_scalars_of_a_row_are_read(table):
    content = as_bytes(table)
    values = read_row(content, find_units(content)[1], ["NAME", "ID", "Z", "BYTE", "AFTER", "MANY", "NONE"])
    assert values == {"NAME": "M 31", "ID": 2**40 + 1, "Z": 0.25, "BYTE": 200, "AFTER": -7}


def test_every_cut_within_a_unit_is_found(tmp_path):
    whole = write_spec(tmp_path / "b.fits", n_pixels=30).read_bytes()
    ends = {unit.end for unit in find_units(whole)}
    for size in range(0, len(whole), 720):
        if size not in ends:
            with pytest.raises(ValueError, match=r"it is (truncated|empty)"):
                find_units(whole[:size])


def test_other_content_is_refused():
    with pytest.raises(ValueError, match="does not begin with SIMPLE"):
        find_units(b"\x89PNG" + b" " * 2880)


def test_padding_after_the_last_unit_is_no_unit():
    content = as_bytes()
    assert find_units(content + b"\0" * 2880) == find_units(content)


def test_real_tables_are_read_as_astropy_reads_them(shared_data):
    for path in sorted((shared_data / "boss").glob("spec-*.fits")):
        content = path.read_bytes()
        units = find_units(content)
        with fits.open(path) as hdus:
            assert len(units) == len(hdus)
            row = hdus[2].data
            wanted = ["PLATE", "MJD", "FIBERID", "Z", "SN_MEDIAN_ALL", "PLUG_RA", "CLASS", "SUBCLASS"]
            expected = {name: row[name][0] for name in wanted}
        assert read_row(content, units[2], wanted) == expected
