"""A database that stops in the middle of a run: tasks fail aloud, and the next run completes."""

import os
import subprocess
import sys
import time

import pytest
from sqlalchemy import create_engine, text

from tests import postgresql
from tests.conftest import ON_CI, PROJECT

SIZE = 60


@pytest.fixture
def cluster():
    """A PostgreSQL cluster that the test may stop."""
    if postgresql.binaries() is None:
        if ON_CI:
            pytest.fail("PostgreSQL is not installed, and CI must not skip it: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed")
    own = postgresql.Cluster()
    own.start()
    yield own
    own.stop()
    own.remove()


def statuses(url):
    """Number of members or single tasks by status code, and of their finished attempts."""
    engine = create_engine(url)
    with engine.connect() as connection:
        counts = connection.execute(
            text("SELECT status_code, count(*) FROM task WHERE batch_size IS NULL GROUP BY 1")
        )
        found = dict(counts.all())
        query = """SELECT max(n) FROM (SELECT count(*) AS n FROM task_attempt JOIN task ON task.pk = task_pk
                   WHERE task_attempt.status_code = 1 AND batch_size IS NULL GROUP BY task_pk) AS counted"""
        most = connection.execute(text(query)).scalar()
    engine.dispose()
    return found, most


@pytest.mark.parametrize("together", [1, SIZE])
@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_fail_aloud_and_a_second_run_completes(cluster, astra_root, together, workers):
    url = cluster.create_database()
    command = [sys.executable, "-m", "luigi", "--module", "tests.tasks.steady", "Many", "--size", str(SIZE)]
    command += ["--together", str(together), "--local-scheduler", "--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_DATABASE_URL": url}
    slow = {**environment, "STEADY_PAUSE_S": "0.1"}
    process = subprocess.Popen(command, cwd=astra_root, env=slow, stderr=subprocess.PIPE, text=True)
    ran = astra_root / "ran"
    for _ in range(600):
        if ran.exists() and len(ran.read_text().splitlines()) >= SIZE // 3:
            break
        time.sleep(0.05)
    cluster.stop()
    (astra_root / "hurry").touch()
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (30, 40), errors[-3000:]
    assert "cannot be used" in errors
    cluster.start()

    counts, _ = statuses(url)
    assert counts.get(1, 0) < SIZE
    begun = len(ran.read_text().splitlines())
    assert counts.get(1, 0) <= begun
    again = subprocess.run(
        command, cwd=astra_root, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert statuses(url) == ({1: SIZE}, 1)  # each was recorded as done once
    assert {int(line.split()[0]) for line in ran.read_text().splitlines()} == set(range(SIZE))
    repeated = len(ran.read_text().splitlines()) - SIZE
    assert repeated == begun - counts.get(1, 0)  # only what ran unrecorded has run again
