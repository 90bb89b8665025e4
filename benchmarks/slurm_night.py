"""The demonstration as arrays of jobs: on a Slurm that is there, or on one of two nodes that is made here.

    python benchmarks/slurm_night.py [--own] [--memory 1500] [--members-per-job 1]

Every level of the night is one `sbatch --array`. With ``--own`` (as root, with munge and slurm-wlm installed)
a Slurm of two nodes is started on the loopback interface; else that of SLURM_CONF is used, and the folder of
the run must be on a file system that its nodes share.
"""

import argparse
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

from tests.executors.slurm_cluster import Cluster
from tests.postgresql import free_port

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


def levels(folder):
    """Family, arrays, jobs, lost jobs and time from the first submission to the last end [s], in order."""
    connection = sqlite3.connect(folder / "demo" / "astra.db")
    try:
        return connection.execute(
            """SELECT family, count(DISTINCT submission), count(*), sum(status_code != 1),
                      86400 * (julianday(max(ended)) - julianday(min(created)))
               FROM job GROUP BY family ORDER BY min(pk)"""
        ).fetchall()
    finally:
        connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--own", action="store_true", help="start a Slurm of two nodes here")
    parser.add_argument("--memory", default="1500", help="memory of a job [MB]")
    parser.add_argument("--members-per-job", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="run it in one process, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
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
        print(f"arrays: {wall:.1f} s, of which the submitter computes {cpu:.1f} s")
        print(f"{'level':24} {'arrays':>6} {'jobs':>5} {'lost':>5} {'s':>7}")
        for family, arrays, jobs, lost, seconds in levels(folder / "arrays"):
            print(f"{family:24} {arrays:6} {jobs:5} {lost:5} {seconds:7.1f}")
        if options.local:
            wall, cpu = run(folder / "local", environment, "local", options)
            print(f"one process: {wall:.1f} s, {cpu:.1f} s of CPU")


if __name__ == "__main__":
    main()
