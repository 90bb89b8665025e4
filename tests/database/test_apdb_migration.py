"""Revision 0012 on a database that visits have been stored in, on SQLite and PostgreSQL."""

import pytest
import sqlalchemy as sa
from alembic import command

from astra.database import apdb
from astra.database.engine import open_engine
from astra.database.models.apdb import METADATA_ROWS, apdb_marker, apdb_metadata, dia_object, dia_source
from astra.database.revision import _config, schema_differences, upgrade
from tests.database.apdb_visits import BASE, CHUNKS, EPOCH, dump, make_visit, store, versions

# When visits were processed: the third before the second, whose second detector came last.
CLOCK = {(1, 1): 61001.0, (3, 1): 61002.0, (2, 1): 61003.0, (2, 2): 61004.0}
VERSION = {"ra": 10.0, "dec": 5.0, "pixelId": 1}
OLD_CONFIG = METADATA_ROWS["config:apdb-sql.json"].replace("true", "false")


@pytest.fixture
def engine(any_database_url):
    engine = open_engine(any_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def old(engine):
    """A database at revision 0011, in which object 0 has a version by the clock for each visit."""
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0011")
        counts = {f"{band}_psfFluxNdata": 0 for band in "ugrizy"}
        previous = None
        for number, ((visit, detector), now) in enumerate(CLOCK.items(), start=1):
            marker, sources, _ = make_visit(visit, [0], detector=detector, now=now)
            names = list(sources.dtype.names)
            row = dict(zip(names, sources[0].tolist(), strict=True))
            connection.execute(sa.insert(dia_source), row)
            connection.execute(sa.insert(apdb_marker), marker.__dict__)
            start = dia_object.c.validityStartMjdTai
            close = sa.update(dia_object).where(start == previous).values(validityEndMjdTai=now)
            connection.execute(close)
            version = VERSION | counts | {"diaObjectId": BASE, "validityStartMjdTai": now}
            connection.execute(sa.insert(dia_object), version | {"nDiaSources": number})
            previous = now
    return engine


def test_versions_by_the_clock_become_versions_by_the_midpoint(old):
    upgrade(old)
    with old.connect() as connection:
        found = versions(connection, 0)
    # The current version is still the one that knows all; the two detectors of visit 2 share one.
    assert found == [
        (EPOCH + 1, EPOCH + 2, 1),
        (EPOCH + 2, EPOCH + 3, 2),
        (EPOCH + 3, None, 4),
    ]


def test_a_migrated_database_has_the_tables_of_the_models_and_takes_visits(old):
    upgrade(old)
    assert schema_differences(old) == []
    with old.begin() as connection:
        rows = dict(tuple(row) for row in connection.execute(sa.select(apdb_metadata)))
        store(connection, 4, [0, 1], [0, 1])
        assert versions(connection, 0)[-1] == (EPOCH + 4, None, 5)
        assert len(apdb.load_sources(connection, [BASE])) == 5
    assert rows == METADATA_ROWS


def test_downgrade_takes_the_new_tables_away_and_keeps_the_rows(engine):
    with engine.begin() as connection:
        store(connection, 1, [0, 1], [0, 1])
        command.downgrade(_config(connection), "0011")
    names = sa.inspect(engine).get_table_names()
    assert not {name for name in names if "Chunks" in name or name.startswith("dia_object_")}
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(dia_source)).scalar() == 2
        rows = dict(tuple(row) for row in connection.execute(sa.select(apdb_metadata)))
    assert rows["config:apdb-sql.json"] == OLD_CONFIG
    assert "version:ApdbSqlReplica" not in rows
    upgrade(engine)
    assert schema_differences(engine) == []


def chunk_keys(engine):
    return {t.name: sa.inspect(engine).get_pk_constraint(t.name)["constrained_columns"] for t in CHUNKS}


def test_chunk_tables_change_their_keys_and_keep_their_rows(engine):
    with engine.begin() as connection:
        store(connection, 1, [0, 1], [0, 1])
        store(connection, 2, [0], [0, 1])
        before = dump(connection, CHUNKS)
    keys = chunk_keys(engine)
    assert keys["DiaForcedSourceChunks"] == ["visit", "detector", "diaObjectId"]
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0016")
    assert chunk_keys(engine)["DiaForcedSourceChunks"] == ["diaObjectId", "visit", "detector"]
    upgrade(engine)
    assert (chunk_keys(engine), schema_differences(engine)) == (keys, [])
    with engine.begin() as connection:
        assert dump(connection, CHUNKS) == before
        apdb.remove_visit(connection, "camera", 2, 1)  # rows of chunks go with what they refer to
        left = [len(rows) for rows in dump(connection, CHUNKS).values()]
    assert left == [2, 2, 2]
