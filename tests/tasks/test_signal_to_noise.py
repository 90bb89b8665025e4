import csv
import shutil
import sqlite3

import luigi
import pytest

from astra.products.sdss_paths import SdssPath
from astra.tasks.io import sdss4, sdss5
from astra.tasks.io.local import LocalTargetTask
from astra.tasks.spectra.signal_to_noise import SignalToNoise
from tests.products.http_server import Server

N_ROWS = 16 + (5 + 5 + 5 + 7) + 4


def rows(root, query):
    with sqlite3.connect(root / "astra.db") as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def visit_files(folder):
    """The real visits, with the keys of the survey's own names of them."""
    with (folder / "VISITMAP.tsv").open() as stream:
        for line in csv.DictReader(stream, delimiter="\t"):
            keys = {name: line[name] for name in ("plate", "mjd", "fiber")}
            yield folder / line["local_file"], "dr13", {**keys, "apred": "r6", "telescope": "apo25m"}
    keys = {
        "plate": "5095",
        "mjd": 55844,
        "fiber": 128,
        "apred": "r13",
        "telescope": "apo25m",
        "field": "120+22",
    }
    yield folder / "apVisit-r13-5095-55844-128.fits", "dr16", keys


@pytest.fixture
def sas(shared_data, tmp_path, monkeypatch):
    """A tree with all real spectra; the value is the batch of them, as (product, path below the tree)."""
    root = tmp_path / "sas"
    monkeypatch.setenv("SAS_BASE_DIR", str(root))
    files = [(path, release, "apVisit", keys) for path, release, keys in visit_files(shared_data / "apogee")]
    for path in sorted((shared_data / "apogee").glob("apStar-*.fits")):
        keys = {"apred": "r6", "telescope": "apo25m", "field": "4476", "obj": path.stem.split("-", 2)[2]}
        files.append((path, "dr13", "apStar", keys))
    for path in sorted((shared_data / "boss").glob("spec-*.fits")):
        _, plate, mjd, fiber = path.stem.split("-")
        run2d = {"0266": "26", "3586": "v5_10_0"}.get(plate, "v5_13_2")
        release = {"26": "dr17", "v5_10_0": "dr14", "v5_13_2": "dr17"}[run2d]
        files.append(
            (path, release, "spec", {"plateid": plate, "mjd": mjd, "fiberid": fiber, "run2d": run2d})
        )
    batch = []
    for path, release, product, keys in files:
        location = SdssPath(release, root).location(product, **keys)
        (root / location).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / location)
        batch.append((product, location))
    return batch


def test_task_for_file_tasks_of_all_kinds_is_one_batch(sas):
    visits = sdss4.ApVisitFile(
        fiber=(131, 125), plate="6561", mjd=(56587, 56607), apred="r6", telescope="apo25m", release="dr13"
    )
    spectrum = sdss4.SpecFile(fiberid=31, plateid=266, mjd=51602, run2d="26", release="dr17")
    task = SignalToNoise.of(visits, spectrum)
    assert task.product == ("apVisit", "apVisit", "spec")
    assert task.path[2] == "dr17/sdss/spectro/redux/26/spectra/full/0266/spec-0266-51602-0031.fits"
    single = SignalToNoise.of(spectrum)
    assert single.task_id == task.member_ids()[2]
    assert single.requires().task_id == spectrum.task_id


def test_single_task_requires_the_file_of_its_survey(sas):
    kinds = {"apVisit": sdss4.ApVisitFile, "apStar": sdss4.ApStarFile, "spec": sdss4.SpecFile}
    for product, path in sas:
        assert type(SignalToNoise(product=product, path=path).requires()) is kinds[product]
    path = "dr20/spectro/apogee/redux/1.3/visit/apo25m/1/2/59000/apVisit-1.3-apo25m-2-59000-007.fits"
    assert isinstance(SignalToNoise(product="apVisit", path=path).requires(), sdss5.ApVisitFile)
    assert isinstance(SignalToNoise(product="specLite", path=path).requires(), LocalTargetTask)


def test_all_real_spectra_in_one_batch_and_a_truncated_one_fails_alone(sas, run_luigi, astra_root):
    broken = sas[7][1]
    path = astra_root / "sas" / broken
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    names = ("[" + ",".join(f'"{item[i]}"' for item in sas) + "]" for i in (0, 1))
    arguments = [item for pair in zip(("--product", "--path"), names, strict=True) for item in pair]

    result = run_luigi("SignalToNoise", *arguments)
    assert result.returncode == 30, result.stderr
    attempts = rows(
        astra_root,
        "SELECT task_attempt.*, batch_size FROM task_attempt JOIN task ON task.pk = task_pk",
    )
    [failed] = [row for row in attempts if row["status_code"] == 30 and row["batch_size"] is None]
    assert failed["error_class"] == "FormatError"
    assert str(path) in failed["message"]
    assert "it is truncated" in failed["message"]
    good = "SELECT * FROM signal_to_noise WHERE flags & 1 = 0"
    assert len(rows(astra_root, good)) == N_ROWS - 1
    [unread] = rows(astra_root, "SELECT * FROM signal_to_noise WHERE flags & 1 = 1")
    assert (unread["path"], unread["snr"], unread["n_good"]) == (str(path), None, None)
    assert unread["file_size"] == path.stat().st_size

    assert run_luigi("SignalToNoise", *arguments).returncode == 30
    path.write_bytes(whole)
    assert run_luigi("SignalToNoise", *arguments).returncode == 0
    members = "FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size IS NULL"
    [counts] = rows(astra_root, f"SELECT count(*) n, count(DISTINCT task_pk) tasks {members}")
    assert counts == {"n": 24 + 2, "tasks": 24}
    measured = rows(astra_root, "SELECT * FROM signal_to_noise")
    assert len(measured) == N_ROWS
    check_ratios(measured)

    assert run_luigi("SignalToNoise", *arguments).returncode == 0
    [again] = rows(astra_root, f"SELECT count(*) n, count(DISTINCT task_pk) tasks {members}")
    assert again == counts


