"""A copy of the APDB, made chunk by chunk with Rubin's client, stays true when visits come late or again."""

import dataclasses

import pytest
import sqlalchemy as sa
from lsst.dax.apdb import ApdbReplica, ApdbSqlConfig, ApdbTables

from astra.database.engine import open_engine
from astra.database.models import metadata
from astra.database.models.apdb import (
    METADATA_ROWS,
    apdb_metadata,
    dia_forced_source,
    dia_object,
    dia_source,
    update_record_chunks,
)
from astra.tasks.association_steps import associate_in_order
from tests.tasks.association_worker import MEMBERS, detector_visit

TABLES = {
    ApdbTables.DiaObject: dia_object,
    ApdbTables.DiaSource: dia_source,
    ApdbTables.DiaForcedSource: dia_forced_source,
}
HOUR = 1 / 24


class Copy:
    """What one has who reads every chunk once it is older than that of now, and each only once."""

    def __init__(self, url):
        self.client = ApdbReplica.from_config(
            ApdbSqlConfig(db_url=url, connection_config={"connection_pool": False})
        )
        self.rows = {table: {} for table in TABLES}
        self.have = set()

    def catch_up(self):
        """Read the chunks that are new: rows replace those of the same key, then the updates in order."""
        new = sorted({chunk.id for chunk in self.client.getReplicaChunks()} - self.have)
        for chunk in new:
            for table, model in TABLES.items():
                data = self.client.getTableDataChunks(table, [chunk])
                for values in data.rows():
                    row = dict(zip(data.column_names(), values, strict=True))
                    row.pop("apdb_replica_chunk")
                    self.rows[table][tuple(row[column.name] for column in model.primary_key)] = row
            for record in self.client.getUpdateRecordChunks([chunk]):
                self.apply(record)
        self.have |= set(new)
        return new

    def apply(self, record):
        """Change the row that a record names: of an object the last version."""
        wanted = dict(record.record_id())
        table = self.rows[record.apdb_table]
        found = [key for key in sorted(table) if all(table[key][n] == v for n, v in wanted.items())]
        assert found, record
        table[found[-1]] |= dict(record.record_payload())

    def state(self):
        """Rows by table and key; a version ends where the next one starts."""
        objects = {}
        for key, row in sorted(self.rows[ApdbTables.DiaObject].items(), reverse=True):
            following = [start for number, start in objects if number == key[0]]
            objects[key] = row | ({"validityEndMjdTai": min(following)} if following else {})
        return {**self.rows, ApdbTables.DiaObject: objects}


def stored(connection, copy):
    """The same of the database itself, with the columns of the copy."""
    found = {}
    for table, model in TABLES.items():
        names = next(iter(copy[table].values())).keys()
        keys = [column.name for column in model.primary_key]
        rows = connection.execute(sa.select(*(model.c[name] for name in names))).mappings()
        found[table] = {tuple(row[name] for name in keys): dict(row) for row in rows}
    return found


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'astra.db'}"
    engine = open_engine(url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        rows = [{"name": name, "value": value} for name, value in METADATA_ROWS.items()]
        connection.execute(sa.insert(apdb_metadata), rows)
    yield engine, url
    engine.dispose()


def visit_at(member, now, n_detections=20):
    """A detector with some of its detections, processed at a time [d]."""
    this = detector_visit(*member)
    rows = this.dia_sources[:n_detections]
    return dataclasses.replace(this, dia_sources=rows, time_processed_mjd_tai=now)


def associate(engine, members, now, **options):
    """Associate detectors, those after them again at the same time."""
    for member in members:
        with engine.begin() as connection:
            associate_in_order(
                connection,
                visit_at(member, now, **options),
                lambda later: visit_at((later.visit, later.detector), now),
            )


def records(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(update_record_chunks)).scalar()


def assert_is_true(engine, copy):
    state = copy.state()
    with engine.connect() as connection:
        expected = stored(connection, state)
    for table in TABLES:
        assert set(state[table]) == set(expected[table]), table
        for key, row in expected[table].items():
            assert state[table][key] == row, (table, key)


@pytest.mark.parametrize("late", [MEMBERS[0], MEMBERS[3]])
def test_a_copy_stays_true_after_a_late_visit(database, late):
    engine, url = database
    copy = Copy(url)
    others = [member for member in MEMBERS if member != late]
    associate(engine, others, 61000.0)
    copy.catch_up()
    assert_is_true(engine, copy)
    associate(engine, [late], 61000.0 + HOUR)
    assert records(engine) > 0
    assert len(copy.catch_up()) == 1
    assert_is_true(engine, copy)


def test_what_counts_after_a_late_visit_is_what_a_clean_run_gives(database, tmp_path):
    engine, _ = database
    associate(engine, MEMBERS[2:], 61000.0)
    associate(engine, MEMBERS[:2], 61000.0 + HOUR)
    clean = open_engine(f"sqlite:///{tmp_path / 'clean.db'}")
    metadata.create_all(clean)
    associate(clean, MEMBERS, 61000.0)
    found = [alive(one) for one in (engine, clean)]
    clean.dispose()
    assert found[0] == found[1]


def alive(engine):
    """Rows that count: not withdrawn, and current versions; without the times of processing."""
    conditions = {
        dia_object: dia_object.c.validityEndMjdTai.is_(None),
        dia_source: dia_source.c.timeWithdrawnMjdTai.is_(None),
        dia_forced_source: dia_forced_source.c.timeWithdrawnMjdTai.is_(None),
    }
    found = []
    with engine.connect() as connection:
        for table, condition in conditions.items():
            columns = [column for column in table.columns if column.name != "timeProcessedMjdTai"]
            query = sa.select(*columns).where(condition).order_by(*table.primary_key.columns)
            found.append(connection.execute(query).all())
    return found


def test_a_further_run_that_finds_the_same_tells_nothing(database):
    engine, url = database
    copy = Copy(url)
    associate(engine, MEMBERS, 61000.0)
    copy.catch_up()
    associate(engine, [MEMBERS[-1], MEMBERS[2]], 61000.0 + HOUR)
    assert records(engine) == 0
    for chunk in copy.catch_up():
        lengths = [len(copy.client.getTableDataChunks(table, [chunk]).rows()) for table in TABLES]
        assert lengths == [0, 0, 0]
    assert_is_true(engine, copy)


def test_what_a_further_run_does_not_find_any_more_stays_as_withdrawn_and_comes_back(database):
    engine, url = database
    copy = Copy(url)
    associate(engine, MEMBERS, 61000.0)
    copy.catch_up()
    before = alive(engine)
    associate(engine, [MEMBERS[-1]], 61000.0 + HOUR, n_detections=8)
    copy.catch_up()
    assert_is_true(engine, copy)
    with engine.connect() as connection:
        gone = dia_source.c.timeWithdrawnMjdTai.is_not(None)
        assert (
            connection.execute(sa.select(sa.func.count()).select_from(dia_source).where(gone)).scalar() == 12
        )
    associate(engine, [MEMBERS[-1]], 61000.0 + 2 * HOUR)
    copy.catch_up()
    assert_is_true(engine, copy)
    assert alive(engine) == before
