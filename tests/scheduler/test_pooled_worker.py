"""A worker with processes that stay: what runs where, limits, deaths, and what is left behind."""

import os
import signal
import time

import luigi
import psutil
import pytest

from astra.scheduler.bulk_worker import BulkWorker
from astra.scheduler.central import CentralScheduler
from astra.scheduler.processes.tree import resident_bytes
from tests.scheduler.pool_tasks import (
    Asks,
    Dies,
    DiesBesideAFork,
    Eats,
    KillsGuardian,
    Lasts,
    LeavesProcesses,
    PoolRoot,
    PoolTask,
    Talks,
    note,
    noted,
)


@pytest.fixture
def make_worker(monkeypatch):
    """Make workers with two processes and a scheduler here; all processes are gone at the end."""
    before = set(psutil.Process().children(recursive=True))
    workers = []

    def make(scheduler=None, options=None, **kwargs):
        for name, value in (options or {}).items():
            luigi.configuration.get_config().set("astra", name, str(value))
        kwargs = {"worker_processes": 2, "wait_interval": 0.2, "wait_jitter": 0.0, **kwargs}
        workers.append(BulkWorker(scheduler or CentralScheduler(), "worker", **kwargs))
        return workers[-1]

    yield make
    configuration = luigi.configuration.get_config()
    for name in ("tasks_per_process", "process_memory_mib", "task_memory_mib"):
        if configuration.has_option("astra", name):
            configuration.remove_option("astra", name)
    assert set(psutil.Process().children(recursive=True)) <= before


def run(worker, *tasks):
    for task in tasks:
        worker.add(task)
    return worker.run()


def pids(folder):
    return [int(line[1]) for line in noted(folder) if line[0] == "pid"]


