"""What becomes of tasks whose worker is not heard of, and of a worker that was only slow."""

import types

import pytest

from astra.scheduler import leases, records
from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.durable import DurableScheduler
from astra.scheduler.journal import Journal
from astra.scheduler.leases import FORGOTTEN_S, LEASE_S


@pytest.fixture
def clock(monkeypatch):
    import luigi.scheduler

    now = types.SimpleNamespace(now=1000.0)
    for module in (luigi.scheduler, leases, records):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(time=lambda: now.now))
    return now


def scheduler_with(*task_ids, workers=("w", "v"), cls=BulkScheduler, **options):
    scheduler = cls(**{"worker_disconnect_delay": FORGOTTEN_S, **options})
    scheduler.grant_leases()
    for worker in workers:
        scheduler.add_tasks(worker, [{"task_id": task_id, "family": "F"} for task_id in task_ids])
    return scheduler


def given(scheduler, worker, n_wanted=1, current=()):
    return {
        reply["task_id"]: reply["run"]
        for reply in scheduler.exchange_work(worker, current_tasks=current, n_wanted=n_wanted)
        if reply["task_id"] is not None
    }


def silence(scheduler, clock, *others, seconds=LEASE_S + 2):
    """Let time pass in which only some workers are heard."""
    for _ in range(int(seconds)):
        clock.now += 1.0
        for worker in others:
            scheduler.renew_lease(worker)
        scheduler.watch()


def status(scheduler, task_id):
    task = scheduler._state.get_task(task_id)
    return task.status, task.worker_running


def test_what_a_dead_worker_ran_waits_again_as_soon_as_its_lease_has_run_out(clock):
    scheduler = scheduler_with("a", retry_delay=900.0)
    given(scheduler, "w")
    silence(scheduler, clock, "v", seconds=LEASE_S)
    assert status(scheduler, "a") == ("RUNNING", "w")
    silence(scheduler, clock, "v", seconds=1)
    assert given(scheduler, "v") == {"a": 2}
    assert scheduler.tally == {"leases_expired": 1, "runs_lost": 1}


def test_a_worker_that_luigi_forgets_sooner_has_no_longer_lease(clock):
    scheduler = scheduler_with("a", worker_disconnect_delay=5.0)
    assert scheduler.lease_s == 5.0


def test_what_ends_its_workers_again_and_again_is_disabled(clock):
    workers = ["w0", "w1", "w2"]
    scheduler = scheduler_with("a", workers=[*workers, "v"], retry_delay=900.0)
    for worker in workers:
        assert status(scheduler, "a")[0] == "PENDING"
        assert given(scheduler, worker)
        silence(scheduler, clock, *workers[workers.index(worker) + 1 :], "v")
    assert status(scheduler, "a") == ("DISABLED", None)
    assert scheduler._state.get_task("a").num_failures() == 3


def test_a_task_that_may_fail_once_is_not_tried_again(clock):
    scheduler = scheduler_with("a", retry_count=1)
    given(scheduler, "w")
    silence(scheduler, clock, "v")
    assert status(scheduler, "a")[0] == "DISABLED"


def test_what_was_held_waits_without_a_failure_and_is_then_given_alone(clock):
    scheduler = scheduler_with("a", "b", "c")
    given(scheduler, "w", n_wanted=3)
    silence(scheduler, clock, "v")
    assert [scheduler._state.get_task(name).num_failures() for name in "abc"] == [0, 0, 0]
    work = scheduler.exchange_work("v", n_wanted=3)
    assert [(reply["task_id"], reply["run"], reply["lost"]) for reply in work] == [("a", 2, True)]
    scheduler.exchange_work("v", [{"task_id": "a", "status": "DONE", "run": 2}])
    assert scheduler._state.get_task("a").n_lost is None


