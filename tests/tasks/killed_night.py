"""Run the analysis of a night in processes of its own, kill them all, and ask the state tables."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]
# Of members: not of batches, nor of the tasks that hold a night together.
N_DONE = (
    "SELECT count(*) FROM task WHERE status_code = 1 "
    "AND batch_size IS NULL AND family NOT LIKE '%Night%' AND family != 'ExportResults'"
)
N_DONE_TWICE = (
    "SELECT count(*) FROM (SELECT task_pk FROM task_attempt JOIN task ON task.pk = task_pk "
    "WHERE task_attempt.status_code = 1 AND batch_size IS NULL AND family NOT LIKE '%Night%' "
    "AND family != 'ExportResults' GROUP BY task_pk HAVING count(*) > 1)"
)
BY_STATE = (
    "SELECT family, status_code, count(*) FROM task WHERE batch_size IS NULL "
    "AND family NOT LIKE '%Night%' AND family != 'ExportResults' GROUP BY family, status_code"
)


def start_night(root, arguments, workers=1):
    """Begin ``luigi --module astra AnalyseNight`` as a process group of its own."""
    command = [sys.executable, "-m", "luigi", "--module", "astra", "AnalyseNight", *map(str, arguments)]
    command += ["--local-scheduler", "--workers", str(workers)]
    environment = {**os.environ, "ASTRA_ROOT": str(root), "PYTHONPATH": str(PROJECT)}
    with (Path(root) / "luigi.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def kill_group(process):
    """Kill a process and all that it has started, as ``kill -9`` does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def query(root, text):
    """Ask the state database of a root; None while it is not there."""
    if not (Path(root) / "astra.db").exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{root}/astra.db?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(text).fetchall()
    except sqlite3.OperationalError:
        return None  # the tables are not made yet


def count_done(root):
    """Members that are done."""
    rows = query(root, N_DONE)
    return rows[0][0] if rows else 0


def count_done_twice(root):
    """Members whose work was done more than once."""
    return query(root, N_DONE_TWICE)[0][0]


def count_states(root):
    """Number of members by family and state."""
    return {(family, code): n for family, code, n in query(root, BY_STATE)}


@dataclass
class Sample:
    """A moment of a run.

    Time since its begin [s], members that are done, memory of the largest process and of all [MiB], and
    processor time of all so far [s].
    """

    time: float
    done: int
    largest: float
    memory: float
    cpu: float


def watch(process, root, *, until=None, each=None, interval_s=0.2):
    """Wait for a process, or until so many members are done; return samples."""
    began, samples = time.monotonic(), []
    while process.poll() is None:
        sample = Sample(time.monotonic() - began, count_done(root), *usage(process.pid))
        samples.append(sample)
        if each is not None:
            each(sample)
        if until is not None and sample.done >= until:
            break
        time.sleep(interval_s)
    return samples


def usage(pid):
    """Memory that a process and its children do not share [MiB], largest and all, and their time [s]."""
    sizes, seconds = [], 0.0
    try:
        parent = psutil.Process(pid)
        times = parent.cpu_times()
        seconds += times.children_user + times.children_system
        for process in [parent, *parent.children(recursive=True)]:
            sizes.append(process.memory_full_info().uss / 2**20)
            seconds += sum(process.cpu_times()[:2])
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    return max(sizes, default=0.0), sum(sizes), seconds