def check_ratios(measured):
    visits = [row for row in measured if row["product"] == "apVisit"]
    sums = [row for row in measured if row["kind"] == "coadd" and row["product"] == "apStar"]
    spectra = [row for row in measured if row["product"] == "spec"]
    assert (len(visits), len(sums), len(spectra)) == (16, 4, 4)
    for row in visits + sums:
        assert row["snr_drp"] == pytest.approx(row["header_snr"], rel=2e-6)
        assert 0.85 * row["n_pixels"] < row["n_good"] <= row["n_pixels"]
    for row in visits:
        assert row["snr_green"] == pytest.approx(row["snr_drp"], rel=0.01)
    for row in spectra:
        assert row["snr"] == pytest.approx(row["header_snr"], rel=0.03)
        assert row["snr_drp"] is row["snr_blue"] is row["snr_red"] is None


def test_missing_file_in_a_batch_stops_its_own_member_alone(sas, run_luigi, astra_root):
    (astra_root / "sas" / sas[0][1]).unlink()
    result = run_luigi("SignalToNoise", "--product", "apVisit", "--path", f'["{sas[0][1]}","{sas[1][1]}"]')
    assert result.returncode == 30
    [row] = rows(astra_root, "SELECT message FROM task_attempt WHERE status_code = 60")
    file = SignalToNoise(product="apVisit", path=sas[0][1]).requires()
    assert file.local_path in row["message"]
    assert file.remote_path in row["message"]
    assert len(rows(astra_root, "SELECT * FROM signal_to_noise")) == 1


def test_single_task_runs_and_a_missing_file_is_missing_data(sas, run_luigi, astra_root):
    assert run_luigi("SignalToNoise", "--product", "apStar", "--path", sas[17][1]).returncode == 0
    kinds = [row["kind"] for row in rows(astra_root, "SELECT kind FROM signal_to_noise ORDER BY row_index")]
    assert kinds == ["coadd", "coadd_global", "visit", "visit", "visit"]
    (astra_root / "sas" / sas[16][1]).unlink()
    result = run_luigi("SignalToNoise", "--product", "apStar", "--path", sas[16][1])
    assert result.returncode == 20
    assert f"{astra_root / 'sas' / sas[16][1]} does not exist" in result.stderr
    assert "https://data.sdss.org/sas/dr13" in result.stderr


def test_rerun_replaces_the_rows(sas, run_luigi, astra_root):
    arguments = ("SignalToNoise", "--product", "apStar", "--path", sas[19][1])
    assert run_luigi(*arguments).returncode == 0
    before = rows(astra_root, "SELECT * FROM signal_to_noise")
    with sqlite3.connect(astra_root / "astra.db") as connection:
        connection.execute("UPDATE signal_to_noise SET snr = 0")
    assert run_luigi(*arguments, "--rerun").returncode == 0
    assert rows(astra_root, "SELECT * FROM signal_to_noise") == before


def test_changed_file_is_measured_again_and_a_removed_one_is_not(sas, run_luigi, astra_root):
    paths = [path for _, path in sas[:3]]
    arguments = ("SignalToNoise", "--product", "apVisit", "--path", str(paths).replace("'", '"'))
    assert run_luigi(*arguments).returncode == 0
    changed, removed = (astra_root / "sas" / path for path in paths[:2])
    shutil.copyfile(astra_root / "sas" / paths[2], changed)
    removed.unlink()
    assert run_luigi(*arguments).returncode == 0
    query = "SELECT position, count(*) n FROM batch_interface JOIN task_attempt ON task_pk = child_task_pk"
    attempts = {row["position"]: row["n"] for row in rows(astra_root, f"{query} GROUP BY position")}
    assert attempts == {0: 2, 1: 1, 2: 1}
    found = {row["path"]: row["snr"] for row in rows(astra_root, "SELECT path, snr FROM signal_to_noise")}
    assert found[str(changed)] == found[str(astra_root / "sas" / paths[2])]


def test_missing_files_are_fetched_where_they_may_be(sas, astra_root, monkeypatch, astra_option):
    real, missing = (astra_root / "sas" / path for _, path in sas[:2])
    content = real.read_bytes()
    real.unlink()
    missing.unlink()
    paths = tuple(path for _, path in sas[:3])
    task = SignalToNoise(product="apVisit", path=paths, use_remote=True)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        astra_option("sas_server", server.url)
        server.rules[f"/{paths[0]}"] = {"content": content}
        assert not luigi.build([task], local_scheduler=True, log_level="WARNING", no_lock=True)
    states = "SELECT status_code FROM task WHERE batch_size IS NULL AND family = 'SignalToNoise' ORDER BY pk"
    assert sorted(row["status_code"] for row in rows(astra_root, states)) == [1, 1, 60]
    assert real.read_bytes() == content
