"""A real Slurm of two nodes: arrays of jobs, and what becomes of those that are lost."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from astra.cli import main
from astra.scheduler.access import TOKEN_VARIABLE
from tests.conftest import PROJECT
from tests.executors.submitter import LONGEST_S, numbers
from tests.postgresql import free_port

pytestmark = pytest.mark.slow

PLAN = """\
import sys
from astra.scheduler.remote import RemoteScheduler
from astra.tasks.runner import AstraWorker
from tests.executors.gated_tasks import Gated

scheduler = RemoteScheduler(sys.argv[1])
with AstraWorker(scheduler=scheduler, worker_processes=1) as planner:
    assert all(planner.add(Gated(number=number)) for number in range(3))
scheduler.send_reports()
"""


def test_each_level_is_an_array_and_what_is_cancelled_or_killed_for_memory_runs_again(site):
    members = range(6)
    process = site.start("Later", "--number", numbers(*members), "--held", "2", "--greedy", "4")
    site.wait_until(lambda: site.begun(2))
    site.cluster.command("scancel", site.job_of(2))
    site.wait_until(lambda: len(site.begun(2)) == 2)
    site.open_gate()
    assert site.finish(process) == 0, site.log[-3000:]
    assert site.states() == dict.fromkeys([*members, *(1000 + number for number in members)], "done")
    assert site.states("Later") == dict.fromkeys(members, "done")
    begun = {number: len(site.begun(number)) for number in (*members, *(1000 + n for n in members))}
    assert begun == {**dict.fromkeys(begun, 1), 2: 2, 4: 2}
    lost = [message for attempt, status, message in site.jobs() if status != 1]
    assert len(lost) == 2
    assert re.search(r"job \d+_1 on node n\d is CANCELLED.*attempt 1 of 3, submitted again", "".join(lost))
    assert re.search(
        r"job \d+_2 on node n\d is FAILED, exit code 0:9.*submitted again with memory 800M", "".join(lost)
    )
    arrays = site.rows("SELECT count(*) FROM job WHERE attempt = 1 GROUP BY submission ORDER BY min(pk)")
    assert arrays == [(3,), (3,), (3,)]
    # The logs of what went well are gone with their folders.
    kept = {path.name for path in (site.root / "jobs").iterdir()}
    assert kept == {name for (name,) in site.rows("SELECT submission FROM job WHERE status_code != 1")}


def test_what_ran_on_a_node_that_goes_down_runs_on_another(site, cluster):
    process = site.start("Gated", "--number", numbers(0, 1, 2, 3), "--held", "1")
    site.wait_until(lambda: site.begun(1))
    (node,) = site.begun(1)
    try:
        cluster.command("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
        site.wait_until(lambda: site.states()[3] == "done")
        assert len(site.begun(1)) == 1  # a node that is drained goes on with what it has
        cluster.command("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        site.wait_until(lambda: len(site.begun(1)) == 2)
        site.open_gate()
        assert site.finish(process) == 0, site.log[-3000:]
    finally:
        cluster.command("scontrol", "update", f"nodename={node}", "state=resume")
    assert site.begun(1)[1] != node
    assert set(site.states().values()) == {"done"}
    assert [len(site.begun(number)) for number in (0, 2, 3)] == [1, 1, 1]
    assert any(f"on node {node} is NODE_FAIL" in message for _, _, message in site.jobs())


@pytest.mark.parametrize("module", ["tests.executors.gated_tasks", "tests.executors.killed_submitter"])
def test_jobs_outlive_their_submitter_and_nothing_is_done_twice(site, module):
    process = site.start("Gated", "--number", numbers(*range(6)), "--held", "3", module=module)
    if module.endswith("gated_tasks"):
        site.wait_until(lambda: site.begun(3))
        process.send_signal(signal.SIGKILL)
    assert site.finish(process) == -signal.SIGKILL
    again = site.start("Gated", "--number", numbers(*range(6)), "--held", "3")
    site.wait_until(lambda: "jobs of an earlier run are still there" in site.log)
    site.open_gate()
    assert site.finish(again) == 0, site.log[-3000:]
    assert [len(site.begun(number)) for number in range(6)] == [1] * 6
    assert site.states() == dict.fromkeys(range(6), "done")
    assert [job[:2] for job in site.jobs()] == [(1, 1)] * 3


def test_what_is_lost_too_often_fails_with_a_sentence_and_the_others_go_on(site):
    site.configure("attempts = 1")
    arguments = ("--number", numbers(*range(4)), "--held", "0", "--refuse", "3")
    process = site.start("Gated", *arguments)
    site.wait_until(lambda: site.begun(0))
    name = site.job_of(0)
    site.cluster.command("scancel", name)
    assert site.finish(process) == 30
    states = site.states()
    assert {number: states[number] for number in (1, 2, 3)} == {1: "done", 2: "done", 3: "failed"}
    query = """SELECT message FROM task_attempt JOIN task ON task.pk = task_pk WHERE batch_size IS NULL
               AND message LIKE 'Slurm job%'"""
    ((message,),) = site.rows(query)
    assert re.fullmatch(
        rf"Slurm job {name} on node n\d is CANCELLED, exit code 75:0; attempt 1 of 1, given up; "
        rf"its log: {site.root}/jobs/[\w-]+/0\.log",
        message,
    )
    assert os.path.exists(message.rpartition(" ")[2])
    # The member behind it in the same job was given another one.
    assert [job[:2] for job in site.jobs()] == [(1, 40), (1, 1), (1, 1)]


def test_what_slurm_refuses_fails_with_its_words(site):
    site.configure("partition = nowhere")
    assert site.finish(site.start("Gated", "--number", "7")) == 30
    assert site.states() == {7: "failed"}
    ((message,),) = site.rows("SELECT message FROM job")
    assert message.startswith("Slurm refuses the array: ")
    assert "artition" in message


def test_an_option_that_is_unknown_stops_the_run_before_anything_is_submitted(site):
    site.configure("colour = red")
    assert site.finish(site.start("Gated", "--number", "7")) == 40
    assert "the options of executor 'slurm' for Gated cannot be used: section [slurm] has no" in site.log


def test_a_run_asks_from_within_its_job_for_what_it_needs(site):
    site.configure(extra="[executors]\nGated = local\n")
    assert site.finish(site.start("Surprising", "--number", "1")) == 0, site.log[-3000:]
    assert site.begun(2001) == ["here"]
    assert site.states("Surprising") == {1: "done"}
    assert len(site.jobs()) == 2  # one asked, the other found it there


def test_workers_serve_a_scheduler_as_an_array_and_end_when_idle(cluster, astra_root, monkeypatch, capsys):
    token, port = "a-token-of-this-very-test", free_port()
    token_file = astra_root / "token"
    token_file.write_text(token)
    token_file.chmod(0o600)
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    command = [sys.executable, "-m", "astra.cli", "scheduler", "--port", str(port), "--sync", "never"]
    with open(astra_root / "scheduler.log", "wb") as log:
        server = subprocess.Popen([*command, "--token-file", str(token_file)], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_until(lambda: b"scheduler on" in (astra_root / "scheduler.log").read_bytes())
        subprocess.run([sys.executable, "-c", PLAN, url], check=True)
        monkeypatch.delenv(TOKEN_VARIABLE)
        arguments = ["--count", "2", "--cpus", "1", "--memory", "500", "--idle-exit", "3"]
        arguments += ["--modules", "tests.executors", "--scheduler-url", url, "--token-file", str(token_file)]
        assert main(["workers", "--slurm", *arguments]) == 0
        job = re.search(r"2 workers are submitted as Slurm job (\d+)", capsys.readouterr().out)[1]
        shown = cluster.command("scontrol", "show", "job", "-dd", job)
        wait_until(lambda: "RUNNING" not in (text := queue_of(cluster, job)) and "PENDING" not in text)
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert queue_of(cluster, job).split() == ["COMPLETED", "COMPLETED"]
    assert all((astra_root / f"gated-{number}.txt").exists() for number in range(3))
    (folder,) = (astra_root / "jobs").iterdir()
    logs = "".join(path.read_text() for path in folder.glob("*.log"))
    assert logs.count("idle for 3 s") == 2
    assert sum(map(int, re.findall(r"(\d) done, 0 failed", logs))) == 3
    assert token not in shown
    private = {path.name for path in folder.iterdir() if path.stat().st_mode & 0o077 == 0}
    assert private >= {"token", "ticket.json", "workers.json"}
    assert folder.stat().st_mode & 0o077 == 0


def queue_of(cluster, job):
    return cluster.command("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%T")


def wait_until(is_true):
    deadline = time.monotonic() + LONGEST_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--memory", "much"], "memory must be a number"),
        (["--cpus", "many"], "the options of the jobs cannot be read"),
        (["--count", "5000"], "--count must be at most 1000 with --slurm"),
    ],
)
def test_workers_that_cannot_be_asked_for_are_refused(astra_root, capsys, arguments, words):
    assert main(["workers", "--slurm", *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not (astra_root / "jobs").exists()
