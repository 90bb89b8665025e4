"""``astra alerts``: look at alerts, check, export and send them again; how long they took."""

import base64
import json
import sqlite3
import time

import pytest
from astropy.table import Table

from astra.alerts.files import write_alerts
from astra.alerts.reading import read_packets
from astra.cli import main
from astra.config import database_url
from astra.database.alert_timing import record_written
from astra.database.engine import transaction
from tests.alerts.simple import packet
from tests.alerts.stamped import stamped

LARGE = 2**62 + 1


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two files of alerts, and an empty folder to stand in."""
    write_alerts(tmp_path / "12_3.avro", [stamped(LARGE, flux=-800.0), packet(8)])
    write_alerts(tmp_path / "14_3.avro", [packet(9, 60, visit=14, mjd=60001.0)])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return [str(tmp_path / "12_3.avro"), str(tmp_path / "14_3.avro")]


def test_alerts_are_listed(files, capsys, tmp_path):
    assert main(["alerts", "show", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:3] == ["1", str(LARGE), "50"]
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("chosen", [["--id", str(LARGE)], ["--number", "1"]])
def test_one_alert_is_drawn_into_the_current_folder(files, capsys, tmp_path, chosen):
    assert main(["alerts", "show", *files, *chosen]) == 0
    assert f"drawn: alert_{LARGE}.png" in capsys.readouterr().out
    assert (tmp_path / "here" / f"alert_{LARGE}.png").read_bytes().startswith(b"\x89PNG")


def test_ids_are_text_in_json(files, capsys):
    assert main(["alerts", "show", *files, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in shown] == [str(LARGE), "8", "9"]
    assert shown[0]["object"] == "50"
    assert shown[0]["detections"][-1]["flux"] == -800.0
    assert shown[1]["reliability"] is None


def test_an_alert_that_is_not_there_is_told(files, capsys):
    assert main(["alerts", "show", *files, "--id", "5"]) == 1
    assert "there is no alert with id 5 in" in capsys.readouterr().err


def test_alerts_that_are_wrong_are_told_and_the_others_counted(files, capsys, tmp_path):
    assert main(["alerts", "validate", *files]) == 0
    assert capsys.readouterr().out == "3 alerts in 2 files; nothing wrong\n"
    wrong = packet(7, ra=400.0)
    write_alerts(tmp_path / "wrong.avro", [wrong])
    (tmp_path / "half.avro").write_bytes((tmp_path / "wrong.avro").read_bytes()[:-20])
    names = [*files, str(tmp_path / "wrong.avro"), str(tmp_path / "half.avro")]
    assert main(["alerts", "validate", *names]) == 1
    out = capsys.readouterr().out
    assert "wrong.avro: alert 7 (1): diaSource.ra must be from 0 to 360 deg, found 400" in out
    assert "half.avro: alert file" in out
    assert out.endswith("4 alerts in 4 files; 2 wrong\n")
    assert main(["alerts", "validate", "--json", *names]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found[0] == {"file": files[0], "number": 1, "id": str(LARGE), "problems": []}
    assert found[3]["problems"][0]["field"] == "diaSource.ra"


def test_alerts_become_lines_of_json(files, capsys):
    assert main(["alerts", "export", *files]) == 0
    first, *_ = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["diaSourceId"] == first["diaSource"]["diaSourceId"] == str(LARGE)
    assert first["diaSource"]["detector"] == 3
    assert base64.b64decode(first["cutoutScience"]).startswith(b"SIMPLE")
    assert main(["alerts", "export", *files, "--output", "a.jsonl"]) == 0
    assert "3 alerts written to a.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.parquet", "a.ecsv", "a.fits"])
def test_detections_become_a_table(files, name, capsys):
    assert main(["alerts", "export", *files, "--output", name]) == 0
    if name.endswith("parquet"):
        pyarrow = pytest.importorskip("pyarrow.parquet")
        rows = pyarrow.read_table(name).to_pylist()
        ids, fluxes, missing = zip(
            *((row["diaSourceId"], row["psfFlux"], row["diaObjectId"] is None) for row in rows), strict=True
        )
    else:
        table = Table.read(name)
        ids, fluxes = table["diaSourceId"].tolist(), table["psfFlux"].tolist()
        missing = tuple(value is None for value in table["diaObjectId"].tolist())
    assert list(ids) == [LARGE, 8, 9]
    assert list(fluxes) == [-800.0, 1000.0, 1000.0]
    assert tuple(missing) == (False, True, False)


def test_a_table_of_two_surveys_or_another_kind_is_refused(files, capsys, shared_data):
    ztf = str(next((shared_data / "alerts" / "ztf").iterdir()))
    assert main(["alerts", "export", files[0], ztf, "--output", "a.fits"]) == 1
    assert "the detections of one survey, found lsst and ztf" in capsys.readouterr().err
    assert main(["alerts", "export", files[0], "--output", "a.xls"]) == 1
    assert "written as .parquet, .ecsv, .fits, found 'a.xls'" in capsys.readouterr().err


def test_real_alerts_of_ztf_become_a_table(capsys, shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = sorted(map(str, (shared_data / "alerts" / "ztf").iterdir()))
    assert main(["alerts", "export", *paths, "--output", "a.ecsv"]) == 0
    table = Table.read("a.ecsv")
    found = [next(read_packets(path)).record for path in paths]
    assert table["candid"].tolist() == [record["candid"] for record in found]
    assert table["objectId"].tolist() == [record["objectId"] for record in found]


def test_alerts_are_sent_again_at_a_bounded_rate(files, capsys, tmp_path):
    began = time.monotonic()
    assert main(["alerts", "replay", *files, "--sink", "files", "--rate", "20"]) == 0
    assert time.monotonic() - began >= 2 / 20
    assert capsys.readouterr().err == "3 alerts sent to files, 0 not\n"
    names = sorted(path.name for path in (tmp_path / "here" / "replayed").iterdir())
    assert names == [f"12_3_{LARGE}.avro", "12_3_8.avro", "14_3_9.avro"]
    assert main(["alerts", "replay", *files, "--sink", "files", "--rate", "0"]) == 1
    assert "--rate must be positive" in capsys.readouterr().err


def test_foreign_alerts_are_sent_as_they_are(tmp_path, monkeypatch, capsys, shared_data):
    monkeypatch.chdir(tmp_path)
    path = shared_data / "alerts" / "ztf" / "2475433850015010009.avro"
    assert main(["alerts", "replay", str(path), "--sink", "files"]) == 0
    (again,) = read_packets(tmp_path / "replayed" / "2475433850015010009.avro")
    assert again.record == next(read_packets(path)).record


def test_text_from_alerts_does_not_reach_the_terminal_raw(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_alerts("a.avro", [packet(7, band="\x1b[2J/../$x")])
    assert main(["alerts", "show", "a.avro"]) == 0
    assert main(["alerts", "validate", "a.avro", "\x1b[31m.avro"]) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert [path.name for path in tmp_path.glob("*.png")] == ["alert_7.png"]


def test_times_of_alerts_are_reported(astra_root, capsys):
    source = packet(7)["diaSource"] | {"diaSourceId": 7}
    with transaction(database_url()) as connection:
        record_written(connection, ("cam", 12, 3), [source], source["midpointMjdTai"] + 75 / 86400)
    assert main(["alerts", "timing"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["associated", "1", "45.0", "45.0", "45.0"]
    assert lines[2].split() == ["written", "1", "60.0", "60.0", "60.0"]
    assert main(["alerts", "timing", "--visit", "13..15"]) == 0
    assert capsys.readouterr().out == "no alert has been written\n"
    with sqlite3.connect(astra_root / "astra.db") as connection:
        connection.execute(
            "INSERT INTO alert_outbox (sink, diaSourceId, partition_key, instrument, visit, detector, "
            "midpointMjdTai, path, digest, size, status_code, n_attempts, created, sentMjdTai) VALUES "
            "('kafka', 7, 7, 'cam', 12, 3, 60000.25, '/a', 'd', 9, 1, 1, '2026-11-01', ?)",
            [source["midpointMjdTai"] + 105 / 86400],
        )
    assert main(["alerts", "timing", "--json", "--visit", "12", "--instrument", "cam"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outbox"] == {"kafka": {"sent": 1}}
    assert found["steps"][2]["step"] == "sent to kafka"
    assert found["steps"][2]["max_s"] == pytest.approx(90, abs=1e-4)
    assert main(["alerts", "timing", "--visit", "x"]) == 1
