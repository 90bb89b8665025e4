"""The command `astra`."""

import json

import pytest

from astra.cli import main
from tests.tasks.night import build
from tests.tasks.toy_tasks import Double, Toy


def test_status_counts_members_by_state(astra_root, capsys):
    build(Double(number=(1, 2, 3), refuse=2))
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"database sqlite:///{astra_root}/astra.db"
    assert lines[1].split() == ["task", "done", "failed", "blocked", "running", "pending", "total"]
    assert lines[2].split() == ["Toy", "2", "1", "0", "0", "0", "3"]
    assert lines[3].split() == ["Double", "2", "0", "1", "0", "0", "3"]
    assert any("number 2 is refused" in line for line in lines[4:])


def test_status_speaks_json(astra_root, capsys):
    build(Toy(number=1))
    assert main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["families"] == [
        {"family": "Toy", "done": 1, "failed": 0, "blocked": 0, "running": 0, "pending": 0, "total": 1}
    ]
    assert report["failures"] == []


def test_looking_makes_no_database(astra_root, capsys):
    assert main(["status"]) == 1
    assert "there is no database" in capsys.readouterr().err
    assert not (astra_root / "astra.db").exists()


def test_another_root_can_be_looked_at(astra_root, tmp_path_factory, monkeypatch, capsys):
    build(Toy(number=1))
    monkeypatch.setenv("ASTRA_ROOT", str(tmp_path_factory.mktemp("elsewhere")))
    assert main(["--root", str(astra_root), "status"]) == 0
    assert "Toy" in capsys.readouterr().out


def test_upgrade_prepares_a_database(postgresql_server, monkeypatch, capsys):
    from sqlalchemy import create_engine, text

    admin = create_engine(f"{postgresql_server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE fresh"))
    admin.dispose()
    monkeypatch.setenv("ASTRA_DATABASE_URL", f"{postgresql_server}/fresh")
    assert main(["db", "upgrade"]) == 0
    assert "revision none -> " in capsys.readouterr().out
    assert main(["db", "current"]) == 0
    assert main(["status"]) == 0
    assert "no task has run yet" in capsys.readouterr().out


def test_wrong_usage_exits_with_two():
    with pytest.raises(SystemExit) as caught:
        main(["stat"])
    assert caught.value.code == 2
