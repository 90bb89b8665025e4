"""Scheduler and workers are killed, stopped and cut off at random times: all is done, each effect made once.

A run that ends with its worker is begun again, by a task of plain Luigi and by one with state alike; nothing
else is. So a task may have begun twice, and only if the earlier runs were those of workers that were killed,
or were not heard of for longer than their lease.
"""

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import PROJECT
from tests.scheduler.conftest import Server
from tests.scheduler.effects import effects
from tests.scheduler.proxy import FaultyProxy

LEASE_S = 5.0
CONFIG = """[core]
no_lock = true
log_level = WARNING
rpc-retry-attempts = 60
rpc-retry-wait = 2
[worker]
keep_alive = true
wait_interval = 0.2
wait_jitter = 0.1
"""


class Farm:
    """A scheduler and workers that share a DAG."""

    def __init__(self, folder, *options, config=CONFIG, **tasks):
        self.folder = folder
        (folder / "scheduler").mkdir()
        self.central = Server(folder / "scheduler", *options)
        self.central.start()
        self.tasks = tasks
        self.workers, self.killed = [], set()
        self.config = folder / "luigi.cfg"
        self.config.write_text(config)

    def start_worker(self, port=None, **environment):
        command = [sys.executable, "-m", "luigi", "--module", "tests.scheduler.effects", "Effects"]
        for name, value in self.tasks.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        command += ["--scheduler-host", "127.0.0.1", "--scheduler-port", str(port or self.central.port)]
        env = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "EFFECTS_ROOT": str(self.folder),
            "ASTRA_ROOT": str(self.folder),
            "LUIGI_CONFIG_PATH": str(self.config),
            **environment,
        }
        with (self.folder / "log").open("a") as log:
            worker = subprocess.Popen(command, cwd=self.folder, env=env, stderr=log)
        self.workers.append(worker)
        return worker

    def kill(self, worker):
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)
        self.killed.add(worker.pid)
        return time.time()

    def lines(self, name):
        path = self.folder / name
        return [line.split() for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def wait_for(self, name, number):
        deadline = time.monotonic() + 120
        while len(found := self.lines(name)) < number:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.02)
        return found

    def finish(self):
        for worker in self.workers:
            assert worker.wait(timeout=200) == 0, (self.folder / "log").read_text()[-3000:]

    def begun(self):
        """The processes that began each task, in order."""
        found = defaultdict(list)
        for chain, step, pid, _ in self.lines("begun"):
            found[chain, step].append(int(pid))
        return found

    def stop(self):
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.central.stop()


@pytest.fixture
def farm(tmp_path):
    made = []

    def make(*options, **tasks):
        made.append(Farm(tmp_path, *options, **tasks))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def assert_made_once(farm, n_tasks):
    made = effects(farm.folder)
    assert len(made) == n_tasks
    assert set(made.values()) == {1}
    assert not list(farm.folder.glob("*.part")) or farm.killed


def test_two_thousand_tasks_outlast_kills_at_random_times(farm):
    chains, steps = 400, 5
    group = farm("--lease", str(LEASE_S), chains=chains, steps=steps)
    chance = random.Random(20261126)  # noqa: S311
    for _ in range(2):
        group.start_worker()
    for part in sorted(chance.uniform(0.05, 0.9) for _ in range(5)):
        group.wait_for("made", int(part * chains * steps))
        if chance.random() < 0.5:
            group.central.kill()
            group.central.start()
        else:
            group.kill(chance.choice(group.workers))
            group.start_worker()
    group.kill(group.workers[0])
    group.finish()
    assert_made_once(group, chains * steps)
    for key, pids in group.begun().items():
        assert set(pids[:-1]) <= group.killed, key
    assert len(group.central.call("task_list", status="DONE", limit=False)) == chains * steps + 1


def test_tasks_with_state_have_one_good_attempt_each(farm):
    chains, steps = 100, 4
    group = farm("--lease", str(LEASE_S), chains=chains, steps=steps, stated=True)
    first = group.start_worker()
    group.wait_for("made", 100)
    group.start_worker()
    group.wait_for("made", 150)
    group.kill(first)
    group.finish()
    with sqlite3.connect(group.folder / "astra.db") as database:
        states = database.execute(
            "SELECT status_code, count(*) FROM task WHERE family = 'StatedEffectStep' GROUP BY 1"
        ).fetchall()
        good = database.execute(
            "SELECT task_pk, count(*) FROM task_attempt WHERE status_code = 1 GROUP BY 1"
        ).fetchall()
    assert states == [(1, chains * steps)]
    assert len(good) == chains * steps
    assert {number for _, number in good} == {1}


