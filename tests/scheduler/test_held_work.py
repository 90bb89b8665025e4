import types

import pytest

from astra.scheduler import held_work
from astra.scheduler.held_work import HeldWork


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(held_work, "time", types.SimpleNamespace(monotonic=lambda: now.now))
    return now


def work_of(*task_ids, lease_s=20.0):
    work = HeldWork()
    replies = [{"task_id": task_id, "run": number} for number, task_id in enumerate(task_ids, start=1)]
    replies[0]["lease_s"] = lease_s
    work.take(replies, 100.0)
    return work


def test_what_is_held_may_be_begun_in_the_first_half_of_the_lease_alone(clock):
    work = work_of("a")
    clock.now = 109.9
    assert work.is_sure
    clock.now = 110.1
    assert not work.is_sure
    work.note_heard(105.0, None)
    assert work.is_sure


def test_a_scheduler_without_leases_takes_nothing_back(clock):
    work = HeldWork()
    work.take([{"task_id": "a"}], 100.0)
    clock.now += 1e6
    assert work.is_sure


def test_what_is_lost_is_dropped_and_what_has_begun_of_it_is_told():
    work = work_of("a", "b", "c")
    assert work.begin()["task_id"] == "a"
    assert work.ids() == ["a", "b", "c"]
    assert work.drop(["a", "b", "x"]) == ["a"]
    assert work.held_ids() == ["c"]


def test_a_report_that_ends_a_run_has_its_number_once():
    work = work_of("a", "b")
    work.begin()
    assert work.end({"task_id": "a", "status": "RUNNING"}) is None
    assert work.end({"task_id": "a", "status": "PENDING"}) is None  # planned again, while it runs
    assert work.end({"task_id": "a", "status": "PENDING", "new_deps": ["c"]}) == 1
    assert work.end({"task_id": "a", "status": "DONE"}) is None
    assert work.end({"task_id": "b", "status": "DONE"}) is None  # not begun


def test_that_there_is_nothing_to_do_is_no_task():
    work = HeldWork()
    work.take([{"task_id": None, "lease_s": 20.0}], 100.0)
    assert work
    assert work.ids() == []
    assert work.begin()["task_id"] is None
