import json
import sys

import numpy as np
import pytest
from astropy.table import Table

from astra.errors import ConfigError, FormatError, MissingDataError
from astra.products.reference_catalog import read_reference_catalog
from astra.products.reference_ingest import ShardConfig, find_sources, ingest_reference_catalog
from astra.products.reference_shards import PIXELISATIONS, read_manifest
from astra.sky.regions import convex_hull

KINDS = [(form, pixelisation) for form in ("fits", "parquet") for pixelisation in ("healpix", "htm")]


def stars(n=500, seed=0, first_id=1):
    """Stars round ra 0, some with a motion, some without a position."""
    rng = np.random.default_rng(seed)
    table = Table(
        {"id": np.arange(first_id, first_id + n), "ra": rng.uniform(-2, 2, n), "dec": rng.uniform(-1.5, 3, n)}
    )
    table["ra"][3], table["dec"][7] = np.nan, np.nan
    for band in "gr":
        table[band], table[f"{band}_err"] = rng.uniform(15, 22, n), rng.uniform(0.01, 0.1, n)
    table["pmra"], table["pmdec"] = rng.normal(0, 30, (2, n))
    table["epoch"], table["starnotgal"] = 2015.5, rng.integers(0, 2, n)
    return table


@pytest.fixture
def source(tmp_path):
    stars().write(tmp_path / "stars.fits")
    return tmp_path / "stars.fits"


def config(form="fits", pixelisation="healpix", **changes):
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    return ShardConfig(format=form, pixelisation=pixelisation, **{"depth": 5, **changes})


REGION = convex_hull([359.7, 0.9, 0.9, 359.7], [-0.9, -0.9, 0.5, 0.5])


@pytest.mark.parametrize(("form", "pixelisation"), KINDS)
@pytest.mark.parametrize("region", [None, REGION])
def test_shards_hold_what_the_file_holds(tmp_path, source, form, pixelisation, region):
    manifest = ingest_reference_catalog([source], tmp_path / "cat", config(form, pixelisation))
    arguments = {"region": region, "epoch_mjd_tai": 60000.0}
    whole = read_reference_catalog(source, "r", **arguments)
    found = read_reference_catalog(tmp_path / "cat", "r", **arguments)
    assert np.array_equal(np.sort(found, order="id"), np.sort(whole, order="id"))
    assert manifest.n_rows == 498 == sum(manifest.shards.values())
    if region is not None:
        assert 0 < len(manifest.pixels_in(region)) < len(manifest.shards)


@pytest.mark.parametrize(("form", "pixelisation"), KINDS)
def test_only_the_shards_that_a_region_touches_are_read(tmp_path, source, form, pixelisation):
    manifest = ingest_reference_catalog([source], tmp_path / "cat", config(form, pixelisation))
    touched = set(manifest.pixels_in(REGION))
    for pixel in set(manifest.shards) - touched:
        manifest.shard_path(pixel).unlink()
    assert len(read_reference_catalog(tmp_path / "cat", "g", region=REGION)) > 10
    manifest.shard_path(min(touched)).unlink()
    with pytest.raises(MissingDataError, match=rf"Npix={min(touched)}\.{form} .* is not there"):
        read_reference_catalog(tmp_path / "cat", "g", region=REGION)


def test_rows_are_in_the_pixel_of_their_file_and_sorted(tmp_path, source):
    manifest = ingest_reference_catalog([source], tmp_path / "cat", config())
    for pixel in manifest.shards:
        path = manifest.shard_path(pixel)
        assert path.parts[-3:-1] == ("Norder=5", f"Dir={pixel // 10000 * 10000}")
        rows = Table.read(path, hdu=1)
        assert (PIXELISATIONS["healpix"].pixels(rows["ra"], rows["dec"], 5) == pixel).all()
        assert (np.diff(rows["_healpix_29"]) >= 0).all()
        assert rows["r_flux"].unit == "nJy"


def test_the_manifest_says_what_there_is(tmp_path, source):
    ingest_reference_catalog([source], tmp_path / "cat", config())
    record = json.loads((tmp_path / "cat" / "manifest.json").read_text())
    assert (record["format"], record["pixelisation"], record["depth"]) == ("fits", "healpix", 5)
    assert record["bands"] == ["g", "r"]
    assert record["columns"]["ra"] == "deg"
    assert record["columns"]["pmra"] == "mas/yr"
    assert record["columns"]["g_flux"] == "nJy"
    assert record["epoch_mjd_tai"] == pytest.approx([57205.875] * 2)
    assert [(s["name"], s["n_rows"], len(s["checksum"])) for s in record["sources"]] == [
        ("stars.fits", 498, 64)
    ]


def test_sources_are_joined_and_counted_through(tmp_path):
    folder = tmp_path / "survey"
    folder.mkdir()
    for k in range(2):
        table = stars(100, seed=k)
        table.remove_column("id")
        table.write(folder / f"part{k}.ecsv")
    (folder / "notes.txt").write_text("not a table")
    sources = find_sources(folder)
    assert [path.name for path in sources] == ["part0.ecsv", "part1.ecsv"]
    ingest_reference_catalog(sources, tmp_path / "cat", config())
    found = read_reference_catalog(tmp_path / "cat", "r")
    # The ids are those of the rows in the files, of which two in each have no position.
    assert len(found) == 196
    assert len(set(found["id"].tolist())) == 196
    assert found["id"].max() > 190


