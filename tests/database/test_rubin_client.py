"""Rubin's own client on our database: the tables that it makes are ours, and it reads what we store."""

import csv
import gc
import json
import warnings

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.time import Time
from lsst.dax.apdb import (
    Apdb,
    ApdbMetadata,
    ApdbReplica,
    ApdbSql,
    ApdbSqlConfig,
    ApdbTables,
    DiaObjectId,
    DiaSourceId,
)

from astra.database import apdb
from astra.database.apdb_replica import CHUNK_SECONDS
from astra.database.engine import open_engine
from astra.database.models.apdb import METADATA_ROWS, update_record_chunks
from astra.sky.regions import contains, convex_hull
from tests.conftest import PROJECT
from tests.database.apdb_visits import BASE, EPOCH, store

REPLICA = ("ApdbReplicaChunks", "ApdbUpdateRecordChunks")
TABLES = (
    *("DiaObject", "DiaSource", "DiaForcedSource", "DiaObject_To_Object_Match", "metadata"),
    *("DiaObjectChunks", "DiaSourceChunks", "DiaForcedSourceChunks"),
    *REPLICA,
)
REGION = convex_hull([10.0 - 1e-4, 10.0 + 5.5 / 720, 10.0 + 5.5 / 720, 10.0 - 1e-4], [4.9, 4.9, 5.1, 5.1])
NOW = 61000.0


@pytest.fixture
def filled(any_database_url):
    """URL of a database with three visits: objects 0 to 5 are in the region, 6 to 8 are not."""
    engine = open_engine(any_database_url)
    with engine.begin() as connection:
        store(connection, 1, [0, 1, 2, 6], [0, 1, 2, 6])
        store(connection, 2, [1, 3, 7], [0, 1, 2, 3, 6, 7])
        store(connection, 3, [0, 4, 5, 8], range(9))
    engine.dispose()
    return any_database_url


def client_config(url):
    """Configuration of the client, without a pool: it never closes its connections."""
    return ApdbSqlConfig(db_url=url, connection_config={"connection_pool": False})