def test_a_worker_that_comes_back_goes_on_with_what_nobody_has_taken(clock):
    scheduler = scheduler_with("a", "b", "c")
    given(scheduler, "w", n_wanted=3)
    silence(scheduler, clock, "v")
    assert given(scheduler, "v") == {"a": 2}
    answer = scheduler.renew_lease("w", ["a", "b", "c"])
    assert (answer["lost"], answer["lease_s"]) == (["a"], LEASE_S)
    assert status(scheduler, "b") == ("RUNNING", "w")
    assert scheduler._state.get_task("b").prefetched
    assert scheduler._state.get_task("b").n_lost is None
    scheduler.add_tasks("w", [{"task_id": "b", "status": "DONE", "run": 1}])
    assert status(scheduler, "b")[0] == "DONE"
    assert scheduler.tally["runs_resumed"] == 2


def test_it_is_not_given_again_what_its_processes_still_run(clock):
    scheduler = scheduler_with("a", "b")
    assert given(scheduler, "w") == {"a": 1}
    silence(scheduler, clock, "v")
    assert given(scheduler, "w", current=["a"]) == {"b": 1}
    assert status(scheduler, "a") == ("RUNNING", "w")


def taken_up(clock):
    """A scheduler of which the worker v has what w was silent on for too long."""
    scheduler = scheduler_with("a")
    given(scheduler, "w")
    silence(scheduler, clock, "v")
    assert given(scheduler, "v") == {"a": 2}
    return scheduler


@pytest.mark.parametrize("report", ["DONE", "FAILED", "RUNNING"])
def test_a_late_report_is_not_taken_as_that_of_another_run(clock, report):
    scheduler = taken_up(clock)
    late = {"task_id": "a", "status": report, "run": 1}
    scheduler.add_tasks("w", [late])
    assert status(scheduler, "a") == ("RUNNING", "v")
    scheduler.add_tasks("v", [{"task_id": "a", "status": "DONE", "run": 2}])
    scheduler.add_tasks("w", [late])
    assert status(scheduler, "a")[0] == "DONE"
    assert scheduler.tally["reports_void"] == 2


def test_nor_is_that_of_a_run_that_asks_for_more(clock):
    scheduler = taken_up(clock)
    scheduler.add_tasks("w", [{"task_id": "a", "status": "PENDING", "new_deps": ["x"], "run": 1}])
    assert status(scheduler, "a") == ("RUNNING", "v")
    assert scheduler._state.get_task("a").deps == ()


def test_nor_as_that_of_a_later_run_of_the_same_worker(clock):
    scheduler = scheduler_with("a")
    given(scheduler, "w")
    silence(scheduler, clock, "v")
    assert given(scheduler, "w") == {"a": 2}
    scheduler.add_tasks("w", [{"task_id": "a", "status": "FAILED", "run": 1}])
    assert status(scheduler, "a") == ("RUNNING", "w")


def test_what_is_done_late_is_done_if_nobody_is_at_it(clock):
    scheduler = scheduler_with("a")
    given(scheduler, "w")
    silence(scheduler, clock, "v")
    given(scheduler, "v")
    scheduler.add_tasks("v", [{"task_id": "a", "status": "FAILED", "run": 2}])
    scheduler.add_tasks("w", [{"task_id": "a", "status": "DONE", "run": 1}])
    assert status(scheduler, "a")[0] == "DONE"


def test_what_others_found_done_while_a_dead_worker_had_it_is_done(tmp_path, clock):
    scheduler = scheduler_with("a", "b", cls=DurableScheduler)
    scheduler.open_journal(Journal(tmp_path / "j", "never"))
    given(scheduler, "w", n_wanted=2)
    scheduler.add_tasks("u", [{"task_id": "a", "status": "DONE", "runnable": False}])
    assert status(scheduler, "a") == ("RUNNING", "w")
    scheduler.close()
    again = DurableScheduler(worker_disconnect_delay=FORGOTTEN_S)
    again.grant_leases()
    again.open_journal(Journal(tmp_path / "j", "never"))
    silence(again, clock, "u", "v")
    assert [status(again, name)[0] for name in "ab"] == ["DONE", "PENDING"]
    again.close()


