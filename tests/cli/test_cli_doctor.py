"""``astra doctor``: each thing that can be wrong is found, with its remedy."""

import configparser
import json
import sqlite3
import sys
from collections import namedtuple
from pathlib import Path

import luigi
import pytest

from astra.cli import doctor, main
from tests.conftest import free_port
from tests.tasks.night import build
from tests.tasks.toy_tasks import Toy


def findings(capsys, status=0):
    assert main(["doctor", "--json"]) == status
    return {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}


def only(check):
    (finding,) = check()
    return finding


def test_a_good_place_has_no_problem(astra_root, capsys):
    build(Toy(number=1))
    found = findings(capsys)
    assert {finding["verdict"] for finding in found.values()} <= {"ok", "note"}
    assert "at revision" in found["database"]["found"]
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith("ok       Python: 3.")


def test_looking_makes_nothing(astra_root, monkeypatch):
    monkeypatch.setenv("ASTRA_ROOT", str(astra_root / "new" / "root"))
    assert main(["doctor"]) == 0
    assert list(astra_root.iterdir()) == []


def test_a_wrong_python_is_found(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 1, "final", 0))
    finding = only(doctor.check_python)
    assert (finding.verdict, finding.remedy) == ("problem", "make an environment with Python 3.11 to 3.13")


def test_the_python_versions_are_those_of_the_package():
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).resolve().parents[2] / "setup.cfg")
    first, below = (".".join(map(str, version)) for version in (doctor.PYTHON_FROM, doctor.PYTHON_BELOW))
    assert parser["options"]["python_requires"] == f">={first},<{below}"


def test_an_unwritable_root_and_a_full_disk_are_found(astra_root, monkeypatch):
    monkeypatch.setenv("ASTRA_ROOT", "/proc/astra")
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(5e8))
    root, disk = doctor.check_root()
    assert root.verdict == disk.verdict == "problem"
    assert "another folder in ASTRA_ROOT" in root.remedy
    assert "0.5 GB free" in disk.found


def test_an_old_database_is_told_to_upgrade(astra_root, capsys):
    build(Toy(number=1))
    with sqlite3.connect(astra_root / "astra.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    found = findings(capsys, status=1)
    assert found["database"]["remedy"] == "astra db upgrade"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql+psycopg://a:secret@127.0.0.1:1/x", "start it, or"),
        ("sqlite:///:memory:", "correct ASTRA"),
    ],
)
def test_a_database_that_cannot_be_used_is_found(astra_root, monkeypatch, url, remedy):
    monkeypatch.setenv("ASTRA_DATABASE_URL", url)
    finding = only(doctor.check_database)
    assert finding.verdict == "problem"
    assert remedy in finding.remedy
    assert "secret" not in finding.found


def test_a_missing_extra_is_a_problem_only_where_it_is_needed(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    monkeypatch.delenv("ASTRA_DATABASE_URL", raising=False)
    assert {finding.verdict for finding in doctor.check_extras()} == {"note"}
    monkeypatch.setenv("ASTRA_DATABASE_URL", "postgresql+psycopg://a@127.0.0.1/x")
    verdicts = {finding.name: finding for finding in doctor.check_extras()}
    assert verdicts["extra postgres"].verdict == "problem"
    assert verdicts["extra postgres"].remedy == 'pip install ".[postgres]"'


@pytest.mark.parametrize("folder", ["", "/proc/numba"])
def test_a_numba_cache_that_cannot_be_written_is_found(monkeypatch, folder):
    monkeypatch.setenv("NUMBA_CACHE_DIR", folder)
    assert only(doctor.check_numba_cache).verdict == "problem"


@pytest.fixture
def core(monkeypatch):
    """Set options of Luigi's section [core], and take them back."""
    read = luigi.configuration.get_config()
    before = dict(read.items("core", raw=True))

    def set_options(**options):
        for name, value in options.items():
            read.set("core", name, str(value))

    yield set_options
    for name in set(read.options("core")) - set(before):
        read.remove_option("core", name)


def test_a_scheduler_that_is_configured_must_answer(core, luigid):
    core(scheduler_host="127.0.0.1", scheduler_port=luigid)
    assert only(doctor.check_scheduler).found == f"127.0.0.1:{luigid} answers"
    port = free_port()
    core(scheduler_url=f"http://127.0.0.1:{port}")
    finding = only(doctor.check_scheduler)
    assert finding.verdict == "problem"
    assert f"luigid --address 127.0.0.1 --port {port}" in finding.remedy


def test_an_option_of_luigi_that_cannot_be_read_is_found(core):
    core(scheduler_port="many")
    assert "scheduler_port" in only(doctor.check_scheduler).found


def test_a_scheduler_need_not_be_configured(core):
    assert only(doctor.check_scheduler).verdict == "note"
    core(local_scheduler="true")
    assert only(doctor.check_scheduler).verdict == "ok"
