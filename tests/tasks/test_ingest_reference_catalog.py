"""Reference catalogues in shards: made by a task, and read by those that calibrate."""

import json
import re
import shlex

import numpy as np
import pytest
from astropy.table import Table

from astra.products.reference_catalog import read_reference_catalog
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.reference_catalog import IngestReferenceCatalog
from tests.conftest import PROJECT
from tests.tasks.night import build, rows


def write_stars(path, n=50, **columns):
    rng = np.random.default_rng(n)
    table = Table({"ra": rng.uniform(10, 12, n), "dec": rng.uniform(-1, 1, n), "r": rng.uniform(15, 20, n)})
    table["r_err"] = 0.02
    for name, values in columns.items():
        table[name] = values
    table.write(path, overwrite=True)
    return str(path)


def test_a_catalogue_is_made_once_and_again_when_its_source_changes(astra_root):
    path = write_stars(astra_root / "stars.ecsv")
    task = IngestReferenceCatalog(path=path, name="mine")
    assert not task.complete()
    assert build(task)
    assert task.complete()
    assert task.folder == astra_root / "reference_catalogs" / "mine"
    assert len(read_reference_catalog(task.folder, "r")) == 50
    write_stars(astra_root / "stars.ecsv", n=60)
    again = IngestReferenceCatalog(path=path, name="mine")
    assert not again.complete()
    assert build(again)
    assert len(read_reference_catalog(task.folder, "r")) == 60


def test_other_options_replace_the_catalogue_and_the_first_ones_bring_it_back(astra_root):
    path = write_stars(astra_root / "stars.ecsv")
    first = IngestReferenceCatalog(path=path, name="mine")
    second = IngestReferenceCatalog(path=path, name="mine", pixelisation="htm")
    assert build(first)
    assert build(second)
    assert (first.complete(), second.complete()) == (False, True)
    assert build(first)
    assert (first.complete(), second.complete()) == (True, False)


def test_in_a_batch_a_bad_catalogue_fails_alone_and_is_named(astra_root):
    good = write_stars(astra_root / "good.csv")
    bad = astra_root / "bad.csv"
    bad.write_text("ra,dec\n1,2\n")
    assert not build(IngestReferenceCatalog(path=(good, str(bad)), name=("good", "bad")))
    found = rows(astra_root, "SELECT state FROM task_state WHERE batch_size IS NULL")
    assert sorted(found) == [("done",), ("failed",)]
    messages = rows(astra_root, "SELECT message FROM task_attempt WHERE message LIKE 'reference catalogue%'")
    assert len(messages) == 1
    assert "bad.csv needs the column <band>_flux" in messages[0][0]
    assert len(read_reference_catalog(astra_root / "reference_catalogs" / "good", "r")) == 50


def test_it_runs_from_the_command_line(astra_root, run_luigi):
    path = write_stars(astra_root / "gaia.csv", source_id=np.arange(50) + 7)
    options = ["--columns", '{"id": "source_id"}', "--pixelisation", "htm", "--depth", "6"]
    found = run_luigi("IngestReferenceCatalog", "--path", path, "--name", "gaia", *options)
    assert found.returncode == 0, found.stderr
    assert sorted(read_reference_catalog(astra_root / "reference_catalogs" / "gaia", "r")["id"])[0] == 7


# Columns of the mean objects of Pan-STARRS 1, whose magnitudes are AB; -999 is none.
EXAMPLE = """
luigi --module astra IngestReferenceCatalog --local-scheduler --path ps1/ --name ps1 \\
    --columns '{"id": "objID", "ra": "raMean", "dec": "decMean",
                "r": "rMeanPSFMag", "r_err": "rMeanPSFMagErr"}'
"""
IN_README = re.findall(
    r"^luigi --module astra IngestReferenceCatalog .*?(?=^```|^luigi)",
    (PROJECT / "README.md").read_text(),
    flags=re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize("command", sorted({" ".join(text.split()) for text in (EXAMPLE, *IN_README)}))
def test_the_example_of_the_readme_runs_as_it_stands(astra_root, run_luigi, command):
    arguments = shlex.split(command.replace("\\", ""))
    assert arguments[:4] == ["luigi", "--module", "astra", "IngestReferenceCatalog"]
    columns = json.loads(arguments[arguments.index("--columns") + 1])
    (astra_root / "ps1").mkdir()
    stars = Table({name: np.linspace(10.0, 12.0, 4) for name in columns.values()})
    stars[columns["id"]] = np.arange(4) + 2**40
    stars[columns["r"]] = [15.0, -999.0, 18.0, 20.0]
    stars[columns["r_err"]] = [0.01, -999.0, 0.02, 0.05]
    stars["gMeanPSFMag"] = 17.0
    stars.write(astra_root / "ps1" / "objects.csv")
    found = run_luigi(*(item for item in arguments[3:] if item != "--local-scheduler"))
    assert found.returncode == 0, found.stderr
    catalogue = read_reference_catalog(astra_root / "reference_catalogs" / "ps1", "r")
    order = np.argsort(catalogue["id"])
    assert catalogue["id"][order].tolist() == [2**40 + k for k in range(4)]
    magnitude = 31.4 - 2.5 * np.log10(catalogue["flux"][order])
    assert magnitude[[0, 2, 3]] == pytest.approx([15.0, 18.0, 20.0])
    assert np.isnan(magnitude[1])


@pytest.fixture(scope="module")
def calibrate(night, tmp_path_factory):
    """ProcessCcd of one detector with a catalogue, done in a root of its own."""

    def run(reference_catalog):
        visit, detector = night.pairs[0]
        root = str(tmp_path_factory.mktemp("root"))
        task = ProcessCcd(
            instrument="simcam",
            raw=night.raw,
            visit=visit,
            detector=detector,
            reference_catalog=str(reference_catalog),
            output_root=root,
        )
        assert build(task)
        return task

    return run


def test_a_detector_is_calibrated_with_shards_as_with_the_file(night, calibrate, astra_root):
    from astra.products.catalogs import read_catalog

    path = night.files.reference_catalog_path
    ingest = IngestReferenceCatalog(path=str(path), name="sim", depth=8)
    assert build(ingest)
    sharded, whole = calibrate(ingest.folder), calibrate(path)
    mine, theirs = (read_catalog(task.path("src")) for task in (sharded, whole))
    for name in ("ra", "dec", "psfFlux"):
        assert mine[name] == pytest.approx(theirs[name], rel=1e-9, nan_ok=True)
    manifest = ingest.folder / "manifest.json"
    assert str(manifest) in [str(file) for file in sharded.input_files()]
    manifest.write_text(manifest.read_text() + "\n")
    assert not sharded.complete()