def test_no_lease_runs_out_while_the_scheduler_itself_stands_still(clock):
    scheduler = scheduler_with("a")
    given(scheduler, "w")
    scheduler.watch()
    clock.now += 500.0
    scheduler.watch()
    assert status(scheduler, "a") == ("RUNNING", "w")
    silence(scheduler, clock, "v")
    assert status(scheduler, "a")[0] == "PENDING"


def test_numbers_of_runs_and_lost_runs_outlast_a_kill(tmp_path, clock):
    scheduler = scheduler_with("a", "b", cls=DurableScheduler)
    scheduler.open_journal(Journal(tmp_path / "j", "never"))
    assert given(scheduler, "w", n_wanted=2) == {"a": 1, "b": 1}
    silence(scheduler, clock, "v")
    assert given(scheduler, "v") == {"a": 2}
    scheduler.close()
    again = DurableScheduler()
    again.open_journal(Journal(tmp_path / "j", "never"))
    again.add_tasks("w", [{"task_id": "a", "status": "FAILED", "run": 1}])
    assert status(again, "a") == ("RUNNING", "v")
    assert given(again, "v", n_wanted=2, current=["a"]) == {"b": 2}
    again.close()


def test_what_a_worker_has_that_ends_waits_again_at_once_and_not_as_a_failure(clock):
    scheduler = scheduler_with("a", "b", retry_delay=900.0)
    given(scheduler, "w", n_wanted=2)
    scheduler.leave("w")
    scheduler.watch()
    assert given(scheduler, "v", n_wanted=2).keys() == {"a", "b"}
    assert scheduler.tally["leases_expired"] == 0
    assert [scheduler._state.get_task(name).num_failures() for name in "ab"] == [0, 0]


def test_nobody_waits_for_a_worker_that_has_ended(clock):
    scheduler = scheduler_with("a", workers=["w"])
    scheduler.add_tasks("v", [{"task_id": "root", "family": "F", "deps": ["a"]}])
    assert scheduler.goes_on("v")
    scheduler.leave("w")
    assert not scheduler.goes_on("v")
    scheduler.renew_lease("w")  # it has begun anew
    assert scheduler.goes_on("v")
    scheduler.leave("nobody")
    assert "nobody" not in scheduler._state.get_worker_ids()


def test_a_late_word_of_where_a_run_can_be_watched_changes_nothing_of_another_run(clock):
    scheduler = taken_up(clock)
    late = {"task_id": "a", "status": "RUNNING", "tracking_url": "of w"}
    scheduler.add_tasks("w", [late])
    assert status(scheduler, "a") == ("RUNNING", "v")
    assert scheduler._state.get_task("a").tracking_url is None
    scheduler.add_tasks("v", [{"task_id": "a", "status": "DONE", "run": 2}])
    scheduler.add_tasks("w", [late])
    assert status(scheduler, "a")[0] == "DONE"
    assert scheduler.tally["reports_void"] == 2


def test_a_failure_of_a_lost_run_does_not_undo_what_others_found_done_since(clock):
    scheduler = scheduler_with("a")
    given(scheduler, "w")
    silence(scheduler, clock, "v")
    scheduler.add_tasks("v", [{"task_id": "a", "status": "DONE"}])  # it was complete when it was planned
    scheduler.add_tasks("w", [{"task_id": "a", "status": "FAILED", "run": 1}])
    assert status(scheduler, "a")[0] == "DONE"


def test_a_worker_that_names_no_tasks_is_heard_of_all_the_same(clock):
    scheduler = scheduler_with("a")
    assert given(scheduler, "w")
    assert scheduler.renew_lease("w", None)["lost"] == []
    assert scheduler.running_among(["a"]) == ["a"]
