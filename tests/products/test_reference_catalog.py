import numpy as np
import pytest
from astropy.table import Table
from astropy.wcs import WCS

from astra.errors import FormatError, MissingDataError
from astra.images.photometry import ColorTerm
from astra.products.reference_catalog import DTYPE, catalog_files, image_region, read_reference_catalog
from astra.sky.regions import contains, convex_hull


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


def moving(**columns):
    table = fluxes()
    table["pmra"], table["pmdec"] = [3600.0], [-7200.0]
    for name, values in columns.items():
        table[name] = values
    return table


def test_stars_are_moved_to_the_epoch_of_the_exposure(tmp_path):
    moving(epoch=[2016.0]).write(tmp_path / "cat.ecsv")
    at_rest = read_reference_catalog(tmp_path / "cat.ecsv", "g")
    moved = read_reference_catalog(tmp_path / "cat.ecsv", "g", epoch_mjd_tai=51544.5 + 26 * 365.25)
    assert (at_rest["ra"][0], at_rest["dec"][0]) == (10.0, 20.0)
    assert (moved["ra"][0] - 10.0) * np.cos(np.radians(20.0)) * 3600 == pytest.approx(36.0, rel=1e-3)
    assert (moved["dec"][0] - 20.0) * 3600 == pytest.approx(-72.0, rel=1e-4)


def test_an_epoch_in_days_and_one_of_gaia_are_understood(tmp_path):
    table = moving(epoch=[57388.5])
    table["epoch"].unit = "d"
    table.write(tmp_path / "days.ecsv")
    moving(ref_epoch=[2016.0]).write(tmp_path / "gaia.csv")
    found = [
        read_reference_catalog(tmp_path / name, "g", epoch_mjd_tai=60000.0)
        for name in ("days.ecsv", "gaia.csv")
    ]
    assert found[0]["dec"] == pytest.approx(found[1]["dec"], abs=1e-5 / 3600)
    assert found[0]["dec"][0] < 20.0


@pytest.mark.parametrize(
    ("columns", "match"), [({}, "epoch"), ({"epoch": [57388.5]}, "Julian years between")]
)
def test_motions_without_a_plausible_epoch_are_refused(tmp_path, columns, match):
    moving(**columns).write(tmp_path / "cat.csv")
    with pytest.raises(FormatError, match=match):
        read_reference_catalog(tmp_path / "cat.csv", "g", epoch_mjd_tai=60000.0)
    assert len(read_reference_catalog(tmp_path / "cat.csv", "g")) == 1


def test_a_region_cuts_by_position(tmp_path):
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(-1, 1, 300), rng.uniform(-1, 1, 300)
    Table({"ra": ra, "dec": dec, "r": ra * 0 + 20, "r_err": ra * 0 + 0.1}).write(tmp_path / "cat.fits")
    region = convex_hull([359.5, 0.5, 0.5, 359.5], [-0.5, -0.5, 0.5, 0.5])
    found = read_reference_catalog(tmp_path / "cat.fits", "r", region=region)
    inside = (np.abs(ra) < 0.4999) & (np.abs(dec) < 0.4999)
    assert set(np.flatnonzero(inside) + 1) <= set(found["id"].tolist())
    assert contains(region, found["ra"], found["dec"]).all()
    assert inside.sum() <= len(found) <= inside.sum() + 3


def test_a_color_term_predicts_the_band_of_the_camera(tmp_path):
    table = magnitudes()
    table["g"], table["g_err"] = [21.0, 21.4], [0.01, 0.1]
    table.write(tmp_path / "cat.fits")
    found = read_reference_catalog(
        tmp_path / "cat.fits", "z", color_term=ColorTerm("r", "g", "r", (0.0, 0.5))
    )
    assert 31.4 - 2.5 * np.log10(found["flux"]) == pytest.approx([20.5, 21.4])


def test_parquet_is_read_with_its_units_and_nulls(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    from pyarrow import parquet

    columns = {"id": [5, 6], "ra": [1.0, 2.0], "dec": [3.0, 4.0], "r": [20.0, None], "r_err": [0.1, None]}
    columns |= {"pmra": [0.0, None], "pmdec": [1000.0, None], "epoch": [51544.5, 51544.5]}
    fields = [pa.field(name, pa.float64() if name != "id" else pa.int64()) for name in columns]
    fields[-1] = fields[-1].with_metadata({"unit": "d"})
    parquet.write_table(pa.table(columns, schema=pa.schema(fields)), tmp_path / "cat.parquet")
    found = read_reference_catalog(tmp_path / "cat.parquet", "r", epoch_mjd_tai=51544.5 + 3652.5)
    assert found["id"].tolist() == [5, 6]
    assert (found["dec"] - [3.0, 4.0]) * 3600 == pytest.approx([10.0, 0.0], abs=1e-6)
    assert np.isnan(found["flux"]).tolist() == [False, True]


def test_ids_that_are_no_whole_numbers_are_refused(tmp_path):
    table = magnitudes()
    table["id"] = ["a", "b"]
    table.write(tmp_path / "cat.csv")
    with pytest.raises(FormatError, match="column id of reference catalogue"):
        read_reference_catalog(tmp_path / "cat.csv", "r")


@pytest.mark.parametrize("dec", [0.0, 70.0, -89.9])
def test_the_region_of_an_image_holds_its_pixels_and_the_margin(dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [0.01, dec], [400.5, 200.5]
    wcs.wcs.cd = np.diag([-1e-4, 1e-4])
    region = image_region(wcs, (400, 800), 36.0)
    x, y = (
        np.array([-99.0, 898.0, 400.0, 0.0, -250.0, 400.0]),
        np.array([200.0, 200.0, -99.0, 399.0, 200.0, 520.0]),
    )
    assert contains(region, *wcs.all_pix2world(x, y, 0)).tolist() == [True, True, True, True, False, False]
    assert contains(image_region(wcs, (400, 800)), *wcs.all_pix2world(x, y, 0)).tolist() == [
        *(False, False, False, True, False, False)
    ]


def test_a_file_and_a_folder_have_files_that_change_with_them(tmp_path):
    assert catalog_files(tmp_path / "cat.fits") == [tmp_path / "cat.fits"]
    assert catalog_files(tmp_path) == [tmp_path / "manifest.json"]