def init_database(url, **options):
    """Make the tables as ``apdb-cli create-sql --enable-replica`` does; it leaves a connection open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        ApdbSql.init_database(url, enable_replica=True, **options)
        gc.collect()


def layout(engine, schema=None):
    """Columns, keys, indexes and references of the tables, as the database tells them."""
    inspector = sa.inspect(engine)
    found = {}
    for name in TABLES:
        columns = [
            (column["name"], column["type"].compile(engine.dialect), column["nullable"], column["default"])
            for column in inspector.get_columns(name, schema=schema)
        ]
        indexes = {
            index["name"]: (index["column_names"], bool(index["unique"]))
            for index in inspector.get_indexes(name, schema=schema)
        }
        references = sorted(
            [
                *(key["name"], key["constrained_columns"], key["referred_table"], key["referred_columns"]),
                *(key["options"].get("ondelete"), key["options"].get("onupdate")),
            ]
            for key in inspector.get_foreign_keys(name, schema=schema)
        )
        primary = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
        found[name] = {"columns": columns, "key": primary, "indexes": indexes, "references": references}
    return found


def test_the_tables_are_those_that_rubins_client_makes(any_database_url, tmp_path):
    ours = open_engine(any_database_url)
    if ours.dialect.name == "postgresql":
        theirs, schema = ours, "rubin"
        with ours.begin() as connection:
            connection.execute(sa.schema.CreateSchema(schema))
        init_database(any_database_url, namespace=schema)
    else:
        url, schema = f"sqlite:///{tmp_path / 'rubin.db'}", None
        init_database(url)
        theirs = open_engine(url)
    found, expected = layout(ours), layout(theirs, schema)
    # No table of solar-system objects, sources or orbits: the published schema describes them for alerts.
    assert set(sa.inspect(theirs).get_table_names(schema=schema)) == set(TABLES)
    table = sa.table("metadata", sa.column("name"), sa.column("value"), schema=schema)
    with theirs.connect() as connection:
        metadata_rows = dict(tuple(row) for row in connection.execute(sa.select(table)))
    for engine in {ours, theirs}:
        engine.dispose()
    del found["DiaObject"]["indexes"]["ix_DiaObject_current"]  # one index of ours beside theirs
    for name in TABLES:
        if name.endswith("Chunks"):  # their keys have theirs' columns in an order that grows at its end
            for one in (found[name], expected[name]):
                one["key"] = sorted(one["key"])
        if name == "ApdbReplicaChunks":  # SQLite lets their key be null, and refuses it in ours
            expected[name]["columns"][0] = (*expected[name]["columns"][0][:2], False, None)
        assert found[name] == expected[name], name
    assert metadata_rows == METADATA_ROWS


def test_columns_and_units_are_those_of_the_reference():
    path = PROJECT.parent / "shared" / "reference" / "apdb_columns_10_0_0.tsv"
    if not path.is_file():
        pytest.skip("the reference is not beside the project (../shared/reference)")
    from astra.database.models import metadata

    tables = {}
    with path.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            tables.setdefault(row["table"], []).append(row)
    for name in TABLES[:5]:
        columns = [column for column in metadata.tables[name].columns if column.name != "pixelId"]
        assert [column.name for column in columns] == [row["column"] for row in tables[name]]
        for column, row in zip(columns, tables[name], strict=True):
            assert column.nullable is (row["nullable"] == "True"), column
            if row["unit"] or not column.name.endswith("MjdTai"):  # there only one of our times has its unit
                assert column.comment == (f"[{row['unit']}]" if row["unit"] else None), column


def test_rubins_client_reads_the_objects_of_a_region(filled):
    client = Apdb.from_config(client_config(filled))
    objects = client.getDiaObjects(REGION).sort_values("diaObjectId")
    engine = open_engine(filled)
    with engine.connect() as connection:
        ours = apdb.load_dia_objects(connection, REGION)
    engine.dispose()
    assert ours["diaObjectId"].tolist() == [BASE + number for number in range(6)]
    inside = objects[contains(REGION, objects["ra"], objects["dec"])]  # their cut is that of whole HTM ranges
    for name in ours.dtype.names:
        assert inside[name].tolist() == ours[name].tolist(), name
    assert objects["validityStartMjdTai"].max() == EPOCH + 3
    assert client.countUnassociatedObjects() == 7


def test_rubins_client_reads_detections_and_forced_measurements(filled):
    client = Apdb.from_config(client_config(filled))
    ids = [BASE + number for number in range(6)]
    visit_time = Time(EPOCH + 4, format="mjd", scale="tai")
    sources = client.getDiaSources(REGION, ids, visit_time)
    forced = client.getDiaForcedSources(REGION, ids, visit_time)
    engine = open_engine(filled)
    with engine.connect() as connection:
        ours = apdb.read_region(connection, REGION, time_mjd_tai=EPOCH + 4)
    engine.dispose()
    for theirs, own, key in (
        (sources, ours.dia_sources, "diaSourceId"),
        (forced, ours.forced, "diaForcedSourceId"),
    ):
        assert len(own) > 0
        found = theirs.sort_values(key)
        for name in own.dtype.names:
            expected = np.sort(own, order=key)[name]
            assert found[name].astype(expected.dtype).tolist() == expected.tolist(), name
    in_region = client.getDiaSources(REGION, None, visit_time)
    assert set(sources["diaSourceId"]) <= set(in_region["diaSourceId"])
    assert client.containsVisitDetector(2, 1, REGION, visit_time)
    assert not client.containsVisitDetector(2, 7, REGION, visit_time)


@pytest.mark.filterwarnings("ignore:The Row._tuple:sqlalchemy.exc.SADeprecationWarning")  # theirs
def test_rubins_client_reads_the_metadata(filled):
    metadata = Apdb.from_config(client_config(filled)).metadata
    assert isinstance(metadata, ApdbMetadata)
    assert dict(metadata.items()) == METADATA_ROWS
    assert json.loads(metadata.get("config:apdb-sql.json"))["enable_replica"] is True


def test_rubins_replication_reads_chunks_and_updates(filled):
    engine = open_engine(filled)
    with engine.begin() as connection:
        source = int(apdb.load_sources(connection, [BASE + 2])["diaSourceId"][0])
        apdb.merge_objects(connection, {BASE + 2: BASE + 3}, time_mjd_tai=NOW)
        apdb.withdraw_forced_sources(connection, [(BASE, 1, 1)], time_mjd_tai=NOW)
        apdb.reassign_to_ss_objects(connection, {source: 9}, time_mjd_tai=NOW)
        other = int(apdb.load_sources(connection, [BASE + 4])["diaSourceId"][0])
        apdb.withdraw_sources(connection, [other], time_mjd_tai=NOW)
        payloads = connection.execute(sa.select(update_record_chunks.c.update_payload)).scalars().all()
    engine.dispose()
    replica = ApdbReplica.from_config(client_config(filled))
    chunks = sorted(replica.getReplicaChunks(), key=lambda chunk: chunk.id)
    assert all(chunk.id % CHUNK_SECONDS == 0 for chunk in chunks)
    times = [chunk.last_update_time.unix_tai - chunk.id for chunk in chunks]
    assert all(0 <= seconds < CHUNK_SECONDS for seconds in times)
    numbers = [chunk.id for chunk in chunks]
    lengths = {
        table: len(replica.getTableDataChunks(table, numbers).rows())
        for table in (ApdbTables.DiaObject, ApdbTables.DiaSource, ApdbTables.DiaForcedSource)
    }
    assert list(lengths.values()) == [11, 11, 19]
    assert len(replica.getTableDataChunks(ApdbTables.DiaSource, numbers[:1]).rows()) == 4
    records = replica.getUpdateRecordChunks(numbers)
    assert {record.update_type for record in records} == {
        *("reassign_diasource_to_diaobject", "reassign_diasource_to_ssobject", "withdraw_diasource"),
        *("withdraw_diaforcedsource", "close_diaobject_validity", "update_n_dia_sources"),
    }

    def in_order(texts):
        return sorted(json.dumps(json.loads(text), sort_keys=True) for text in texts)

    assert in_order(record.to_json() for record in records) == in_order(payloads)


def test_our_corrections_change_what_rubins_would(filled, tmp_path):
    """The same merge by both: rows of detections and objects are the same after it."""
    engine = open_engine(filled)
    client = Apdb.from_config(client_config(filled))
    statement = sa.text('SELECT "diaSourceId", "diaObjectId" FROM "DiaSource" ORDER BY "diaSourceId"')
    counts = sa.text(
        'SELECT "diaObjectId", "nDiaSources" FROM "DiaObject" WHERE "validityEndMjdTai" IS NULL '
        'ORDER BY "diaObjectId"'
    )
    with engine.connect() as connection, connection.begin() as transaction:
        sources = apdb.load_sources(connection, [BASE + 5])
        place = {name: sources[name][0].item() for name in ("diaSourceId", "ra", "dec", "midpointMjdTai")}
        apdb.merge_objects(connection, {BASE + 5: BASE + 3}, time_mjd_tai=NOW)
        ours = [connection.execute(one).all() for one in (statement, counts)]
        transaction.rollback()
    client.reassignDiaSourcesToDiaObjects({DiaSourceId(**place): BASE + 3})
    loser = DiaObjectId(diaObjectId=BASE + 5, ra=place["ra"], dec=place["dec"])
    client.setValidityEnd([loser], Time(NOW, format="mjd", scale="tai"))
    with engine.connect() as connection:
        theirs = [connection.execute(one).all() for one in (statement, counts)]
    engine.dispose()
    assert ours == theirs
