"""What the members of a batch have in common is stored once, and read back with what is their own."""

import datetime as dt
import json

import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from astra.database.bulk import execute_rows
from astra.database.constants import constants_table
from astra.database.engine import get_engine, reading, transaction
from astra.database.lineage import report_task
from astra.database.models.state import Task
from astra.database.plan import plan_tasks
from astra.database.revision import _config
from astra.database.selection import Selection
from astra.database.state import TaskRecord, insert_run, task_table
from astra.database.stored import get_stored_task
from astra.database.task_rows import query_tasks

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
COMMON = {"instrument": "sdss", "note": 'a "quoted" \\ text, { }'}


def plan(url, records):
    run = {"command": "", "host": "", "pid": 1, "version": "", "packages": {}, "configuration": {}}
    with transaction(url) as connection:
        run_pk = insert_run(connection, {**run, "started": NOW})
        plan_tasks(connection, records, run_pk, NOW)


def members(number):
    return [TaskRecord(f"T_{i}", "T", "m", {"visit": str(i)}, "1", None, COMMON) for i in range(number)]


def test_a_batch_stores_its_constants_once(any_database_url):
    plan(any_database_url, [*members(20), TaskRecord("S_1", "S", "m", {"x": "1"}, "1")])
    plan(any_database_url, members(3))  # again, in another transaction
    with reading(any_database_url) as connection:
        assert connection.execute(select(constants_table.c.parameters)).scalars().all() == [COMMON]
        own = connection.execute(select(task_table.c.parameters).where(task_table.c.family == "T"))
        assert own.scalars().all() == [{"visit": str(i)} for i in range(20)]


def test_readers_see_all_parameters(any_database_url):
    plan(any_database_url, members(2))
    expected = {"visit": "1", **COMMON}
    with reading(any_database_url) as connection:
        assert get_stored_task(connection, "T_1").parameters == expected
        assert report_task(connection, "T_1").task["parameters"] == expected
        night = Selection(night=20260102).conditions()
        assert connection.execute(select(task_table.c.pk).where(*night)).all() == []
    query = query_tasks(any_database_url, {"task_id": "T_1"})
    row: Task = query.one()
    assert row.all_parameters == expected
    query.session.close()


def test_the_views_of_the_classic_schema_have_all_parameters(any_database_url):
    plan(any_database_url, members(2))
    with reading(any_database_url) as connection:
        pairs = "SELECT task_id, parameter_name, parameter_value FROM task_parameter ORDER BY 1, 2"
        found = [tuple(row) for row in connection.execute(text(pairs))]
        assert found == [
            (f"T_{i}", name, value)
            for i in range(2)
            for name, value in sorted({"visit": str(i), **COMMON}.items())
        ]
        names = connection.execute(text("SELECT parameter_name FROM parameter ORDER BY 1")).scalars().all()
        assert names == ["instrument", "note", "visit", "visit"]
        state = connection.execute(text("SELECT state FROM task_state WHERE task_id = 'T_1'")).scalar_one()
        assert state == "created"


def test_going_back_a_revision_keeps_the_parameters(any_database_url):
    plan(any_database_url, members(2))
    engine = get_engine(any_database_url)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "0005")
        rows = connection.execute(text("SELECT parameters FROM task WHERE task_id = 'T_1'")).scalar_one()
    assert (json.loads(rows) if isinstance(rows, str) else rows) == {"visit": "1", **COMMON}


@pytest.fixture(scope="module")
def scratch(postgresql_server):
    """A table of texts and numbers on PostgreSQL."""
    from sqlalchemy import Column, Float, Integer, MetaData, String, Table, create_engine

    engine = create_engine(f"{postgresql_server}/postgres")
    kept = Table(
        "scratch",
        MetaData(),
        Column("number", Integer),
        Column("word", String),
        Column("amount", Float),
        prefixes=["TEMPORARY"],
    )
    with engine.connect() as connection:
        kept.create(connection)
        yield connection, kept
    engine.dispose()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
            | st.sampled_from(["NULL", "null", "", '"', "\\", "{}", ",", "a b", "%s", "%(x)s"])
            | st.none(),
            st.floats(allow_nan=False) | st.none(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_text_and_number_reaches_postgresql_as_it_is(scratch, values):
    connection, kept = scratch
    connection.execute(kept.delete())
    rows = [{"number": i, "word": word, "amount": amount} for i, (word, amount) in enumerate(values)]
    execute_rows(connection, kept.insert(), rows)
    found = connection.execute(select(kept.c.word, kept.c.amount).order_by(kept.c.number)).all()
    assert [tuple(row) for row in found] == values
