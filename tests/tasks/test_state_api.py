"""The state calls of the task API of 2021: their documented meaning, and the defects that they had."""

import datetime as dt

import luigi
import pytest

from tests.tasks.test_engine import rows, states
from tests.tasks.toy_tasks import Toy

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def test_looking_creates_nothing(astra_root):
    assert Toy(number=1).query_state().one_or_none() is None
    assert rows(astra_root, "SELECT count(*) FROM task") == [(0,)]


def test_query_with_full_output_names_the_model_and_the_filter(astra_root):
    task = Toy(number=1)
    task.create_state()
    query, model, keys = task.query_state(full_output=True)
    assert query.one().task_id == task.task_id
    assert model.__tablename__ == "task"
    assert keys == {"module": "tests.tasks.toy_tasks", "task_id": task.task_id}


def test_a_row_is_created_once_with_its_defaults(astra_root):
    task = Toy(number=1)
    row, created = task.get_or_create_state({"duration": 2.5})
    assert (created, row.duration, row.status_code) == (True, 2.5, 0)
    row, created = task.get_or_create_state({"duration": 7.0})
    assert (created, row.duration) == (False, 2.5)


def test_a_batch_creates_its_own_row_and_those_of_its_members(astra_root):
    batch = Toy(number=(1, 2))
    keys = batch.create_state()
    assert len(keys) == 3
    assert keys == batch.create_state()
    query = "SELECT count(*) FROM batch_interface"
    assert rows(astra_root, query) == [(2,)]
    assert states(astra_root) == {"1": "created", "2": "created"}


def test_deleting_takes_the_links_along_and_cascades_to_the_members(astra_root):
    batch = Toy(number=(1, 2))
    batch.create_state()
    assert batch.delete_state() == 1
    assert states(astra_root) == {"1": "created", "2": "created"}
    batch.create_state()
    assert batch.delete_state(cascade=True) == 3
    assert rows(astra_root, "SELECT count(*) FROM task") == [(0,)]
    assert batch.delete_state(cascade=True) == 0


def test_updating_cascades_to_parent_and_members(astra_root):
    batch = Toy(number=(1, 2))
    batch.create_state()
    assert batch.update_state({"duration": 1.0}) == 1
    assert batch.update_state({"duration": 2.0}, cascade=True) == 3
    assert rows(astra_root, "SELECT DISTINCT duration FROM task") == [(2.0,)]


def test_a_column_that_may_not_be_set_is_named(astra_root):
    with pytest.raises(ValueError, match="no column task_id, wrong to set"):
        Toy(number=1).update_state({"wrong": 1, "task_id": "x"})


@pytest.mark.parametrize(
    ("call", "code", "event"),
    [
        ("start", 2, luigi.Event.START),
        ("succeeded", 1, luigi.Event.SUCCESS),
        ("failed", 30, luigi.Event.FAILURE),
    ],
)
def test_events_are_written_for_parent_and_members_and_fired(astra_root, call, code, event):
    seen = []
    Toy.event_handler(event)(lambda task, *details: seen.append((task, *details)))
    try:
        batch = Toy(number=(1, 2))
        getattr(batch, f"trigger_event_{call}")()
    finally:
        Toy.remove_event_handler(event, Toy._event_callbacks[Toy][event].copy().pop())
    assert rows(astra_root, "SELECT DISTINCT status_code FROM task") == [(code,)]
    assert seen[0][0] is batch


def test_a_triggered_success_counts_as_done(astra_root):
    task = Toy(number=5)
    assert not task.complete()
    task.trigger_event_succeeded()
    assert task.complete()


def test_processing_time_is_kept_and_may_end_the_task(astra_root):
    task = Toy(number=5)
    task.trigger_event_processing_time(3.5)
    assert rows(astra_root, "SELECT duration, status_code FROM task") == [(3.5, 0)]
    task.trigger_event_processing_time(4.5, cascade=True)
    assert rows(astra_root, "SELECT duration, status_code FROM task") == [(4.5, 1)]
