"""A submitter of jobs in a process of its own, and what it and they leave behind."""

import json
import sqlite3
import subprocess
import sys
import time

from tests.conftest import PROJECT

LONGEST_S = 900
SECRET = "a-password-of-these-very-tests"  # noqa: S105
CONFIGURATION = """\
[astra]
executor = slurm
[slurm]
poll_s = 0.3
ask_s = 0.5
members_per_job = 2
{slurm}
[worker]
wait_interval = 0.2
"""


class Site:
    """A root of products, and a submitter that uses the cluster."""

    def __init__(self, root, cluster):
        self.root, self.cluster = root, cluster
        self._processes = []
        self.configure()

    def close(self):
        """End what a test that has failed has left behind."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
                self.cluster.command("scancel", "--user=root", check=False)

    def configure(self, slurm="", extra=""):
        (self.root / "luigi.cfg").write_text(CONFIGURATION.format(slurm=slurm) + extra)

    def start(self, *arguments, module="tests.executors.gated_tasks"):
        command = [sys.executable, "-m", "luigi", "--local-scheduler", "--module", module, *arguments]
        environment = {
            **self.cluster.environment,
            "PYTHONPATH": str(PROJECT),
            "ASTRA_ROOT": str(self.root),
            "LUIGI_CONFIG_PATH": str(self.root / "luigi.cfg"),
            "PGPASSWORD": SECRET,
        }
        environment.pop("ASTRA_DATABASE_URL", None)
        log = open(self.root / "submitter.log", "ab")  # noqa: SIM115  # the process has it
        with log:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)
        return process

    def finish(self, process):
        """Exit status of a submitter."""
        try:
            return process.wait(timeout=LONGEST_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def rows(self, query):
        connection = sqlite3.connect(self.root / "astra.db", timeout=30)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def states(self, family="Gated"):
        """State of each member by its number."""
        query = "SELECT parameters, state FROM task_state WHERE family = '{}' AND batch_size IS NULL"
        return {int(json.loads(text)["number"]): state for text, state in self.rows(query.format(family))}

    def begun(self, number):
        """Nodes on which a member has begun."""
        path = self.root / f"begun-{number}"
        return path.read_text().split() if path.exists() else []

    def jobs(self):
        """Attempt, status and message of each job."""
        return self.rows("SELECT attempt, status_code, coalesce(message, '') FROM job ORDER BY pk")

    def job_of(self, number):
        """Name under Slurm of the job that has a member of Gated in hand."""
        query = "SELECT external_id, number, parameters FROM job WHERE status_code IN (0, 2)"
        found = [
            f"{external_id}_{index}"
            for external_id, index, text in self.rows(query)
            if str(number) in json.loads(json.loads(text)["number"])
        ]
        return found[-1]

    def wait_until(self, is_true):
        deadline = time.monotonic() + LONGEST_S
        while not is_true():
            assert time.monotonic() < deadline, (self.root / "submitter.log").read_text()[-3000:]
            time.sleep(0.1)

    def open_gate(self):
        (self.root / "open").touch()

    @property
    def log(self):
        return (self.root / "submitter.log").read_text()


def numbers(*values):
    return json.dumps([str(value) for value in values])
