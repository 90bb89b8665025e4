"""Which tasks are done: also those that another run has begun again."""

import datetime as dt

import pytest

from astra.database import state
from astra.database.engine import transaction
from astra.database.outcomes import Outcome, end_tasks
from astra.database.progress import done_ids
from astra.database.state import TaskRecord, create_tasks, insert_run, start_tasks, task_keys

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
PLACE = {"host": "here", "pid": 1}
RECORDS = [TaskRecord(f"T_{number}", "T", "m", {}, "1") for number in range(3)]


def begin(connection):
    values = {"command": "", "version": "", "packages": {}, "configuration": {}, "started": NOW, **PLACE}
    return insert_run(connection, values)


def run_tasks(connection, run_pk, status):
    create_tasks(connection, RECORDS[:2], run_pk, NOW)
    keys = task_keys(connection, [record.task_id for record in RECORDS[:2]])
    start_tasks(connection, list(keys.values()), run_pk, now=NOW, **PLACE)
    outcomes = [Outcome(task_id, status, NOW, NOW) for task_id in keys]
    end_tasks(connection, outcomes, keys, run_pk, **PLACE)
    return keys


@pytest.mark.parametrize("is_started", [False, True], ids=["created", "running"])
def test_what_a_run_has_done_and_another_begins_again_is_done_for_the_first(any_database_url, is_started):
    with transaction(any_database_url) as connection:
        mine, other = begin(connection), begin(connection)
        keys = run_tasks(connection, mine, state.Status.DONE)
        create_tasks(connection, RECORDS[:1], other, NOW)
        if is_started:
            start_tasks(connection, [keys["T_0"]], other, now=NOW, **PLACE)
        ids = ["T_0", "T_1", "T_2"]
        assert done_ids(connection, ids) == {"T_1"}
        assert done_ids(connection, ids, run_pk=other) == {"T_1"}
        assert done_ids(connection, ids, run_pk=mine) == {"T_0", "T_1"}
        end_tasks(connection, [Outcome("T_0", state.Status.FAILED, NOW, NOW)], keys, other, **PLACE)
        assert done_ids(connection, ids, run_pk=mine) == {"T_1"}


def test_what_a_run_has_failed_at_and_another_begins_again_is_not_done(any_database_url):
    with transaction(any_database_url) as connection:
        mine, other = begin(connection), begin(connection)
        run_tasks(connection, mine, state.Status.FAILED)
        create_tasks(connection, RECORDS[:2], other, NOW)
        assert done_ids(connection, ["T_0", "T_1"], run_pk=mine) == set()


def test_what_a_run_begins_again_itself_is_not_done(any_database_url):
    with transaction(any_database_url) as connection:
        mine = begin(connection)
        run_tasks(connection, mine, state.Status.DONE)
        create_tasks(connection, RECORDS[:1], mine, NOW)
        assert done_ids(connection, ["T_0", "T_1"], run_pk=mine) == {"T_1"}


def test_a_late_failure_does_not_undo_what_a_later_run_has_done(any_database_url):
    with transaction(any_database_url) as connection:
        slow, other = begin(connection), begin(connection)
        keys = run_tasks(connection, other, state.Status.DONE)
        earlier = NOW - dt.timedelta(seconds=30)
        late = [Outcome("T_0", state.Status.FAILED, earlier, NOW + dt.timedelta(seconds=5))]
        end_tasks(connection, late, keys, slow, host="there", pid=2)
        assert done_ids(connection, ["T_0", "T_1"]) == {"T_0", "T_1"}
        end_tasks(connection, [Outcome("T_1", state.Status.FAILED, NOW, NOW)], keys, other, **PLACE)
        assert done_ids(connection, ["T_0", "T_1"]) == {"T_0"}