def test_the_same_again_changes_nothing_and_another_replaces(tmp_path, source):
    folder = tmp_path / "cat"
    first = ingest_reference_catalog([source], folder, config())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert ingest_reference_catalog([source], folder, config()) == first
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    deeper = ingest_reference_catalog([source], folder, config(depth=6))
    assert read_manifest(folder) == deeper
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [deeper.dataset] != [first.dataset]
    next(iter(folder.rglob("Npix=*"))).unlink()
    again = ingest_reference_catalog([source], folder, config(depth=6))
    assert all(again.shard_path(pixel).is_file() for pixel in again.shards)


def test_a_bad_source_is_named_and_leaves_the_old_catalogue(tmp_path, source):
    folder = tmp_path / "cat"
    before = ingest_reference_catalog([source], folder, config())
    (tmp_path / "bad.csv").write_text("ra,dec\n1,2\n")
    (tmp_path / "damaged.fits").write_bytes(b"\x00 not a table")
    for name, match in (
        ("bad.csv", r"bad\.csv needs the column <band>_flux"),
        ("damaged.fits", "cannot be read"),
    ):
        with pytest.raises(FormatError, match=match):
            ingest_reference_catalog([source, tmp_path / name], folder, config())
        assert read_manifest(folder) == before
        assert len(read_reference_catalog(folder, "r")) == 498
        assert [path.name for path in folder.iterdir() if path.is_dir()] == [before.dataset]


def test_sources_with_other_columns_are_refused(tmp_path, source):
    table = stars(first_id=1000)
    table.remove_columns(["g", "g_err"])
    table.write(tmp_path / "other.fits")
    with pytest.raises(
        FormatError, match=r"other\.fits and .*stars\.fits must have the same columns, but g_flux"
    ):
        ingest_reference_catalog([source, tmp_path / "other.fits"], tmp_path / "cat", config())


def test_columns_are_called_as_the_source_calls_them(tmp_path):
    table = stars()
    table.rename_columns(["id", "r", "r_err"], ["source_id", "phot_r_mean_mag", "mag_error"])
    table.remove_column("epoch")
    table.write(tmp_path / "gaia.fits")
    names = {"id": "source_id", "r": "phot_r_mean_mag", "r_err": "mag_error"}
    manifest = ingest_reference_catalog(
        [tmp_path / "gaia.fits"], tmp_path / "cat", config(columns=names, epoch_yr=2016.0)
    )
    assert manifest.epoch_mjd_tai == pytest.approx([57388.5] * 2)
    assert sorted(read_reference_catalog(tmp_path / "cat", "r")["id"])[:3] == [1, 2, 3]
    with pytest.raises(FormatError, match="needs the column number"):
        ingest_reference_catalog([tmp_path / "gaia.fits"], tmp_path / "c", config(columns={"id": "number"}))


def test_errors_of_positions_are_no_bands(tmp_path):
    table = stars()
    table["ra_err"], table["dec_err"] = 1e-6, 1e-6
    table.write(tmp_path / "cat.ecsv")
    assert ingest_reference_catalog([tmp_path / "cat.ecsv"], tmp_path / "cat", config()).bands == ["g", "r"]


def test_a_band_that_is_not_there_is_named_with_those_that_are(tmp_path, source):
    ingest_reference_catalog([source], tmp_path / "cat", config())
    with pytest.raises(FormatError, match="has the bands g, r, not z"):
        read_reference_catalog(tmp_path / "cat", "z")


def test_an_empty_source_makes_an_empty_catalogue(tmp_path):
    stars()[:0].write(tmp_path / "none.fits")
    manifest = ingest_reference_catalog([tmp_path / "none.fits"], tmp_path / "cat", config())
    assert (manifest.n_rows, manifest.shards, manifest.epoch_mjd_tai) == (0, {}, [])
    assert len(read_reference_catalog(tmp_path / "cat", "r")) == 0


@pytest.mark.parametrize(
    "changes", [{"depth": 13}, {"depth": -1}, {"format": "csv"}, {"pixelisation": "q3c"}]
)
def test_impossible_options_are_refused(tmp_path, source, changes):
    with pytest.raises(ConfigError, match=str(next(iter(changes.values())))):
        ingest_reference_catalog([source], tmp_path / "cat", ShardConfig(**changes))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, source, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="needs pyarrow; install the extra 'parquet'"):
        ingest_reference_catalog([source], tmp_path / "cat", ShardConfig(format="parquet"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 99, "kind": ""}', '{"version": 1, "kind": "", "shards": {"a": 1}}']
)
def test_a_damaged_manifest_is_refused_by_name(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(FormatError, match=r"manifest\.json"):
        read_reference_catalog(tmp_path, "r")


def test_a_folder_that_is_no_catalogue_is_refused(tmp_path):
    with pytest.raises(MissingDataError, match="make one with IngestReferenceCatalog"):
        read_reference_catalog(tmp_path, "r")
    with pytest.raises(MissingDataError, match="nor a folder with files"):
        find_sources(tmp_path)


def test_what_killed_writers_left_is_removed(tmp_path, source):
    from astra.products.reference_ingest import STAGING_PREFIX

    left = tmp_path / "cat" / f"{STAGING_PREFIX}999999999~x"
    left.mkdir(parents=True)
    (left / "1-0.npy").write_bytes(b"")
    ingest_reference_catalog([source], tmp_path / "cat", config())
    assert not left.exists()


def test_the_stars_of_stripe_82_go_through(tmp_path, shared_data):
    path = shared_data / "sdss_s82" / "ref_cat" / "stars.fits"
    ingest_reference_catalog([path], tmp_path / "cat", config())
    region = convex_hull([351.4, 351.7, 351.7, 351.4], [0.0, 0.0, 0.25, 0.25])
    found = np.sort(read_reference_catalog(tmp_path / "cat", "r", region=region), order="id")
    assert np.array_equal(found, np.sort(read_reference_catalog(path, "r", region=region), order="id"))
    assert len(found) == 217
