"""The tables of the Rubin APDB: our models, our migration and the published schema agree."""

from importlib import resources

import pytest
import sqlalchemy as sa
import yaml
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from astra.database.models import apdb, metadata
from astra.database.revision import _config, upgrade

SPELLING = {
    "long": sa.BigInteger,
    "int": sa.Integer,
    "short": sa.SmallInteger,
    "double": sa.Double,
    "float": sa.REAL,
    "boolean": sa.Boolean,
    "char": sa.CHAR,
    "string": sa.String,
    "text": sa.Text,
}
TABLES = ("DiaObject", "DiaSource", "DiaForcedSource", "DiaObject_To_Object_Match", "metadata")


@pytest.fixture(scope="module")
def published():
    text = resources.files("lsst.sdm.schemas").joinpath("apdb.yaml").read_text()
    schema = yaml.safe_load(text)
    return {"version": schema["version"], **{table["name"]: table for table in schema["tables"]}}


@pytest.fixture
def engine(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'astra.db'}")
    yield engine
    engine.dispose()


def test_schema_version_is_the_published_one(published):
    version = published["version"]
    assert (version["current"] if isinstance(version, dict) else version) == apdb.SCHEMA_VERSION


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_those_of_the_published_schema(published, name):
    ours = [column for column in metadata.tables[name].columns if column.name != "pixelId"]
    theirs = published[name]["columns"]
    assert [column.name for column in ours] == [column["name"] for column in theirs]
    for column, expected in zip(ours, theirs, strict=True):
        assert type(column.type) is SPELLING[expected["datatype"]], column.name
        assert column.nullable is expected.get("nullable", True), column.name
        assert getattr(column.type, "length", None) == expected.get("length"), column.name


@pytest.mark.parametrize("name", TABLES)
def test_keys_and_indexes_are_those_of_the_published_schema(published, name):
    table, expected = metadata.tables[name], published[name]

    def short(names):
        names = [names] if isinstance(names, str) else names or []
        return [column.rsplit(".", 1)[1] for column in names]

    assert [column.name for column in table.primary_key] == short(expected.get("primaryKey"))
    ours = {index.name: [column.name for column in index.columns] for index in table.indexes}
    for index in expected.get("indexes", []):
        assert ours[index["name"]] == short(index["columns"])


def test_migration_makes_the_tables_of_the_models(engine):
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migration_writes_the_rows_that_rubins_client_needs(engine):
    upgrade(engine)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(apdb.apdb_metadata)).all()
    assert dict(tuple(row) for row in rows) == apdb.METADATA_ROWS


def test_downgrade_takes_the_tables_away(engine):
    upgrade(engine)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0002")
    assert not set(TABLES) & set(sa.inspect(engine).get_table_names())


def test_no_key_is_a_sequence_on_postgresql():
    for name in (*TABLES, "apdb_marker"):
        ddl = str(CreateTable(metadata.tables[name]).compile(dialect=postgresql.dialect()))
        assert "SERIAL" not in ddl
