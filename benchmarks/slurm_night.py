"""The demonstration as arrays of jobs: on a Slurm that is there, or on one of two nodes that is made here.

    python benchmarks/slurm_night.py [--own] [--memory 1500] [--members-per-job 1] [--local] [--folder FOLDER]

Every level of the night is one `sbatch --array`. With ``--own`` (as root, with munge and slurm-wlm installed)
a Slurm of two nodes is started on the loopback interface; else that of SLURM_CONF is used, and the folder of
the run must be on a file system that its nodes share.
"""

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from astra.alerts.files import read_alerts
from tests.executors.slurm_cluster import Cluster
from tests.postgresql import free_port
from tests.tasks.night import sqlite_rows

SPECTRAL_TABLES = ("radial_velocity", "combined_visit", "line_strength", "stellar_label")

CONFIGURATION = """\
[astra]
executor = {executor}
[slurm]
poll_s = 0.5
memory = {memory}
members_per_job = {members}
"""


def run(folder, environment, executor, options):
    """Run the demonstration; return wall time and CPU time of the submitter [s]."""
    folder.mkdir()
    text = CONFIGURATION.format(executor=executor, memory=options.memory, members=options.members_per_job)
    (folder / "luigi.cfg").write_text(text)
    command = [sys.executable, "-m", "luigi", "--module", "astra", "Demo", "--local-scheduler"]
    command += ["--output-root", str(folder / "demo")]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr[-5000:])
    print(done.stdout.strip())
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ask(folder, query):
    """Rows of a query to the state of a run."""
    connection = sqlite3.connect(folder / "demo" / "astra.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def covered(intervals):
    """Time that is covered by some of the intervals [in their unit]."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(intervals):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def levels(folder):
    """Of each array: family, jobs, lost jobs; wall time, time in which no member ran, time of members [s].

    The wall time is that from the first row to the last end; a job of several members runs one at a time.
    """
    jobs = ask(
        folder,
        """SELECT submission, family, status_code, 86400 * julianday(created), 86400 * julianday(ended),
                  run_pk FROM job ORDER BY pk""",
    )
    members = {}
    for run, started, ended in ask(
        folder,
        """SELECT task_attempt.run_pk, 86400 * julianday(task_attempt.started),
                  86400 * julianday(task_attempt.ended)
           FROM task_attempt JOIN task ON task.pk = task_pk
           WHERE task_attempt.ended IS NOT NULL AND batch_size IS NULL""",
    ):
        members.setdefault(run, []).append((started, ended))
    for name in dict.fromkeys(job[0] for job in jobs):
        own = [job for job in jobs if job[0] == name]
        inside = [interval for job in own for interval in members.get(job[5], [])]
        wall = max(job[4] for job in own) - min(job[3] for job in own)
        lost = sum(job[2] != 1 for job in own)
        busy = covered(inside)
        yield own[0][1], len(own), lost, wall, wall - busy, sum(last - first for first, last in inside)


def print_levels(folder):
    print(
        f"{'level':24} {'jobs':>5} {'lost':>5} {'wall s':>7} {'outside members s':>18} {'in members s':>13}"
    )
    total = [0, 0, 0.0, 0.0, 0.0]
    for family, *figures in levels(folder):
        total = [sum(pair) for pair in zip(total, figures, strict=True)]
        print("{:24} {:5} {:5} {:7.1f} {:18.1f} {:13.1f}".format(family, *figures))
    print("{:24} {:5} {:5} {:7.1f} {:18.1f} {:13.1f}".format("sum", *total))


def rows_of(root):
    """Rows of the tables of alerts, but for the ids of tasks, which depend on the names of folders."""
    return {
        table: sorted(json.dumps({**json.loads(row), "task_id": None}, sort_keys=True) for row in found)
        for table, found in sqlite_rows(root).items()
    }


def compare(one, other):
    """Print what two runs have found, and whether it is the same."""
    rows = [rows_of(folder / "demo") for folder in (one, other)]
    for table in rows[0]:
        counts = [len(found[table]) for found in rows]
        print_pair(table, counts, is_same=rows[0][table] == rows[1][table])
    alerts = [sorted((folder / "demo" / "alerts").glob("*.avro")) for folder in (one, other)]
    read = [{path.name: len(read_alerts(path)) for path in found} for found in alerts]
    counts = [sum(found.values()) for found in read]
    print_pair("alerts", counts, is_same=read[0] == read[1])
    for table in SPECTRAL_TABLES:
        query = f"SELECT count(*) FROM {table}"  # noqa: S608
        found = [ask(folder, query)[0][0] for folder in (one, other)]
        print_pair(table, found, is_same=found[0] == found[1])


def print_pair(name, counts, *, is_same):
    print(f"{name:24} {counts[0]:7} {counts[1]:7} {'same' if is_same else 'OTHER'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--own", action="store_true", help="start a Slurm of two nodes here")
    parser.add_argument("--memory", default="1500", help="memory of a job [MB]")
    parser.add_argument("--members-per-job", type=int, default=1)
    parser.add_argument(
        "--local", action="store_true", help="run it without Slurm, too, and compare what both find"
    )
    parser.add_argument("--folder", help="new folder of the runs, which then stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(options.folder or name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        cluster = Cluster(folder / "slurm", [free_port() for _ in range(3)]) if options.own else None
        try:
            if cluster is not None:
                cluster.start()
                environment = {**cluster.environment, "PYTHONPATH": str(PROJECT)}
            wall, cpu = run(folder / "arrays", environment, "slurm", options)
        finally:
            if cluster is not None:
                cluster.stop()
        print(f"arrays: {wall:.1f} s; the submitter computes {cpu:.1f} s")
        print_levels(folder / "arrays")
        if options.local:
            wall, cpu = run(folder / "local", environment, "local", options)
            print(f"without Slurm: {wall:.1f} s, {cpu:.1f} s of CPU")
            compare(folder / "arrays", folder / "local")


if __name__ == "__main__":
    main()
