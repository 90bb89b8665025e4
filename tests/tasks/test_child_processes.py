"""Calls in child processes: their answers, and that nothing of them stays behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from astra.tasks.child_processes import run_in_children
from tests.conftest import PROJECT
from tests.scheduler.pool_tasks import SLEEPER, note, noted
from tests.scheduler.test_pooled_worker import are_gone


def lost(end):
    return end


def run(call, targets, timeout=60.0):
    return run_in_children(call, targets, processes=2, timeout=timeout, on_lost=lost)


def test_answers_come_in_order():
    assert run(lambda number: number**2, range(5)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("detached", [False, True])
def test_what_a_call_leaves_behind_is_ended_with_it(detached):
    assert are_gone(run(lambda _: subprocess.Popen(SLEEPER, start_new_session=detached).pid, range(2)))


def test_what_a_call_has_started_is_ended_at_its_deadline(tmp_path):
    def last(_):
        child = subprocess.Popen(SLEEPER)
        note(tmp_path, child.pid, os.getpid())
        child.wait()

    [end] = run(last, [0], timeout=1.0)
    assert (end.timed_out, end.exit_signal) == (True, signal.SIGTERM)
    assert are_gone(int(pid) for line in noted(tmp_path) for pid in line)


def test_the_end_of_a_call_is_noticed_though_a_fork_of_it_goes_on():
    def die(_):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    began = time.monotonic()
    [end] = run(die, [0])
    assert (end.timed_out, end.exit_signal) == (False, signal.SIGKILL)
    assert time.monotonic() - began < 15


def test_nothing_outlives_a_process_that_is_killed(tmp_path):
    code = (
        "import os, subprocess, sys\n"
        "from astra.tasks.child_processes import run_in_children\n"
        "from tests.scheduler.pool_tasks import SLEEPER, note\n"
        "def last(_):\n"
        "    child = subprocess.Popen(SLEEPER)\n"
        "    note(sys.argv[1], child.pid, os.getpid())\n"
        "    child.wait()\n"
        "run_in_children(last, [0], processes=1, timeout=600.0, on_lost=lambda end: end)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=env, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not noted(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    [pids] = noted(tmp_path)
    assert are_gone(map(int, pids))
