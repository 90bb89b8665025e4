"""Members of batches that are planned column by column are the rows that a record for each would make."""

import datetime as dt
import json

import pytest
from sqlalchemy import select

from astra.database.engine import reading, transaction
from astra.database.plan import plan_tasks
from astra.database.planned_members import MemberColumns, json_objects
from astra.database.state import TaskRecord, insert_run, task_table

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
TEXTS = ["1", 'a "quoted" \\ text', "100 %s %", "é\n", ""]
COMMON = {"instrument": "sdss"}


@pytest.mark.parametrize("names", [["visit"], ["50%", 'odd "name"', "visit"]])
def test_objects_are_those_that_json_writes(names):
    columns = dict.fromkeys(names, TEXTS)
    rows = [dict.fromkeys(names, value) for value in TEXTS]
    assert json_objects(columns, len(TEXTS)) == [json.dumps(row) for row in rows]


def test_iterators_are_taken_part_by_part():
    columns = {"visit": iter(TEXTS)}
    parts = json_objects(columns, 2) + json_objects(columns, 3)
    assert [json.loads(text)["visit"] for text in parts] == TEXTS


def test_members_without_own_parameters_have_empty_objects():
    assert json_objects({}, 2) == ["{}", "{}"]


def plan(url, records=(), members=()):
    run = {"command": "", "host": "", "pid": 1, "version": "", "packages": {}, "configuration": {}}
    with transaction(url) as connection:
        run_pk = insert_run(connection, {**run, "started": NOW})
        plan_tasks(connection, list(records), run_pk, NOW, members)


def rows(url):
    left_out = {"pk", "run_pk", "task_id"}
    columns = [column for column in task_table.c if column.name not in left_out]
    with reading(url) as connection:
        found = connection.execute(select(task_table.c.task_id, *columns).order_by(task_table.c.pk))
        return [(task_id.partition("_")[2], *others) for task_id, *others in found.all()]


def test_rows_are_those_of_records(any_database_url):
    texts = [json.dumps({"visit": value}) for value in TEXTS]
    records = [
        TaskRecord(f"a_{i}", "T", "m", json.loads(text), "1", None, COMMON) for i, text in enumerate(texts)
    ]
    ids = [f"b_{i}" for i in range(len(texts))]
    columns = MemberColumns(ids, json_objects({"visit": TEXTS}, len(TEXTS)), "T", "m", "1", COMMON)
    plan(any_database_url, records)
    plan(any_database_url, members=[columns])
    found = rows(any_database_url)
    assert found[: len(texts)] == found[len(texts) :]
    assert [row[4] for row in found[: len(texts)]] != [None] * len(texts)


def test_a_member_of_two_batches_has_one_row(any_database_url):
    one, other = (
        MemberColumns(ids, json_objects({"visit": ids}, 2), "T", "m", "1", {})
        for ids in (["a", "b"], ["b", "c"])
    )
    plan(any_database_url, members=[one, other])
    with reading(any_database_url) as connection:
        query = select(task_table.c.task_id, task_table.c.parameters).order_by(task_table.c.task_id)
        assert dict(connection.execute(query).all()) == {name: {"visit": name} for name in "abc"}
