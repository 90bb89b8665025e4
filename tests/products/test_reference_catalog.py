import numpy as np
import pytest
from astropy.table import Table

from astra.errors import FormatError, MissingDataError
from astra.products.reference_catalog import DTYPE, read_reference_catalog


def magnitudes():
    return Table(
        {"id": [7, 8], "ra": [-9.5, 370.0], "dec": [0.5, -1.0], "r": [20.0, 21.4], "r_err": [0.01, 0.1]}
    )


def fluxes():
    return Table({"ra": [10.0], "dec": [20.0], "g_flux": [500.0], "g_fluxErr": [5.0]})


@pytest.mark.parametrize(
    ("suffix", "table_format"), [("fits", "fits"), ("ecsv", "ascii.ecsv"), ("csv", "csv")]
)
def test_magnitudes_become_fluxes_in_every_format(tmp_path, suffix, table_format):
    path = tmp_path / f"cat.{suffix}"
    magnitudes().write(path, format=table_format)
    reference = read_reference_catalog(path, "r")
    assert reference.dtype == DTYPE
    assert reference["flux"] == pytest.approx([10 ** (0.4 * 11.4), 10**4.0])
    assert reference["fluxErr"] / reference["flux"] == pytest.approx([0.00921, 0.0921], rel=1e-3)
    assert reference["ra"] == pytest.approx([350.5, 10.0])
    assert reference["id"].tolist() == [7, 8]
    assert reference["isStar"].all()


def test_fluxes_are_taken_as_they_are(tmp_path):
    fluxes().write(tmp_path / "cat.ecsv")
    reference = read_reference_catalog(str(tmp_path / "cat.ecsv"), "g")
    assert reference["flux"].tolist() == [500.0]
    assert reference["fluxErr"].tolist() == [5.0]
    assert reference["id"].tolist() == [1]


@pytest.mark.parametrize("values", [[1, 0], [True, False], ["True", "False"]])
def test_galaxies_are_told_from_stars(tmp_path, values):
    table = magnitudes()
    table["isStar" if isinstance(values[0], (bool, str)) else "starnotgal"] = values
    table.write(tmp_path / "cat.csv")
    assert read_reference_catalog(tmp_path / "cat.csv", "r")["isStar"].tolist() == [True, False]


def test_unknown_fluxes_are_nan_and_rows_without_position_are_left_out(tmp_path):
    (tmp_path / "cat.csv").write_text("ra,dec,r,r_err\n10,20,,\n,20,18,0.1\n11,21,18,0.1\n")
    reference = read_reference_catalog(tmp_path / "cat.csv", "r")
    assert reference["ra"].tolist() == [10.0, 11.0]
    assert np.isnan(reference["flux"]).tolist() == [True, False]


def test_an_empty_table_is_an_empty_catalogue(tmp_path):
    magnitudes()[:0].write(tmp_path / "cat.fits")
    reference = read_reference_catalog(tmp_path / "cat.fits", "r")
    assert len(reference) == 0
    assert reference.dtype == DTYPE


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.fits is not there"):
        read_reference_catalog(tmp_path / "none.fits", "r")


@pytest.mark.parametrize(("missing", "band"), [("ra", "r"), ("dec", "r"), ("r_err", "r"), (None, "z")])
def test_a_missing_column_is_named_with_those_found(tmp_path, missing, band):
    table = magnitudes()
    if missing:
        table.remove_column(missing)
    table.write(tmp_path / "cat.fits")
    with pytest.raises(FormatError, match=rf"needs the column .*{missing or 'z_err'}.*, found id"):
        read_reference_catalog(tmp_path / "cat.fits", band)


@pytest.mark.parametrize("name", ["cat.fits", "cat.ecsv"])
def test_a_file_that_is_no_table_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\x01 not a table")
    with pytest.raises(FormatError, match="cannot be read as"):
        read_reference_catalog(tmp_path / name, "r")


def test_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "cat.dat").write_text("ra dec\n")
    with pytest.raises(FormatError, match=r"must end in one of \.fits"):
        read_reference_catalog(tmp_path / "cat.dat", "r")


def test_a_column_of_words_is_refused(tmp_path):
    (tmp_path / "cat.csv").write_text("ra,dec,r,r_err\n10,20,bright,0.1\n")
    with pytest.raises(FormatError, match="column r of reference catalogue"):
        read_reference_catalog(tmp_path / "cat.csv", "r")


def test_the_stars_of_stripe_82_are_read(shared_data):
    reference = read_reference_catalog(shared_data / "sdss_s82" / "ref_cat" / "stars.fits", "r")
    assert len(reference) == 28196
    assert 350.0 <= reference["ra"].min() < reference["ra"].max() <= 354.0
    first = reference[0]
    assert (first["id"], first["isStar"]) == (273763, True)
    assert first["flux"] == pytest.approx(10 ** (0.4 * (31.4 - 20.621)))
