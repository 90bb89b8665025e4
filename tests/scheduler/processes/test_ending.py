"""Workers that are told to end, or killed: what they finish, give back and write; and nothing is left."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import PROJECT
from tests.scheduler.pool_tasks import noted
from tests.scheduler.test_pooled_worker import are_gone, pids
from tests.tasks.test_engine import rows

NOT_RUN = 25


@pytest.fixture
def start(astra_root):
    """Start workers as commands, and wait for what they run."""
    started = []

    def start_worker(task, *arguments, scheduler=None, grace_s="20", n_running=1):
        where = ["--scheduler-port", str(scheduler.port)] if scheduler is not None else ["--local-scheduler"]
        command = [sys.executable, "-m", "luigi", "--module", "tests.scheduler.pool_tasks", task, *where]
        (astra_root / "luigi.cfg").write_text(
            f"[astra]\nstop_grace_s = {grace_s}\n[worker]\nwait_jitter = 0\n"
        )
        env = {**os.environ, "PYTHONPATH": str(PROJECT)}
        with (astra_root / "log").open("a") as log:
            process = subprocess.Popen([*command, *arguments], cwd=astra_root, env=env, stderr=log)
        started.append(process)
        deadline = time.monotonic() + 60
        while len(pids(astra_root)) < n_running:
            assert time.monotonic() < deadline, (astra_root / "log").read_text()
            assert process.poll() is None, (astra_root / "log").read_text()
            time.sleep(0.02)
        return process

    yield start_worker
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def of_tasks(folder):
    """Processes of tasks, and those that they have started."""
    return {int(line[1]) for line in noted(folder) if line[0] in ("pid", "child")}


@pytest.mark.parametrize("detached", [False, True])
def test_nothing_outlives_a_worker_that_is_killed(start, astra_root, detached):
    options = ["--detached"] if detached else []
    worker = start("Lasts", "--folder", str(astra_root), "--workers", "2", *options)
    assert len(of_tasks(astra_root)) == 2
    worker.kill()
    worker.wait()
    assert are_gone(of_tasks(astra_root))


def test_after_sigusr1_what_runs_is_finished_and_no_more_is_begun(start, astra_root):
    seconds = ["--seconds", "3", "--size", "4"]
    worker = start("Lasting", "--folder", str(astra_root), "--workers", "2", *seconds, n_running=2)
    worker.send_signal(signal.SIGUSR1)
    assert worker.wait(timeout=60) == NOT_RUN
    assert len([line for line in noted(astra_root) if line[0] == "done"]) == 2
    assert len(pids(astra_root)) == 2
    assert are_gone(of_tasks(astra_root))


def test_after_sigterm_what_takes_too_long_is_ended_and_written(start, astra_root):
    worker = start("Recorded", "--number", "1", "--how", "last", "--workers", "2", grace_s="0.5")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == NOT_RUN
    assert are_gone(of_tasks(astra_root))
    [(state, message)] = rows(astra_root, "SELECT state, message FROM task_state WHERE family = 'Recorded'")
    assert state == "process died"
    assert message.endswith(
        "it was ended because its worker was asked to end, and waited for 0.5 s, with signal 15"
    )
    assert rows(astra_root, "SELECT ended IS NOT NULL, exit_status FROM run") == [(1, NOT_RUN)]


def test_a_task_in_the_process_of_the_worker_is_ended_too(start, astra_root):
    worker = start("Recorded", "--number", "1", "--how", "last", grace_s="0.5")
    assert pids(astra_root) == [worker.pid]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == NOT_RUN
    query = "SELECT status_code, error_class FROM task_attempt"
    assert rows(astra_root, query) == [(30, "TaskEndedError")]


def test_after_sigterm_a_central_scheduler_has_all_work_back(start, astra_root, central):
    arguments = ["--folder", str(astra_root), "--size", "8", "--workers", "2"]
    worker = start("Lasting", *arguments, scheduler=central, grace_s="1", n_running=2)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == NOT_RUN
    assert central.call("task_list", status="RUNNING", upstream_status="") == {}
    assert len(central.call("task_list", status="PENDING", upstream_status="")) == 9
    assert are_gone(of_tasks(astra_root))


def test_what_the_signal_to_the_worker_has_ended_too_waits_again_and_has_not_failed(
    start, astra_root, central
):
    arguments = ["--folder", str(astra_root), "--size", "2", "--workers", "2"]
    worker = start("Lasting", *arguments, scheduler=central, grace_s="20", n_running=2)
    for pid in (worker.pid, *pids(astra_root)):  # as systemd does, and Slurm
        os.kill(pid, signal.SIGTERM)
    assert worker.wait(timeout=15) == NOT_RUN
    assert len(central.call("task_list", status="PENDING", upstream_status="")) == 3
    assert are_gone(of_tasks(astra_root))


def test_a_second_sigterm_ends_all_at_once(start, astra_root):
    worker = start("Lasts", "--folder", str(astra_root), "--workers", "2")
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == -signal.SIGTERM
    assert time.monotonic() - began < 10
    assert are_gone(of_tasks(astra_root))
