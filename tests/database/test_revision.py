"""Migrations: they equal the models, on both databases; a wrong revision is refused."""

import sqlite3
import subprocess
import sys

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from astra.database.engine import get_engine, mask_url, open_engine
from astra.database.models import metadata
from astra.database.revision import (
    _config,
    _revisions,
    current_revision,
    head_revision,
    new_sqlite_statements,
    require_head,
    upgrade,
)
from astra.errors import ConfigError, SchemaVersionError, UnavailableError
from tests.database.new_sqlite import migrated_statements, statements_of


def test_migrations_equal_the_models(any_database_url):
    engine = get_engine(any_database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_every_migration_can_be_taken_back(any_database_url):
    engine = get_engine(any_database_url)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    upgrade(engine)
    assert current_revision(engine) == head_revision()


def test_a_new_sqlite_file_is_made_by_itself(tmp_path):
    engine = get_engine(f"sqlite:///{tmp_path}/deep/folder/new.db")
    assert current_revision(engine) == head_revision()


def test_a_new_sqlite_file_is_what_all_migrations_make(tmp_path):
    get_engine(f"sqlite:///{tmp_path}/new.db")
    migrated = migrated_statements()
    assert migrated == new_sqlite_statements(), "run: python -m tests.database.new_sqlite"
    with sqlite3.connect(tmp_path / "new.db") as connection:
        assert statements_of(connection) == migrated


def test_the_revisions_are_those_of_alembic():
    scripts = ScriptDirectory.from_config(_config())
    assert head_revision() == scripts.get_current_head()
    assert _revisions() == tuple(script.revision for script in scripts.walk_revisions())[::-1]


def test_an_empty_postgresql_database_is_refused(postgresql_server):
    engine = open_engine(f"{postgresql_server}/postgres")
    with pytest.raises(SchemaVersionError, match=r"has no astra tables.*run: astra db upgrade"):
        require_head(engine)
    engine.dispose()


def test_somebody_elses_sqlite_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (x)")
    with pytest.raises(SchemaVersionError, match="has no astra tables"):
        get_engine(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]


def test_a_revision_of_the_future_is_not_told_to_upgrade(tmp_path):
    path = tmp_path / "future.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(SchemaVersionError, match="does not know the other"):
        get_engine(f"sqlite:///{path}")
    with pytest.raises(SchemaVersionError, match="does not know the other"):
        upgrade(open_engine(f"sqlite:///{path}"))


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "noise.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(UnavailableError, match=r"noise\.db cannot be read"):
        get_engine(f"sqlite:///{path}")


def test_passwords_are_never_shown():
    url = "postgresql+psycopg://user:secret@127.0.0.1:1/nothing"
    assert "secret" not in mask_url(url)
    with pytest.raises(UnavailableError) as caught:
        get_engine(url)
    assert "secret" not in str(caught.value)


def test_a_url_that_is_none_is_a_configuration_error():
    with pytest.raises(ConfigError, match="not a database URL"):
        get_engine("astra.db")


def test_two_processes_may_open_a_new_file_at_once(tmp_path):
    code = f"from astra.database.engine import get_engine; get_engine('sqlite:///{tmp_path}/shared.db')"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
