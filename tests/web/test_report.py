"""The report of a night: whole, closed in itself, and unmoved by what it is told."""

import json
import os
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from sqlalchemy import insert

from astra.cli import main
from astra.database.engine import get_engine, transaction
from astra.database.pages.spectra import continuum_table
from astra.database.spectra import signal_to_noise_table
from astra.database.state import product_table, task_keys
from astra.errors import ConfigError
from astra.products.apogee import read_ap_visit
from astra.products.spectrum_files import write_planes
from astra.web import report, report_folder
from astra.web.report import ReportSettings, write_report
from astra.web.report_folder import MARKER, replacing
from tests.cli import rows
from tests.products.synthetic_spectra import write_ap_visit
from tests.web.pages_night import CAMERA, HOSTILE, NIGHT, VISIT, database_url, fill_night, read_pages

PAGES = {
    "index.html", "about.html", "alerts.html", "efficiency.html",
    f"visits/{VISIT}.html", f"visits/{VISIT}_3.html", f"visits/{VISIT}_4.html",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root whose night says hostile things wherever text may stand; not to be changed."""
    root = tmp_path_factory.mktemp("night")
    fill_night(root, text=HOSTILE)
    return root


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "a folder"
    return write_report(database_url(root), root, instrument=CAMERA, night=NIGHT, folder=folder)


@pytest.fixture(scope="module")
def pages(written):
    return read_pages(written.folder)


def words(page):
    return " ".join(" ".join(page.words).split())


def test_every_page_is_there_and_well_formed(written, pages):
    assert set(pages) == PAGES
    assert written.n_pages == len(PAGES)
    assert written.index.read_text().startswith("<!DOCTYPE html>")
    assert written.size == sum(p.stat().st_size for p in written.folder.rglob("*") if p.is_file())


def test_every_link_leads_into_the_folder(written, pages):
    for name, page in pages.items():
        assert page.links
        for link in page.links:
            if link not in {"data:,", "#content"}:
                target = ((written.folder / name).parent / unquote(link)).resolve()
                assert target.is_file(), (name, link)
                assert target.is_relative_to(written.folder.resolve())


def test_every_picture_is_shown(written, pages):
    shown = {link.rpartition("/")[2] for page in pages.values() for link in page.links}
    assert {path.name for path in (written.folder / "pictures").iterdir()} <= shown


def test_hostile_text_is_shown_and_does_nothing(pages):
    for name, page in pages.items():
        assert not {"script", "iframe", "object", "style"} & set(page.tags), name
        assert not [one for one in page.attributes if one.startswith("on") or one == "style"], name
    assert HOSTILE in words(pages["index.html"])  # the message of the failed task
    assert HOSTILE in words(pages[f"visits/{VISIT}.html"])  # the target
    assert HOSTILE in words(pages[f"visits/{VISIT}_3.html"])  # a figure
    assert HOSTILE in words(pages[f"visits/{VISIT}_4.html"])


def test_a_page_allows_nothing_from_elsewhere(pages, written):
    text = written.index.read_text()
    assert "Content-Security-Policy" in text
    assert "default-src &#39;none&#39;" in text
    assert not [link for page in pages.values() for link in page.links if ":" in link and link != "data:,"]


def test_a_password_in_a_figure_is_masked(pages):
    assert "secret" not in words(pages[f"visits/{VISIT}_3.html"])
    assert "postgresql://me:***@host/db" in words(pages[f"visits/{VISIT}_3.html"])


def test_the_night_is_summed_up(pages):
    text = words(pages["index.html"])
    assert "Night 2026-11-20" in text
    assert "1.18 arcsec" in text  # 2.3548 * 2 pixel * 0.25 arcsec
    assert "good ≤ 1.8, bad > 2.5" in text
    assert "1 of 2 1 failed" in text
    assert "DIA sources 3" in text
    assert "1 \N{MULTIPLICATION SIGN} ProcessCcd" in text


def test_the_best_alert_of_each_object_is_shown_with_stamps_and_light_curve(pages):
    text = words(pages["alerts.html"])
    assert text.index("diaSource 7") < text.index("diaSource 8")
    assert "diaSource 9" not in text
    assert "diaSource 10" not in text
    assert "north is up, east is left" in text
    assert "3 detections and 1 forced fluxes" not in text
    assert "2 detections and 1 forced fluxes in g, r" in text
    assert "No stamps: the alert is not written yet" in text  # that of diaSource 8


def test_the_efficiency_has_its_page(pages):
    text = words(pages["efficiency.html"])
    assert "23.40 ± 0.10" in text
    assert "30 of 40 injected sources found" in text


def test_a_night_without_visits_says_what_to_run(tmp_path):
    get_engine(database_url(tmp_path))
    written = write_report(database_url(tmp_path), tmp_path, instrument=HOSTILE, night=20200101)
    assert written.folder == tmp_path / "report"
    found = read_pages(written.folder)
    assert set(found) == {"index.html", "about.html"}
    assert "luigi --module astra ApNight --instrument" in words(found["index.html"])
    assert HOSTILE in words(found["index.html"])


def test_a_visit_without_products_has_its_pages_too(tmp_path):
    url = fill_night(tmp_path, with_products=False)
    for path in (tmp_path / "alerts").iterdir():
        path.write_bytes(b"Obj\x01 damaged")
    written = write_report(url, tmp_path, instrument=CAMERA, night=NIGHT)
    assert "No image of this detector has been made." in words(
        read_pages(written.folder)[f"visits/{VISIT}_3.html"]
    )
    assert "is not a whole Avro container" in words(read_pages(written.folder)["alerts.html"])


def test_a_report_takes_the_place_of_an_older_one_and_of_nothing_else(root, tmp_path, monkeypatch):
    night = {"instrument": CAMERA, "night": NIGHT}
    folder = tmp_path / "report"
    write_report(database_url(root), root, **night, folder=folder)
    (folder / "old.html").write_text("old")
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "pictures").iterdir()}
    monkeypatch.setattr("astra.web.mosaic._draw", None)  # pictures are taken from the older report
    write_report(database_url(root), root, **night, folder=folder)
    assert not (folder / "old.html").exists()
    assert {path.name for path in (folder / "pictures").iterdir()} == set(before)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    (folder / MARKER).unlink()
    with pytest.raises(ConfigError, match="is no report of astra"):
        write_report(database_url(root), root, **night, folder=folder)


def test_a_report_that_fails_leaves_the_older_one(root, tmp_path, monkeypatch):
    night = {"instrument": CAMERA, "night": NIGHT, "folder": tmp_path / "report"}
    written = write_report(database_url(root), root, **night)
    text = written.index.read_text()
    monkeypatch.setattr(report, "_write_about", lambda writer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(database_url(root), root, **night)
    assert written.index.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_an_older_report_is_back_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "report"
    with replacing(target) as fresh:
        (fresh / "index.html").write_text("older")
    rename = Path.rename

    def refuse(self, other):
        if other == target and not self.name.endswith("~older"):
            raise PermissionError(13, "no")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError), replacing(target) as fresh:
        (fresh / "index.html").write_text("new")
    assert (target / "index.html").read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_what_killed_writers_have_left_is_swept_and_put_back(tmp_path):
    target, dead = tmp_path / "report", 2**22 + 1
    host = report_folder._host()
    for name in (f".report~{host}~{dead}~ab", f".report~{host}~{dead}~ab~older", f".report~other~{dead}~ab",
                 f".report~{host}~{os.getpid()}~cd", f".reports~{host}~{dead}~ab"):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER).touch()
    with pytest.raises(ZeroDivisionError), replacing(target):
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [
            "report",
            f".report~other~{dead}~ab",
            f".report~{host}~{os.getpid()}~cd",
            f".reports~{host}~{dead}~ab",
        ]
    )


def test_what_does_not_fit_is_told(root, tmp_path):
    settings = ReportSettings(max_visits=0, max_detectors=0, max_alerts=0, max_mosaics=0, max_mb=0.0)
    night = {"instrument": CAMERA, "night": NIGHT, "folder": tmp_path / "report"}
    written = write_report(database_url(root), root, **night, settings=settings)
    assert "1 of 1 visits have no page; see --visits" in written.left_out
    found = read_pages(written.folder)
    assert f"visits/{VISIT}.html" not in found
    assert not [link for page in found.values() for link in page.links if "visits/" in link]
    assert "1 of 1 visits have no page" in words(found["about.html"])


def test_the_size_is_bounded(root, tmp_path):
    night = {"instrument": CAMERA, "night": NIGHT, "folder": tmp_path / "report"}
    written = write_report(database_url(root), root, **night, settings=ReportSettings(max_mb=0.001))
    assert len(list((written.folder / "pictures").iterdir())) == 1
    assert any("pictures would exceed 0.001 MB" in line for line in written.left_out)


def test_the_command_writes_the_report_of_the_only_camera(root, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["--root", str(root), "report", "2026-11-20", "--output", str(output), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["index"] == str(output / "index.html")
    assert told["pages"] == len(PAGES)
    assert main(["--root", str(root), "report", "20250101"]) == 1
    assert "no camera has a visit in night 20250101" in capsys.readouterr().err


def test_thresholds_of_ones_own_change_the_lights(root, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[seeing]\nwarn = 0.5\nbad = 1.0\n")
    night = {"instrument": CAMERA, "night": NIGHT, "folder": tmp_path / "report"}
    written = write_report(database_url(root), root, **night, settings=ReportSettings(thresholds=own))
    assert "Seeing: bad" in written.index.read_text()


def test_spectra_of_the_night_are_drawn_with_their_continuum(tmp_path):
    path = tmp_path / "sas" / "apVisit-r13-1-61365-001.fits"
    path.parent.mkdir()
    write_ap_visit(path)
    spectrum = read_ap_visit(path)
    url = fill_night(tmp_path)
    with transaction(url) as connection:
        run = rows.start_run(connection)
        task = rows.end(connection, run, rows.record("ContinuumNormalize", {"path": str(path)}), 1)
        pk = task_keys(connection, [task])[task]
        row = {
            "task_pk": pk,
            "row_index": 0,
            "product": "apVisit",
            "path": str(path),
            "kind": "visit",
            "flags": 0,
        }
        connection.execute(insert(signal_to_noise_table), [{**row, "snr": 42.0}])
        connection.execute(insert(continuum_table), [{**row, "chi2_dof": 1.1}])
        fitted = tmp_path / "normal.fits"
        write_planes(fitted, spectrum.wavelength, {"CONTINUUM": (np.full_like(spectrum.flux, 95.0), "")})
        product = {"path": str(fitted), "kind": "spectrum", "size": 1, "checksum": "", "created": rows.NOW}
        connection.execute(insert(product_table), [{**product, "task_pk": pk}])
    written = write_report(url, tmp_path, instrument=CAMERA, night=NIGHT)
    page = read_pages(written.folder)["spectra.html"]
    text = (written.folder / "spectra.html").read_text()
    assert "apVisit-r13-1-61365-001.fits: S/N 42.0" in words(page)
    assert "1 spectra with results, of SDSS MJD 61365." in words(page)
    assert text.count('class="data"') == text.count('class="second"') == 1
    path.unlink()
    again = write_report(url, tmp_path, instrument=CAMERA, night=NIGHT)
    assert 'class="data"' not in (again.folder / "spectra.html").read_text()