def lives(pid):
    """Say whether a process runs; it may end at any moment."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def are_gone(numbers):
    """Say whether processes are gone, or will be in a moment; none of them is a child to wait for."""
    deadline = time.monotonic() + 10
    left = list(numbers)
    while left and time.monotonic() < deadline:
        left = list(filter(lives, left))
        time.sleep(0.02)
    return not left


def test_tasks_share_processes_that_stay(make_worker, tmp_path):
    assert run(make_worker(), PoolRoot(folder=str(tmp_path), number=0, size=30))
    assert len(pids(tmp_path)) == 31
    assert 1 <= len(set(pids(tmp_path))) <= 2
    assert os.getpid() not in pids(tmp_path)
    assert are_gone(pids(tmp_path))


def test_a_process_is_replaced_after_some_tasks(make_worker, tmp_path):
    assert run(make_worker(options={"tasks_per_process": 3}), PoolRoot(folder=str(tmp_path), size=12))
    counts = [pids(tmp_path).count(pid) for pid in set(pids(tmp_path))]
    assert sum(counts) == 13
    assert max(counts) <= 3


def test_a_process_is_replaced_when_it_keeps_much_memory(make_worker, tmp_path):
    worker = make_worker(options={"process_memory_mib": 1.0}, force_multiprocessing=True, worker_processes=1)
    assert run(worker, PoolRoot(folder=str(tmp_path), size=3))
    assert len(set(pids(tmp_path))) == 4


def test_a_task_that_asks_for_another_runs_again_after_it(make_worker, tmp_path):
    assert run(make_worker(), Asks(folder=str(tmp_path), number=7))
    assert [line[2] for line in noted(tmp_path) if line[0] == "pid"] == ["8", "7"]


def test_a_task_that_cannot_be_made_of_text_runs_in_a_process_that_is_forked_for_it(make_worker, tmp_path):
    worker = make_worker(worker_processes=1, force_multiprocessing=True)
    first, second = PoolTask(folder=str(tmp_path), number=1), PoolTask(folder=str(tmp_path), number=2)
    worker.add(first)
    worker._run_task(first.task_id)
    worker._handle_next_task()

    class MadeLater(PoolTask):
        """Of a module that others cannot import it from."""

        task_namespace = "made_later"

    later = MadeLater(folder=str(tmp_path), number=3)
    assert run(worker, second, later)
    assert later.complete()
    first_pid, second_pid, later_pid = pids(tmp_path)
    assert first_pid == second_pid != later_pid


@pytest.mark.parametrize("detached", [False, True])
def test_what_a_task_leaves_behind_is_ended_with_it(make_worker, tmp_path, detached):
    worker = make_worker(worker_processes=1, force_multiprocessing=True)
    task = LeavesProcesses(folder=str(tmp_path), detached=detached)
    assert run(worker, task, PoolTask(folder=str(tmp_path), number=5))
    assert len(set(pids(tmp_path))) == 2
    children = [int(line[1]) for line in noted(tmp_path) if line[0] == "child"]
    assert len(children) == 1
    assert are_gone(children)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "exit0", "exit3"])
def test_a_task_that_ends_its_process_has_failed_and_others_go_on(make_worker, tmp_path, how):
    heard = []
    handler = Dies.event_handler(luigi.Event.PROCESS_FAILURE)(lambda *event: heard.append(event))
    worker = make_worker()
    dying = Dies(folder=str(tmp_path), how=how)
    try:
        assert not run(worker, dying, PoolRoot(folder=str(tmp_path), size=5))
    finally:
        Dies.remove_event_handler(luigi.Event.PROCESS_FAILURE, handler)
    [(task, message)] = heard
    code = {"SIGKILL": -9, "SIGTERM": -15, "exit0": 0, "exit3": 3}[how]
    assert task is dying
    assert message == f"Task {dying.task_id} died unexpectedly with exit code {code}"
    assert PoolRoot(folder=str(tmp_path), size=5).complete()


def test_its_end_is_noticed_though_a_fork_of_it_goes_on(make_worker, tmp_path):
    began = time.monotonic()
    assert not run(make_worker(), DiesBesideAFork(folder=str(tmp_path), how="SIGKILL"))
    assert time.monotonic() - began < 15
    assert are_gone([int(line[1]) for line in noted(tmp_path) if line[0] == "child"])


def test_a_guardian_that_was_killed_is_replaced(make_worker, tmp_path):
    options = {"tasks_per_process": 1}
    others = [child.pid for child in psutil.Process().children()]
    worker = make_worker(worker_processes=1, force_multiprocessing=True, options=options)
    first = KillsGuardian(folder=str(tmp_path), number=7, others=others)
    assert run(worker, first, *(PoolTask(folder=str(tmp_path), number=number) for number in (8, 9)))
    [[_, guardian]] = [line for line in noted(tmp_path) if line[0] == "killed"]
    assert are_gone([int(guardian)])
    assert len(set(pids(tmp_path))) == 3


def inherited_mib():
    """Memory of this process, which other tests have filled, and of which its children have a part [MiB]."""
    return resident_bytes(os.getpid()) / (1 << 20)


@pytest.mark.parametrize("in_child", [False, True])
def test_a_task_beyond_its_memory_is_ended(make_worker, tmp_path, in_child):
    heard = []
    handler = Eats.event_handler(luigi.Event.PROCESS_FAILURE)(lambda *event: heard.append(event))
    # Without a limit it would run here: it is the limit that wants a process.
    worker = make_worker(worker_processes=1)
    began = time.monotonic()
    try:
        assert not run(worker, Eats(folder=str(tmp_path), mib=300, in_child=in_child))
    finally:
        Eats.remove_event_handler(luigi.Event.PROCESS_FAILURE, handler)
    assert time.monotonic() - began < 30
    [(task, message)] = heard
    head, _, tail = message.partition(" MiB of memory, ")
    assert tail == "more than its limit of 150 MiB, and was ended with signal 9"
    name, _, used_mib = head.rpartition(" used ")
    assert name == f"Task {task.task_id}"
    assert 150 < float(used_mib) < 600 + inherited_mib()
    assert are_gone(int(line[1]) for line in noted(tmp_path) if line[0] == "child")


def test_a_task_within_its_memory_is_not(make_worker, tmp_path):
    class Frugal(PoolTask):
        """Use less than it may, for longer than the time between two looks."""

        task_namespace = "frugal"

        def work(self):
            kept = bytearray(60 << 20)
            kept[::4096] = b"1" * len(kept[::4096])
            time.sleep(0.4)

    limit_mib = 2000.0 + inherited_mib()
    assert run(make_worker(options={"task_memory_mib": limit_mib}), Frugal(folder=str(tmp_path)))


def test_a_task_beyond_its_time_is_ended_with_what_it_has_started(make_worker, tmp_path):
    heard = []
    handler = Lasts.event_handler(luigi.Event.TIMEOUT)(lambda *event: heard.append(event))
    try:
        assert not run(make_worker(timeout=1), Lasts(folder=str(tmp_path)))
    finally:
        Lasts.remove_event_handler(luigi.Event.TIMEOUT, handler)
    [(task, message)] = heard
    assert message == f"Task {task.task_id} timed out after 1 seconds and was terminated."
    children = [int(line[1]) for line in noted(tmp_path) if line[0] in ("child", "pid")]
    assert len(children) == 2
    assert are_gone(children)


def test_what_a_task_tells_a_scheduler_of_this_process_is_heard(make_worker, tmp_path):
    scheduler = CentralScheduler()
    task = Talks(folder=str(tmp_path))
    assert run(make_worker(scheduler), task)
    found = scheduler.task_list("DONE", "")[task.task_id]
    assert found["status_message"] == "half way"
    assert found["progress_percentage"] == 50
    assert found["tracking_url"] == "http://somewhere"


def test_a_dead_process_that_had_nothing_to_do_is_replaced(make_worker, tmp_path):
    worker = make_worker(worker_processes=1, force_multiprocessing=True)
    tasks = [PoolTask(folder=str(tmp_path), number=number) for number in (1, 2)]
    for task in tasks:
        worker.add(task)
        worker._run_task(task.task_id)
        worker._handle_next_task()
        living = set(filter(lives, pids(tmp_path)))
        for pid in living:
            os.kill(pid, signal.SIGKILL)
        assert are_gone(living)
    assert all(task.complete() for task in tasks)
    assert len(set(pids(tmp_path))) == 2
    worker._pool.close()
    note(tmp_path, "end")
