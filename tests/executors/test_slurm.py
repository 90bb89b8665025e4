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
from tests.executors.submitter import LONGEST_S, SECRET, numbers
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


def test_each_level_is_an_array_and_what_is_cancelled_or_lacks_memory_or_time_runs_again(site):
    site.configure(extra="[slurm:Gated]\ntime = 20\n")
    members = range(10)
    given = ["--held", "2", "--greedy", "4", "--slow", "6", "--stubborn", "8"]
    process = site.start("Later", "--number", numbers(*members), *given)
    site.wait_until(lambda: all(map(site.begun, (2, 6, 8))))
    assert_no_secret_is_known(site)
    site.cluster.command("scancel", site.job_of(2))
    for number, end in ((6, "now+100"), (8, "now")):  # the first is asked to end in time, the other is late
        site.cluster.command("scontrol", "update", f"JobId={site.job_of(number)}", f"EndTime={end}")
    site.wait_until(lambda: all(len(site.begun(number)) == 2 for number in (2, 6, 8)))
    site.open_gate()
    assert site.finish(process) == 0, site.log[-3000:]
    assert site.states() == dict.fromkeys([*members, *(1000 + number for number in members)], "done")
    assert site.states("Later") == dict.fromkeys(members, "done")
    begun = {number: len(site.begun(number)) for number in site.states()}
    assert begun == {**dict.fromkeys(begun, 1), **dict.fromkeys([2, 4, 6, 8], 2)}
    assert_lost_jobs_say_why(site)
    arrays = site.rows("SELECT count(*) FROM job WHERE attempt = 1 GROUP BY submission ORDER BY min(pk)")
    assert arrays == [(5,), (5,), (5,)]
    # Of what went well nothing is left, of the others what they said.
    lost = dict(site.rows("SELECT submission, number FROM job WHERE status_code != 1"))
    folders = list((site.root / "jobs").iterdir())
    assert {path.name for path in folders} == set(lost)
    assert {file.suffix for path in folders for file in path.iterdir()} == {".log"}


def assert_no_secret_is_known(site):
    """Neither the controller's files nor what it shows have a password; the ticket is for one's own eyes."""
    stored = site.cluster.stored_environments()
    assert b"ASTRA_ROOT=" in stored
    shown = site.cluster.command("scontrol", "show", "job", "-dd")
    assert "Comment=astra Gated, attempt 1 of 3" in shown
    assert SECRET.encode() not in stored + shown.encode()
    tickets = list((site.root / "jobs").glob("*/ticket.json"))
    assert tickets
    for path in tickets:
        assert SECRET in path.read_text()
        assert {path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777} == {0o600, 0o700}


def assert_lost_jobs_say_why(site):
    lost = "\n".join(message for _, status, message in site.jobs() if status != 1)
    for words in (
        r"job \d+_1 on node n\d is CANCELLED.*attempt 1 of 3, submitted again;",
        r"job \d+_2 on node n\d is FAILED, exit code 0:9.*, killed over its memory of 400 MB; .*memory 800M;",
        r"job \d+_3 on node n\d is FAILED, exit code 75:0.*, at its time limit of \d+ min; .*with time 40;",
        r"job \d+_4 on node n\d is TIMEOUT, .*, at its time limit.*; .*submitted again with time 40;",
    ):
        assert re.search(words, lost), lost
    assert len(lost.splitlines()) == 4
    query = """SELECT json_extract(parameters, '$.number'), message FROM task_attempt
               JOIN task ON task.pk = task_pk
               WHERE batch_size IS NULL AND family = 'Gated' AND task_attempt.status_code != 1"""
    said = {int(number): message for number, message in site.rows(query)}
    assert said.keys() == {2, 4, 6, 8}
    assert "with memory 800M" in said[4]
    assert "is TIMEOUT" in said[8]
    assert "asked to end" in said[6]


