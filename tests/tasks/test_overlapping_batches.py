"""Workers that cut the same objects into batches that share some: each object is made once."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest

from astra.database.held import Holder
from astra.scheduler.bulk import BulkScheduler
from astra.scheduler.leases import FORGOTTEN_S
from astra.tasks import shared_members
from astra.tasks.handout import Handout
from astra.tasks.log_tail import LogTail
from astra.tasks.plan import write_plan
from astra.tasks.recording import Recorder
from astra.tasks.runner import current_invocation
from astra.tasks.shared_members import alive_among
from tests.conftest import PROJECT
from tests.tasks.overlapping import Overlapping
from tests.tasks.test_engine import states


def start(central, folder, numbers, family="Overlapping", workers=1):
    command = [sys.executable, "-m", "luigi", "--module", "tests.tasks.overlapping", family]
    command += ["--number", str(numbers), "--scheduler-url", central.url, "--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "ASTRA_ROOT": str(folder)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(folder, name, number):
    """Wait until a member has told something; return by which process."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = [line.split() for line in lines(folder, name) if line.split()[0] == str(number)]
        if found:
            return int(found[0][1])
        time.sleep(0.05)
    return pytest.fail(f"{number} has not {name}")


def lines(folder, name):
    return (folder / name).read_text().splitlines() if (folder / name).exists() else []


@pytest.mark.parametrize("is_killed", [False, True])
def test_two_workers_with_batches_that_overlap_make_each_member_once(central, astra_root, is_killed):
    first = start(central, astra_root, [*range(1, 9)])
    wait_for(astra_root, "begun", 1)
    second = start(central, astra_root, [*range(5, 13)])
    wait_for(astra_root, "made", 12)
    assert not {line.split()[0] for line in lines(astra_root, "begun")} & {"5", "6", "7", "8"}
    if is_killed:
        first.send_signal(signal.SIGKILL)
    else:
        (astra_root / "go").touch()
    codes = [worker.wait(timeout=120) for worker in (first, second)]
    assert codes == [-signal.SIGKILL if is_killed else 0, 0], second.stderr.read()[-3000:]
    made = Counter(int(line.split()[0]) for line in lines(astra_root, "made"))
    assert made == dict.fromkeys(range(5 if is_killed else 1, 13), 1)
    done = {number for number, state in states(astra_root, "Overlapping").items() if state == "done"}
    assert done == {str(number) for number in made}
    for worker in (first, second):
        worker.stderr.close()


@pytest.mark.parametrize(("workers", "is_killed"), [(1, True), (2, False)])
def test_tasks_wait_for_a_batch_that_makes_them(central, astra_root, workers, is_killed):
    first = start(central, astra_root, [*range(1, 9)])
    wait_for(astra_root, "begun", 1)
    second = start(central, astra_root, [5, 6, 12], "OverlappingOneByOne", workers)
    for _ in range(workers):  # as many tasks as there are processes wait at a time
        assert next(line for line in second.stderr if " waits for a batch that makes it" in line)
    assert not {line.split()[0] for line in lines(astra_root, "begun")} & {"5", "6"}
    if is_killed:
        first.send_signal(signal.SIGKILL)
    else:
        (astra_root / "go").touch()
    text = second.communicate(timeout=120)[1]
    first.communicate(timeout=120)
    assert [first.returncode, second.returncode] == [-signal.SIGKILL if is_killed else 0, 0], text[-3000:]
    made = Counter(int(line.split()[0]) for line in lines(astra_root, "made"))
    assert made == dict.fromkeys([5, 6, 12] if is_killed else [*range(1, 9), 12], 1)
    assert {states(astra_root, "Overlapping")[str(number)] for number in made} == {"done"}


def test_what_was_handed_out_is_left_to_a_batch_that_began_since(astra_root, monkeypatch):
    alone = [Overlapping(number=number) for number in (1, 2, 3)]
    write_plan(alone)
    handout = Handout()
    handout.begin(alone)
    monkeypatch.setattr(shared_members, "alive_among", set)
    Recorder(Overlapping(number=(3, 4)), LogTail()).begin()
    assert [handout.is_to_do(task) for task in alone] == [True, True, True]
    monkeypatch.setattr("astra.tasks.handout.LOOK_S", 0.0)
    assert [handout.is_to_do(task) for task in alone] == [True, True, False]
    again = Handout()
    again.begin(alone)
    assert [again.is_to_do(task) for task in alone] == [True, True, False]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_attempts_that_share_members_the_earlier_holds_them(astra_root, database, request, monkeypatch):
    monkeypatch.setattr(shared_members, "alive_among", set)
    if database == "postgresql":
        monkeypatch.setenv("ASTRA_DATABASE_URL", request.getfixturevalue("postgresql_url"))

    def begun(numbers):
        recorder = Recorder(Overlapping(number=numbers), LogTail())
        recorder.begin()
        return recorder.shared

    shared = {Overlapping(number=3).task_id}
    first, second = begun((1, 2, 3)), begun((3, 4))
    assert (first.held, second.held) == (set(), shared)
    assert second._still_held() == shared
    again = begun((1, 2, 3))  # in place of the first
    assert again.held == shared
    assert second._still_held() == set()
    assert begun((8, 9)).held == set()


def test_elsewhere_lives_what_the_scheduler_has_heard_of(astra_root, monkeypatch):
    scheduler = BulkScheduler(worker_disconnect_delay=FORGOTTEN_S)
    scheduler.grant_leases()
    monkeypatch.setattr(current_invocation(), "scheduler", scheduler)
    scheduler.add_tasks("w", [{"task_id": "a", "family": "F"}])
    holder = Holder("a", "elsewhere", os.getpid())
    assert alive_among([holder]) == set()
    scheduler.exchange_work("w")
    assert alive_among([holder, Holder("b", "elsewhere", os.getpid())]) == {holder}
    scheduler.leave("w")
    assert alive_among([holder]) == set()


def test_here_lives_what_the_system_knows_but_for_this_process_itself(astra_root):
    own, parent, gone = (Holder("a", socket.gethostname(), pid) for pid in (os.getpid(), os.getppid(), 2**30))
    assert alive_among([own, parent, gone]) == {parent}
