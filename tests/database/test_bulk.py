"""Many rows with one statement: the same rows as SQLAlchemy writes one by one."""

import datetime as dt

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from astra.database.bulk import execute_rows
from astra.database.engine import reading, transaction
from astra.database.state import insert_run, task_table

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC)


def row(number, run_pk):
    return {
        "task_id": f"T_{number}",
        "family": "T",
        "module": "m%s",
        "parameters": {"é": f"{number}", "n": None},
        "status_code": 0,
        "batch_size": None,
        "created": NOW,
        "modified": NOW + dt.timedelta(seconds=number),
        "completed": None,
        "run_pk": run_pk,
        "version": "1",
    }


def stored(url):
    with reading(url) as connection:
        found = connection.execute(select(task_table).order_by(task_table.c.task_id)).mappings().all()
    return [{name: value for name, value in item.items() if name not in {"pk", "task_id"}} for item in found]


def test_rows_are_those_that_sqlalchemy_writes(any_database_url):
    with transaction(any_database_url) as connection:
        run = {"command": "", "host": "", "pid": 1, "version": "", "packages": {}, "configuration": {}}
        run_pk = insert_run(connection, {**run, "started": NOW})
        execute_rows(connection, insert(task_table), [row(1, run_pk)])
        connection.execute(insert(task_table), [{**row(1, run_pk), "task_id": "T_2"}])
    first, second = stored(any_database_url)
    assert first == second


def test_conditions_and_updates_are_kept(any_database_url):
    with transaction(any_database_url) as connection:
        run = {"command": "", "host": "", "pid": 1, "version": "", "packages": {}, "configuration": {}}
        run_pk = insert_run(connection, {**run, "started": NOW})
        rows = [row(number, run_pk) for number in range(3)]
        make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        statement = make(task_table)
        statement = statement.on_conflict_do_update(
            index_elements=["task_id"],
            set_={"version": statement.excluded.version},
            where=task_table.c.modified > NOW + dt.timedelta(seconds=1),
        )
        execute_rows(connection, statement, rows)
        execute_rows(connection, statement, [{**item, "version": "2"} for item in rows])
        assert connection.execute(select(task_table.c.version)).scalars().all().count("2") == 1
        change = update(task_table).where(task_table.c.task_id == bindparam("key"))
        execute_rows(connection, change, [{"key": "T_0", "duration": 1.5}, {"key": "T_1", "duration": None}])
        durations = select(task_table.c.duration).order_by(task_table.c.task_id)
        assert connection.execute(durations).scalars().all() == [1.5, None, None]
        execute_rows(connection, change, [])


def test_a_key_may_stand_twice_among_the_rows(any_database_url):
    from astra.database.state import TaskRecord, create_tasks, upsert

    with transaction(any_database_url) as connection:
        run = {"command": "", "host": "", "pid": 1, "version": "", "packages": {}, "configuration": {}}
        run_pk = insert_run(connection, {**run, "started": NOW})
        record = TaskRecord("T_1", "T", "m", {"n": "1"}, "1")
        create_tasks(connection, [record, record], run_pk, NOW)
        upsert(connection, task_table, [{**row(1, run_pk), "version": v} for v in "ab"], ["task_id"])
        assert connection.execute(select(task_table.c.version)).scalars().all() == ["b"]
