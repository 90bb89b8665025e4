"""``astra db``: upgrade, current, check and url."""

import json

import pytest
from sqlalchemy import create_engine, text

from astra.cli import main
from astra.database.engine import open_engine


@pytest.fixture
def database(any_database_url, monkeypatch):
    monkeypatch.setenv("ASTRA_DATABASE_URL", any_database_url)
    return any_database_url


def execute(url, *statements):
    engine = open_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_upgrade_prepares_a_database(postgresql_server, monkeypatch, capsys):
    admin = create_engine(f"{postgresql_server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE fresh"))
    admin.dispose()
    monkeypatch.setenv("ASTRA_DATABASE_URL", f"{postgresql_server}/fresh")
    assert main(["db", "check"]) == 1
    assert "run: astra db upgrade" in capsys.readouterr().err
    assert main(["db", "upgrade"]) == 0
    assert "revision none -> " in capsys.readouterr().out
    assert main(["db", "current"]) == 0
    assert main(["status"]) == 0
    assert "no task has run yet" in capsys.readouterr().out


def test_check_finds_no_difference_in_a_migrated_database(database, capsys):
    execute(database, "CREATE TABLE somebody_elses (x INTEGER)")
    assert main(["db", "check"]) == 0
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "is as it must be" in streams.err


def test_check_names_every_difference(database, capsys):
    execute(
        database,
        "ALTER TABLE run ADD COLUMN extra INTEGER",
        "DROP TABLE task_metadata",
        "DROP INDEX ix_task_attempt_task_pk",
    )
    assert main(["db", "check", "--json"]) == 1
    assert sorted(json.loads(capsys.readouterr().out)["differences"]) == [
        "column run.extra is not known to this code",
        "index task_attempt.ix_task_attempt_task_pk is missing",
        "table task_metadata is missing",
    ]


def test_current_speaks_json(database, capsys):
    assert main(["db", "current", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["revision"] == report["needed"]


def test_the_url_hides_the_password(monkeypatch, capsys):
    monkeypatch.setenv("ASTRA_DATABASE_URL", "postgresql+psycopg://user:secret@127.0.0.1/astra")
    assert main(["db", "url"]) == 0
    assert capsys.readouterr().out == "postgresql+psycopg://user:***@127.0.0.1/astra\n"
    assert main(["db", "url", "--json"]) == 0
    assert "secret" not in capsys.readouterr().out
