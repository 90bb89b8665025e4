"""States of tasks that ran in processes of a pool, also of those that died: as if each had run alone."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.scheduler.conftest import Server
from tests.tasks.test_engine import rows

SIZE = 60
ATTEMPTS = """SELECT json_extract(parameters, '$.number'), a.status_code, a.pid, exit_signal, error_class,
    a.message, task.status_code, a.ended IS NOT NULL
    FROM task_attempt AS a JOIN task ON task.pk = task_pk WHERE family = 'Recorded'"""


@pytest.fixture(params=["central", "local"])
def where(request, tmp_path):
    """A scheduler in another process, which gives out many tasks at a time, or one in the worker's."""
    if request.param == "local":
        yield ["--local-scheduler"]
        return
    (tmp_path / "scheduler").mkdir()
    server = Server(tmp_path / "scheduler")
    try:
        server.start()
        yield ["--scheduler-port", str(server.port)]
    finally:
        server.stop()


def test_each_task_has_one_attempt_in_the_process_that_ran_it(astra_root, where):
    command = [
        sys.executable,
        "-m",
        "luigi",
        "--module",
        "tests.scheduler.pool_tasks",
        "ManyRecorded",
        *where,
    ]
    done = subprocess.run(
        [*command, "--size", str(SIZE), "--workers", "2"],
        cwd=astra_root,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 30, done.stderr[-3000:]
    attempts = {int(number): how for number, *how in rows(astra_root, ATTEMPTS)}
    assert len(rows(astra_root, ATTEMPTS)) == len(attempts) == SIZE + 2
    [(worker,)] = rows(astra_root, "SELECT pid FROM run")
    for number in range(SIZE):
        code, pid, exit_signal, error, message, task_code, has_ended = attempts[number]
        assert (code, exit_signal, error, message, task_code, has_ended) == (1, None, None, None, 1, 1)
        assert pid != worker
    pids = {attempts[number][1] for number in range(SIZE)}
    assert len(pids) <= 4  # two of them were replaced
    code, pid, exit_signal, error, message, task_code, has_ended = attempts[-1]
    assert (code, exit_signal, error, task_code, has_ended) == (40, signal.SIGKILL, "ProcessDied", 40, 1)
    assert message.endswith("died unexpectedly with exit code -9")
    code, pid, exit_signal, error, message, task_code, has_ended = attempts[-2]
    assert (code, exit_signal, error, task_code, has_ended) == (40, signal.SIGKILL, "MemoryError", 40, 1)
    assert "MiB of memory, more than its limit of 150 MiB, and was ended" in message
