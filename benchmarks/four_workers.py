"""Four workers, single tasks, one database: how long it takes, and whether every row is there once.

    python benchmarks/four_workers.py [--sizes 500 2000] [--workers 4] [--database URL]

Each task writes a line and nothing else. Luigi forks a process for each, and its scheduler looks at all
waiting tasks for each. The default database is a new SQLite file; a PostgreSQL one must be migrated.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def run(size, workers, database, first):
    """Run tasks in a root of their own; return wall and CPU seconds and what is wrong with the rows."""
    with tempfile.TemporaryDirectory() as root:
        url = database or f"sqlite:///{root}/astra.db"
        environment = {
            **os.environ,
            "ASTRA_ROOT": root,
            "ASTRA_DATABASE_URL": url,
            "PYTHONPATH": str(PROJECT),
        }
        command = [
            sys.executable,
            "-m",
            "luigi",
            "--module",
            "tests.tasks.steady",
            "Many",
            "--local-scheduler",
        ]
        command += ["--size", str(size), "--first", str(first), "--workers", str(workers)]
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = time.perf_counter() - wall
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        lines = (Path(root) / "ran").read_text().splitlines()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return wall, cpu, len(lines), *rows(url, first, size)


def rows(url, first, size):
    """Number of tasks of this run that are done, and of their attempts."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.connect() as connection:
        query = text("SELECT parameters, status_code, pk FROM task WHERE family = 'Steady'")
        mine = {
            pk
            for parameters, code, pk in connection.execute(query)
            if code == 1 and first <= int(as_dict(parameters)["number"]) < first + size
        }
        tried = connection.execute(text("SELECT task_pk FROM task_attempt")).scalars().all()
    engine.dispose()
    return len(mine), sum(key in mine for key in tried)


def as_dict(parameters):
    """JSON as PostgreSQL gives it, or as SQLite does."""
    return json.loads(parameters) if isinstance(parameters, str) else parameters


def report(sizes, workers, database):
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {workers} workers"
    )
    print(f"{'tasks':>7}{'wall s':>9}{'CPU s':>9}{'ran':>7}{'done':>7}{'attempts':>10}")
    first = os.getpid() * 100_000
    for size in sizes:
        wall, cpu, *counts = run(size, workers, database, first)
        print(f"{size:>7}{wall:>9.1f}{cpu:>9.1f}{counts[0]:>7}{counts[1]:>7}{counts[2]:>10}", flush=True)
        first += size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--database", default="")
    arguments = parser.parse_args()
    report(arguments.sizes, arguments.workers, arguments.database)
