"""Killed at any moment, or two at a time in any order: the tables and packets are those of a clean run."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from astra.database.engine import dispose_engines, get_engine, reading
from tests.conftest import PROJECT
from tests.tasks.association_worker import MEMBERS, packets
from tests.tasks.night import apdb_rows


def start(url, folder, members=MEMBERS):
    """Start a worker; it has imported everything and begins when it says so."""
    command = [sys.executable, "-m", "tests.tasks.association_worker", url, str(folder)]
    command += [f"{visit}:{detector}" for visit, detector in members]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(*workers):
    assert [worker.wait(timeout=120) for worker in workers] == [0] * len(workers)
    for worker in workers:
        worker.stdout.close()


def outcome(url, folder):
    """Rows and packets, wall-clock times aside."""
    from sqlalchemy import text

    with reading(url) as connection:
        tables = apdb_rows(lambda query: [dict(row) for row in connection.execute(text(query)).mappings()])
    return tables, packets(folder)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """What a run that nothing disturbs leaves, and how long it takes [s]."""
    folder = tmp_path_factory.mktemp("clean")
    url = f"sqlite:///{folder}/astra.db"
    get_engine(url)
    worker = start(url, folder)
    worker.stdout.readline()
    begin = time.monotonic()
    finish(worker)
    return outcome(url, folder), time.monotonic() - begin


def test_a_run_that_is_killed_over_and_over_ends_as_a_clean_one(clean, tmp_path):
    url, draw = f"sqlite:///{tmp_path}/astra.db", random.Random(2)  # noqa: S311
    get_engine(url)
    expected, duration = clean
    for _ in range(2):
        worker = start(url, tmp_path)
        worker.stdout.readline()
        time.sleep(draw.uniform(0.05, 0.5) * duration)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
    finish(start(url, tmp_path))
    assert outcome(url, tmp_path) == expected


def test_two_workers_in_opposite_orders_end_as_a_clean_run(clean, tmp_path, any_database_url):
    get_engine(any_database_url)
    finish(start(any_database_url, tmp_path), start(any_database_url, tmp_path, MEMBERS[::-1]))
    found = outcome(any_database_url, tmp_path)
    dispose_engines()
    assert found == clean[0]
