import gzip

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError, MissingDataError
from astra.products import summary_files
from astra.products.summary_files import SPECTRUM_COLUMNS, VISIT_COLUMNS, open_summary, rows_of
from tests.products.synthetic_surveys import write_all_star, write_all_visit, write_sp_all

N_ROWS = 1000


@pytest.fixture
def all_visit(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        {
            "obj": f"2M{i % 300:08d}",
            "mjd": 59000 + int(rng.integers(5)),
            "plate": "15000",
            "fiber": i % 300 + 1,
        }
        for i in range(N_ROWS)
    ]
    return rows, write_all_visit(tmp_path / "allVisit-1.3-apo25m.fits", rows)


@pytest.mark.parametrize("window", [1, 1000, 1 << 26])
@pytest.mark.parametrize("packed", [False, True])
def test_rows_of_a_night_are_found_in_windows_of_any_size(all_visit, monkeypatch, window, packed):
    rows, path = all_visit
    monkeypatch.setattr(summary_files, "WINDOW_BYTES", window)
    if packed:
        path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(".fits.gz")
    table = open_summary(path)
    assert (table.kind, table.n_rows) == ("allVisit", N_ROWS)
    found = rows_of(table.select(VISIT_COLUMNS, {"mjd": [59002]}), ("obj", "fiber", "plate", "mjd", "apred"))
    expected = [row for row in rows if row["mjd"] == 59002]
    assert [(row["obj"], row["fiber"]) for row in found] == [(row["obj"], row["fiber"]) for row in expected]
    assert found[0] == {**found[0], "plate": "15000", "mjd": 59002, "apred": "1.3"}
    assert type(found[0]["fiber"]) is int


def test_several_conditions_hold_at_once_and_numbers_match_their_texts(all_visit):
    rows, path = all_visit
    names = {rows[3]["obj"], rows[7]["obj"]}
    found = open_summary(path).select(
        VISIT_COLUMNS, {"obj": names, "mjd": ["59001", 59003], "plate": [15000]}
    )
    assert sorted(zip(found["obj"], found["mjd"], strict=True)) == sorted(
        (row["obj"], row["mjd"]) for row in rows if row["obj"] in names and row["mjd"] in (59001, 59003)
    )


def test_kinds_are_told_by_their_columns(tmp_path):
    star = write_all_star(tmp_path / "a.fits", [{"obj": "2M1", "mjdend": 59000}])
    spectra = write_sp_all(tmp_path / "b.fits", [{"catalogid": 2**40, "mjd": 59000, "field": 15143}])
    assert open_summary(star).kind == "allStar"
    assert open_summary(spectra).kind == "spAll"
    found = open_summary(spectra).select(SPECTRUM_COLUMNS, {"mjd": [59000]})
    assert found["catalogid"] == [2**40]
    assert found["run2d"] == ["v6_1_3"]
    with pytest.raises(FormatError, match="must have a column FIBERID/FIBER"):
        open_summary(star).select(VISIT_COLUMNS, {"fiber": [1]})


def test_damaged_and_missing_files_are_named(tmp_path, all_visit):
    _, path = all_visit
    with pytest.raises(MissingDataError, match="does not exist"):
        open_summary(tmp_path / "none.fits")
    whole = path.read_bytes()
    for size, reason in (
        (0, "it is empty"),
        (2880, "it has no table"),
        (4000, "truncated"),
        (50000, "truncated"),
    ):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=reason):
            open_summary(path)
    image = tmp_path / "image.fits"
    fits.HDUList([fits.PrimaryHDU(np.zeros((3, 4)))]).writeto(image)
    with pytest.raises(FormatError, match="it has no table"):
        open_summary(image)
    packed = tmp_path / "p.fits.gz"
    packed.write_bytes(gzip.compress(whole)[: len(gzip.compress(whole)) // 2])
    with pytest.raises(FormatError, match="cannot be read as a FITS file"):
        open_summary(packed).select(VISIT_COLUMNS, {"mjd": [59002]})


def test_table_behind_an_image_is_found(tmp_path, all_visit):
    _, path = all_visit
    with fits.open(path) as hdus:
        hdus.insert(1, fits.ImageHDU(np.zeros((50, 70))))
        hdus.writeto(tmp_path / "behind.fits")
    assert open_summary(tmp_path / "behind.fits").n_rows == N_ROWS
