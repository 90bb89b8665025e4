"""A worker with four processes, and four workers at once: no row of state is lost, doubled or locked out."""

import os
import subprocess
import sys

from sqlalchemy import create_engine, text

from tests.conftest import PROJECT

SIZE = 2000
COMMAND = [sys.executable, "-m", "luigi", "--module", "tests.tasks.steady", "Many", "--local-scheduler"]


def environment(url):
    return {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_DATABASE_URL": url}


def ran(root):
    """Numbers that ran, sorted, and how many processes ran them."""
    lines = [line.split() for line in (root / "ran").read_text().splitlines()]
    return sorted(int(number) for number, _ in lines), len({pid for _, pid in lines})


def state_rows(url):
    """Status codes with their numbers, finished and other attempts, and members linked to batches."""
    engine = create_engine(url)
    with engine.connect() as connection:
        codes = connection.execute(
            text("SELECT status_code, count(*), count(DISTINCT task_id) FROM task GROUP BY 1")
        ).all()
        attempts = connection.execute(
            text("SELECT status_code, count(*), count(DISTINCT task_pk) FROM task_attempt GROUP BY 1")
        ).all()
        members = connection.execute(
            text("SELECT count(*), count(DISTINCT child_task_pk) FROM batch_interface")
        ).one()
    engine.dispose()
    return [tuple(row) for row in codes], [tuple(row) for row in attempts], tuple(members)


def test_four_processes_of_one_worker_record_each_task_once(astra_root, any_database_url):
    command = [*COMMAND, "--size", str(SIZE), "--together", "20", "--workers", "4"]
    done = subprocess.run(
        command,
        cwd=astra_root,
        env=environment(any_database_url),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "locked" not in done.stderr
    numbers, processes = ran(astra_root)
    assert numbers == list(range(SIZE))
    assert 1 < processes <= 4
    everything = SIZE + SIZE // 20  # members, and their batches
    assert state_rows(any_database_url) == (
        [(1, everything, everything)],
        [(1, everything, everything)],
        (SIZE, SIZE),
    )


def test_four_workers_write_into_one_database(astra_root, any_database_url):
    part = SIZE // 4
    processes = [
        subprocess.Popen(
            [*COMMAND, "--size", str(part), "--together", "50", "--first", str(number * part)],
            cwd=astra_root,
            env=environment(any_database_url),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    errors = [process.communicate(timeout=240)[1][-2000:] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert ran(astra_root) == (list(range(SIZE)), 4)
    everything = SIZE + SIZE // 50
    codes, attempts, members = state_rows(any_database_url)
    assert codes == attempts == [(1, everything, everything)]
    assert members == (SIZE, SIZE)
