"""A simulated night whose steps run as arrays of jobs, from raw frames to alerts, and what may go wrong."""

import contextlib
import os
import re
import signal
import sqlite3
import time

import pytest

from astra.alerts.files import read_alerts
from astra.products.layout import alert_path
from tests.executors.conftest import cluster  # noqa: F401  # a fixture
from tests.executors.submitter import LONGEST_S, Site
from tests.tasks.night import attempts, sqlite_rows, states

pytestmark = pytest.mark.slow

LOCAL = ("DefineVisits", "IngestRaws", "IngestReferenceCatalog")
STEPS = ("ProcessCcd", "DiffIm", "Associate", "PackageAlerts")
SLURM = "memory = 1500"
FAMILIES = f"""
[executors]
{"".join(f"{name} = local{os.linesep}" for name in LOCAL)}
[slurm:ProcessCcd]
memory = 1000
time = 30
[slurm:DiffIm]
memory = 200
memory_factor = 8
"""


def test_a_night_is_done_as_arrays_whatever_becomes_of_jobs_nodes_and_submitter(
    night,
    processed_root,
    tmp_path,
    cluster,  # noqa: F811
):
    site = Site(tmp_path, cluster)
    site.configure(SLURM, FAMILIES)
    process = site.start("ApPipe", *night.arguments(), module="astra")
    late, cancelled = hanging_jobs(site, 2)
    process.send_signal(signal.SIGKILL)
    assert site.finish(process) == -signal.SIGKILL
    cluster.command("scontrol", "update", f"JobId={late}", "EndTime=now")
    cluster.command("scancel", cancelled)
    cluster.command("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    again = site.start("ApPipe", *night.arguments(), module="astra")
    try:
        assert site.finish(again) == 0, site.log[-3000:]
    finally:
        cluster.command("scontrol", "update", "nodename=n2", "state=resume")
    assert "jobs of an earlier run are still there" in site.log
    for family in STEPS:
        assert set(states(tmp_path, family).values()) == {"done"}
    assert all(len(read_alerts(alert_path(tmp_path, *pair))) > 0 for pair in night.pairs)
    assert_arrays(site)
    assert_lost_jobs_are_told(site, late, cancelled)
    # Nothing is there twice, and nothing is missing.
    assert sqlite_rows(tmp_path) == sqlite_rows(processed_root)


def hanging_jobs(site, count):
    """Names under Slurm of jobs that were stopped in the middle of a member."""
    query = """SELECT DISTINCT external_id || '_' || number, run.pid
               FROM job JOIN run ON run.pk = job.run_pk JOIN task_attempt ON task_attempt.run_pk = run.pk
               JOIN task ON task.pk = task_pk
               WHERE job.status_code = 2 AND task_attempt.status_code = 2 AND batch_size IS NULL"""
    stopped = {}
    deadline = time.monotonic() + LONGEST_S
    while len(stopped) < count and time.monotonic() < deadline:
        time.sleep(0.05)
        with contextlib.suppress(sqlite3.OperationalError):  # the tables are not there yet
            for name, pid in site.rows(query) if (site.root / "astra.db").exists() else []:
                if name not in stopped and stop_outside_a_transaction(site.root / "astra.db", pid):
                    stopped[name] = pid
    return list(stopped)[:count]


def stop_outside_a_transaction(database, pid):
    """Stop a process; let it go on if it keeps others from writing. Says whether it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    connection = sqlite3.connect(database, timeout=2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        os.kill(pid, signal.SIGCONT)
        return False
    finally:
        connection.close()
    return True


def assert_arrays(site):
    """Every level was one array, with several members a job; what was not lost ran once."""
    arrays = {
        family: (n_arrays, n_jobs)
        for family, n_arrays, n_jobs in site.rows(
            "SELECT family, count(DISTINCT submission), count(*) FROM job WHERE attempt = 1 GROUP BY family"
        )
    }
    assert set(STEPS) <= set(arrays)
    assert not {*LOCAL, "ApPipe"} & set(arrays)
    assert {family: arrays[family] for family in STEPS[1:]} == dict.fromkeys(STEPS[1:], (1, 2))
    tried = attempts(site.root)
    assert [tried[family] for family in ("Associate", "PackageAlerts")] == [4, 4]
    assert tried["ProcessCcd"] > len(states(site.root, "ProcessCcd"))
    assert {node for (node,) in site.rows("SELECT host FROM job WHERE host IS NOT NULL")} <= {"n1", "n2"}
    drained = site.rows("SELECT host FROM job WHERE family IN ('DiffIm', 'Associate', 'PackageAlerts')")
    assert {node for (node,) in drained if node} == {"n1"}


def assert_lost_jobs_are_told(site, late, cancelled):
    said = site.rows("SELECT family, message FROM job WHERE status_code != 1 AND message IS NOT NULL")
    lost = "\n".join(f"{family}: {message}" for family, message in said)
    for words in (
        rf"ProcessCcd: Slurm job {late} on node n\d is TIMEOUT, .*at its time limit.*again with time 60;",
        rf"ProcessCcd: Slurm job {cancelled} on node n\d is CANCELLED.*attempt 1 of 3, submitted again;",
        r"DiffIm: .* is FAILED, exit code 0:9.*, killed over its memory of 200 MB; .*with memory 1600M;",
    ):
        assert re.search(words, lost), lost
    # Those that ran say so too: that they were asked to end, or what became of their job.
    query = """SELECT count(*) FROM task_attempt JOIN task ON task.pk = task_pk
               WHERE family = 'ProcessCcd' AND batch_size IS NULL AND task_attempt.status_code != 1
               AND (error_class = 'JobEnding' OR message LIKE '%is TIMEOUT%' OR message LIKE '%is CANC%')"""
    assert site.rows(query) == [(2,)]