@pytest.mark.parametrize("fault", ["network held", "network lost", "stopped"])
def test_a_worker_that_was_only_slow_does_nothing_twice(farm, fault):
    chains, steps = 60, 3
    group = farm("--lease", "2", chains=chains, steps=steps)
    pause = {"EFFECTS_PAUSE_S": "0.02"}
    with FaultyProxy(group.central.port) as proxy:
        slow = group.start_worker(proxy.port, **pause)
        group.start_worker(**pause)
        begun = group.wait_for("begun", 20)
        while not any(int(pid) == slow.pid for *_, pid, _ in begun):
            begun = group.wait_for("begun", len(begun) + 1)
        if fault == "stopped":
            slow.send_signal(signal.SIGSTOP)
        else:
            proxy.cut()
        time.sleep(5.0)
        if fault == "stopped":
            slow.send_signal(signal.SIGCONT)
        else:
            proxy.mend(loses=fault == "network lost")
        group.finish()
    assert_made_once(group, chains * steps)
    twice = {key: pids for key, pids in group.begun().items() if len(pids) > 1}
    assert len(twice) <= 1  # what it was in the middle of
    assert all(pids.count(slow.pid) == 1 for pids in twice.values())


def kill_worker(group):
    """Kill one of two workers; return the other, and when."""
    first = group.start_worker(EFFECTS_PAUSE_S="0.05", EFFECTS_LONG_S="0")
    group.wait_for("begun", 1)
    os.kill(first.pid, signal.SIGSTOP)  # so that it does not finish while the other one starts
    other = group.start_worker()
    os.kill(first.pid, signal.SIGCONT)
    os.kill(first.pid, signal.SIGSTOP)
    killed = group.kill(first)
    group.finish()
    return other, killed


def kill_scheduler_and_worker(group):
    """Kill the scheduler and one of two workers, start the scheduler; return that worker, and when."""
    first = group.start_worker(EFFECTS_PAUSE_S="0.05")
    group.wait_for("begun", 1)
    other = group.start_worker(EFFECTS_PAUSE_S="0.05")
    begun = group.wait_for("begun", 2)
    while not any(int(pid) == other.pid for *_, pid, _ in begun):
        begun = group.wait_for("begun", len(begun) + 1)
    first.send_signal(signal.SIGSTOP)  # so that it is at one that it never ends
    group.central.kill()
    killed = group.kill(first)
    group.central.start()
    group.finish()
    return first, killed


@pytest.fixture(scope="module")
def by_default(tmp_path_factory):
    """What becomes of farms with the leases that are the default, both at once, for they mostly wait."""

    def play(act, chains, steps):
        group = Farm(tmp_path_factory.mktemp(act.__name__), config="", chains=chains, steps=steps)
        try:
            return group, *act(group)
        finally:
            group.stop()

    with ThreadPoolExecutor(2) as threads:
        plays = [threads.submit(play, kill_worker, 6, 1)]
        plays.append(threads.submit(play, kill_scheduler_and_worker, 300, 2))
    return plays


def test_what_a_killed_worker_had_begins_again_within_30_s_by_default(by_default):
    group, other, killed = by_default[0].result()
    again = [float(moment) for *_, pid, moment in group.lines("begun") if int(pid) == other.pid]
    assert again
    assert min(again) - killed <= 30.0
    assert_made_once(group, 6)


def test_after_a_kill_of_scheduler_and_worker_at_once_all_goes_on_within_30_s_by_default(by_default):
    group, first, killed = by_default[1].result()
    made = sorted(float(moment) for *_, moment in group.lines("made"))
    after = [killed, *(moment for moment in made if moment > killed)]
    pause_s = max(later - sooner for sooner, later in itertools.pairwise(after))
    begun = group.begun()
    left = {key for key, pids in begun.items() if pids[0] == first.pid and len(pids) > 1}
    again = [float(moment) for *key, _, moment in group.lines("begun") if tuple(key) in left]
    taken_s = max(again, default=killed) - killed
    sys.stdout.write(f"longest pause {pause_s:.1f} s, what the dead worker had after {taken_s:.1f} s\n")
    assert pause_s <= 30.0
    assert taken_s <= 30.0
    assert_made_once(group, 600)


def test_a_long_task_does_not_hold_up_what_came_with_it(farm):
    group = farm(chains=80, steps=1, long=40)
    pause = {"EFFECTS_PAUSE_S": "0.01", "EFFECTS_LONG_S": "6"}
    for _ in range(2):
        group.start_worker(**pause)
    group.finish()
    made = {chain: float(moment) for chain, _, _, moment in group.lines("made")}
    long_made = made.pop("40")
    assert max(made.values()) < long_made - 2.0
    assert_made_once(group, 80)