def test_what_gives_way_to_others_or_was_on_a_node_that_goes_down_runs_on_another(site, cluster):
    process = site.start("Gated", "--number", numbers(0, 1, 2, 3), "--held", "1")
    site.wait_until(lambda: site.begun(1) and site.states().get(3) == "done")
    (first,) = site.begun(1)
    urgent = ("--partition=urgent", f"--nodelist={first}", "--mem=3900", "--output=/dev/null")
    job = cluster.command("sbatch", "--parsable", *urgent, "--wrap=exec sleep 300").strip()
    site.wait_until(lambda: len(site.begun(1)) == 2)
    node = site.begun(1)[1]
    assert node != first
    cluster.command("scancel", job)
    try:
        cluster.command("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
        time.sleep(1)
        assert len(site.begun(1)) == 2  # a node that is drained goes on with what it has
        cluster.command("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        site.wait_until(lambda: len(site.begun(1)) == 3)
        site.open_gate()
        assert site.finish(process) == 0, site.log[-3000:]
    finally:
        cluster.command("scontrol", "update", f"nodename={node}", "state=resume")
    assert site.begun(1)[2] == first
    assert set(site.states().values()) == {"done"}
    assert [len(site.begun(number)) for number in (0, 2, 3)] == [1, 1, 1]
    # Preemption is no attempt; the cluster, which would start both again by itself, was told not to.
    assert sorted((attempt, status) for attempt, status, _ in site.jobs()) == [
        (1, 1),
        (1, 40),
        (1, 40),
        (2, 1),
    ]
    lost = [message for _, status, message in site.jobs() if status != 1]
    assert f"on node {first} is PREEMPTED" in lost[0]
    assert f"on node {node} is NODE_FAIL" in lost[1]


def test_jobs_outlive_a_submitter_that_dies_before_it_knows_of_them(site):
    module = "tests.executors.killed_submitter"
    process = site.start("Gated", "--number", numbers(*range(6)), "--held", "3", module=module)
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
        rf"Slurm job {name} on node n\d is CANCELLED, exit code (75:0|0:9); attempt 1 of 1, given up; "
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


def test_a_job_that_slurm_would_never_start_fails_with_its_reason(site, cluster):
    cluster.command("scontrol", "update", "PartitionName=urgent", "MaxTime=5")
    try:
        site.configure("partition = urgent\ntime = 60")
        assert site.finish(site.start("Gated", "--number", "7")) == 30
    finally:
        cluster.command("scontrol", "update", "PartitionName=urgent", "MaxTime=INFINITE")
    assert site.states() == {7: "failed"}
    ((message,),) = site.rows("SELECT message FROM job")
    reason = r"PartitionConfig: it asks for more time, .* than its partition allows|PartitionTimeLimit"
    words = rf"Slurm job \d+_0 would never start \(({reason})\) and is cancelled"
    assert re.fullmatch(rf"{words}; attempt 1 of 3, given up", message)
    assert not cluster.command("squeue", "--noheader", "--partition=urgent")


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
        arguments = ["--count", "2", "--cpus", "1", "--memory", "500", "--idle-exit", "3"]
        arguments += ["--modules", "tests.executors", "--scheduler-url", url, "--token-file", str(token_file)]
        assert main(["workers", "--slurm", *arguments]) == 0
        job = re.search(r"2 workers are submitted as Slurm job (\d+)", capsys.readouterr().out)[1]
        shown = (
            cluster.command("scontrol", "show", "job", "-dd", job).encode() + cluster.stored_environments()
        )
        (folder,) = (astra_root / "jobs").iterdir()
        modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
        wait_until(lambda: "RUNNING" not in (text := queue_of(cluster, job)) and "PENDING" not in text)
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert queue_of(cluster, job).split() == ["COMPLETED", "COMPLETED"]
    assert all((astra_root / f"gated-{number}.txt").exists() for number in range(3))
    logs = "".join(path.read_text() for path in folder.glob("*.log"))
    assert logs.count("idle for 3 s") == 2
    assert sum(map(int, re.findall(r"(\d) done, 0 failed", logs))) == 3
    assert token.encode() not in shown
    private = {
        "token": 0o600,
        "ticket.json": 0o600,
        "workers.json": 0o600,
        "job.sh": 0o700,
        folder.name: 0o700,
    }
    assert {name: modes[name] for name in private} == private
    assert {path.suffix for path in folder.iterdir()} == {".log"}  # the last one has taken the token away


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
