"""When a task that has failed is tried again: later each time, and not for ever if it ends its process."""

import time

import luigi
import pytest

from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.bulk_worker import BulkWorker
from astra.scheduler.central import CentralScheduler
from astra.scheduler.retries import RetryDelay
from tests.scheduler.pool_tasks import Dies, noted


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when it is told to."""
    moment = [1e9]
    monkeypatch.setattr(time, "time", lambda: moment[0])

    def wait(seconds):
        moment[0] += seconds

    return wait


@pytest.fixture
def set_option():
    """Set options of astra for one test."""
    configuration, names = luigi.configuration.get_config(), []

    def change(name, value):
        names.append(name)
        configuration.set("astra", name, str(value))

    yield change
    for name in names:
        configuration.remove_option("astra", name)


def fail(scheduler, task_id="a", **how):
    scheduler.add_task(worker="w", task_id=task_id, status="PENDING")
    assert scheduler.get_work(worker="w")["task_id"] == task_id
    scheduler.add_task(worker="w", task_id=task_id, status="FAILED", **how)


def status(scheduler, task_id="a"):
    scheduler.prune()
    return scheduler._state.get_task(task_id).status


def delays(scheduler, clock, n_failures):
    """Fail, and wait until the task waits again, so often; return how long that was [s]."""
    found = []
    for _ in range(n_failures):
        assert scheduler.get_work(worker="w")["task_id"] == "a"
        scheduler.add_task(worker="w", task_id="a", status="FAILED")
        waited = 0
        while status(scheduler) == "FAILED":
            clock(50)
            waited += 50
            scheduler.ping(worker="w")
        found.append(waited)
    return found


def test_the_delay_grows_by_a_factor_to_a_limit():
    delay = RetryDelay(factor=3.0, longest_s=1000.0)
    assert [delay.after(n, 60.0) for n in (1, 2, 3, 4, 50)] == [60.0, 180.0, 540.0, 1000.0, 1000.0]
    assert [delay.after(n, 2000.0) for n in (1, 2)] == [2000.0, 2000.0]
    assert [delay.after(n, 0.0) for n in (1, 9)] == [0.0, 0.0]
    assert [RetryDelay().after(n, 900.0) for n in (1, 2, 10**9)] == [900.0, 900.0, 900.0]


def test_a_task_waits_longer_after_each_failure(clock, set_option):
    set_option("retry_delay_max_s", 4000)
    scheduler = CentralScheduler(retry_delay=900.0, worker_disconnect_delay=1e6)
    scheduler.add_task(worker="w", task_id="a")
    # The scheduler looks once the moment is past, here each 50 s.
    assert delays(scheduler, clock, 5) == [950, 1850, 3650, 4050, 4050]


def test_the_delay_is_luigis_if_the_factor_is_one(clock, set_option):
    set_option("retry_delay_factor", 1)
    scheduler = CentralScheduler(retry_delay=900.0, worker_disconnect_delay=1e6)
    scheduler.add_task(worker="w", task_id="a")
    assert delays(scheduler, clock, 3) == [950, 950, 950]


def test_a_task_that_was_done_begins_with_the_first_delay_again(clock):
    scheduler = CentralScheduler(retry_delay=900.0, worker_disconnect_delay=1e6)
    scheduler.add_task(worker="w", task_id="a")
    assert delays(scheduler, clock, 2) == [950, 1850]
    assert scheduler.get_work(worker="w")["task_id"] == "a"
    scheduler.add_task(worker="w", task_id="a", status="DONE")
    clock(100)
    scheduler.add_task(worker="w", task_id="a", status="PENDING")
    assert delays(scheduler, clock, 1) == [950]


@pytest.mark.parametrize("kind", [CentralScheduler, BulkScheduler])
def test_a_task_that_ends_its_process_three_times_in_a_row_is_disabled_for_long(clock, kind):
    scheduler = kind(retry_delay=0.0, disable_persist=86400, worker_disconnect_delay=1e9)
    for _ in range(2):
        fail(scheduler, process_died=True)
        clock(1)
        assert status(scheduler) == "PENDING"
    fail(scheduler)  # an error of its own begins the count anew
    clock(1)
    for _ in range(3):
        assert status(scheduler) == "PENDING"
        fail(scheduler, process_died=True)
        clock(1)
    assert status(scheduler) == "DISABLED"
    scheduler.add_task(worker="w", task_id="a", status="PENDING")
    clock(86000)
    scheduler.ping(worker="w")
    assert status(scheduler) == "DISABLED"
    clock(1000)
    scheduler.ping(worker="w")
    status(scheduler)  # failed once more, from where it waits again
    clock(1)
    assert status(scheduler) == "PENDING"
    assert scheduler._state.get_task("a").n_lost is None


def test_it_is_never_disabled_if_that_is_wanted(clock, set_option):
    set_option("max_process_deaths", 0)
    scheduler = CentralScheduler(retry_delay=0.0, worker_disconnect_delay=1e9)
    for _ in range(10):
        fail(scheduler, process_died=True)
        clock(1)
        assert status(scheduler) == "PENDING"


def test_the_worker_of_a_task_that_ends_its_process_tries_three_times_and_ends(tmp_path):
    scheduler = CentralScheduler(retry_delay=0.05, prune_on_get_work=True)
    how = {"keep_alive": True, "wait_interval": 0.1, "wait_jitter": 0.0, "worker_processes": 2}
    with BulkWorker(scheduler, "worker", **how) as worker:
        worker.add(Dies(folder=str(tmp_path), how="SIGKILL"))
        assert not worker.run()
    assert len(noted(tmp_path)) == 3
