"""Jobs as tasks of Dask: in threads of the submitter, and on a scheduler of its own whose workers may die."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import PROJECT
from tests.executors.submitter import LONGEST_S, Site, numbers
from tests.scheduler.test_pooled_worker import lives

pytestmark = pytest.mark.slow

CONFIGURATION = """\
[astra]
executor = dask
[dask]
poll_s = 0.3
members_per_job = 2
workers = 2
{options}
[worker]
wait_interval = 0.2
"""
CLUSTER = """\
import signal
import sys
import time
from distributed import LocalCluster

if __name__ == "__main__":
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(cluster.scheduler_address, flush=True)
    while True:
        time.sleep(1)
"""


class Nowhere:
    """In the place of a cluster: what the environment is."""

    @property
    def environment(self):
        return dict(os.environ)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path, Nowhere())

    def configure(options=""):
        (tmp_path / "luigi.cfg").write_text(CONFIGURATION.format(options=options))

    made.configure = configure
    configure()
    return made


@pytest.fixture
def cluster_address(tmp_path):
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with open(tmp_path / "cluster.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, script], stdout=subprocess.PIPE, stderr=log, env=environment, cwd=tmp_path
        )
    with process.stdout as lines:
        address = lines.readline().decode().strip()
        yield address
        process.terminate()
        process.wait(timeout=60)


def test_batches_run_as_tasks_of_dask_in_this_process(site):
    process = site.start("Gated", "--number", numbers(0, 1, 2), "--refuse", "2")
    assert site.finish(process) == 30, site.log[-3000:]
    assert site.states() == {0: "done", 1: "done", 2: "failed"}
    assert all(status == 1 for _, status, _ in site.jobs())


def test_what_a_dead_worker_had_in_hand_runs_again(site, cluster_address):
    site.configure(f"address = {cluster_address}")
    process = site.start("Gated", "--number", numbers(*range(4)), "--held", "0")
    site.wait_until(lambda: site.begun(0))
    (job,) = job_processes(site)
    os.kill(parent_of(job), signal.SIGKILL)
    site.wait_until(lambda: len(site.begun(0)) == 2)
    site.wait_until(lambda: has_ended(job))  # with its worker
    site.open_gate()
    assert site.finish(process) == 0, site.log[-3000:]
    assert site.states() == dict.fromkeys(range(4), "done")
    assert [len(site.begun(number)) for number in range(4)] == [2, 1, 1, 1]


def test_jobs_on_a_scheduler_outlive_their_submitter(site, cluster_address):
    site.configure(f"address = {cluster_address}")
    process = site.start("Gated", "--number", numbers(0, 1, 2, 3), "--held", "3")
    site.wait_until(lambda: site.begun(3))
    process.send_signal(signal.SIGKILL)
    assert site.finish(process) == -signal.SIGKILL
    again = site.start("Gated", "--number", numbers(0, 1, 2, 3), "--held", "3")
    site.wait_until(lambda: "jobs of an earlier run are still there" in site.log)
    site.open_gate()
    assert site.finish(again) == 0, site.log[-3000:]
    assert [len(site.begun(number)) for number in range(4)] == [1] * 4
    assert [job[:2] for job in site.jobs()] == [(1, 1)] * 2


def job_processes(site):
    """Ids of the processes in which jobs of a site run."""
    query = """SELECT DISTINCT pid FROM task_attempt JOIN job ON job.run_pk = task_attempt.run_pk
               WHERE task_attempt.status_code = 2"""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        found = [pid for (pid,) in site.rows(query)]
        if found:
            return found
        time.sleep(0.1)
    return []


def has_ended(pid):
    return not lives(pid)


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    from astra.errors import ConfigError
    from astra.executors.dask import DaskExecutor

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"executor dask needs the extra 'dask': pip install"):
        DaskExecutor()._client("tcp://127.0.0.1:1")
