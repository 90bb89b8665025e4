"""What a plan finds of processes that are gone."""

import datetime as dt

from sqlalchemy import select

from astra.database import state
from astra.database.engine import reading, transaction
from astra.database.plan import bury_dead
from astra.database.queries import as_utc

NOW = dt.datetime(2025, 11, 20, 3, 4, 5, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(hours=1)


def start(connection, host, pid):
    """A run with one running task; the key of the run."""
    values = {"command": "", "host": host, "pid": pid, "version": "0", "packages": {}, "configuration": {}}
    run = state.insert_run(connection, {**values, "started": NOW})
    task = state.TaskRecord(f"Any_{host}_{pid}", "Any", "any", {}, "0")
    state.create_tasks(connection, [task], run, NOW)
    keys = list(state.task_keys(connection, [task.task_id]).values())
    state.start_tasks(connection, keys, run, host=host, pid=pid, now=NOW)
    return run


def test_only_what_a_dead_process_of_this_host_ran_is_closed(any_database_url):
    with transaction(any_database_url) as connection:
        dead, live, elsewhere = (start(connection, *place) for place in (("a", 1), ("a", 2), ("b", 1)))
        ended = start(connection, "a", 3)
        state.end_run(connection, ended, 30, NOW, {})
        assert len(bury_dead(connection, "a", lambda pid: pid == 2, LATER)) == 2
    with reading(any_database_url) as connection:
        columns = state.run_table.c
        runs = connection.execute(select(columns.pk, columns.ended, columns.exit_status)).all()
        columns = state.attempt_table.c
        attempts = dict(connection.execute(select(columns.run_pk, columns.status_code)).all())
    found = {run.pk: (as_utc(run.ended), run.exit_status) for run in runs}
    assert found == {dead: (LATER, None), live: (None, None), elsewhere: (None, None), ended: (NOW, 30)}
    assert attempts == {dead: 40, live: 2, elsewhere: 2, ended: 40}
