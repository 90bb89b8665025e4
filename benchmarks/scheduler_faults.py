"""Faults while workers share a large DAG: what is done in the end, how often, and how soon it goes on.

Scheduler and workers are killed, workers are stopped, and their network is cut, at random times; what was
killed is started again. In the end every task is done, its effect made once; what was begun more than once is
told.

    python benchmarks/scheduler_faults.py                          # 47,251 tasks, 3 workers, 8 faults
    python benchmarks/scheduler_faults.py --chains 400 --faults 5  # 2,001 tasks
    python benchmarks/scheduler_faults.py --stated --chains 2000   # tasks with state, counted in the database
"""

import argparse
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.scheduler.conftest import Server  # after the path
from tests.scheduler.effects import effects
from tests.scheduler.proxy import FaultyProxy

FAULTS = ("kill scheduler", "kill worker", "stop worker", "cut, held", "cut, lost")
SHOWN = 5  # tasks of a killed worker that are followed
PATIENCE_S = 120.0
CONFIG = "[core]\nno_lock = true\nlog_level = WARNING\n[worker]\nkeep_alive = true\n"


class Worker:
    """A worker that reaches the scheduler through a proxy of its own."""

    def __init__(self, folder, port, arguments, pause_s, stack):
        self.proxy = stack.enter_context(FaultyProxy(port))
        command = [sys.executable, "-W", "ignore", "-m", "luigi", "--module", "tests.scheduler.effects"]
        command += ["Effects", *arguments, "--scheduler-host", "127.0.0.1"]
        command += ["--scheduler-port", str(self.proxy.port)]
        env = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "EFFECTS_ROOT": str(folder),
            "ASTRA_ROOT": str(folder),
        }
        env |= {"LUIGI_CONFIG_PATH": str(folder / "luigi.cfg"), "EFFECTS_PAUSE_S": str(pause_s)}
        with (folder / "workers.log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)

    @property
    def pid(self):
        return self.process.pid

    def send(self, number):
        self.process.send_signal(number)


class Run:
    """One DAG under faults."""

    def __init__(self, folder, options, stack):
        self.folder, self.options, self.stack = folder, options, stack
        self.central = Server(folder, "--lease", str(options.lease))
        self.chance = random.Random(options.seed)  # noqa: S311
        self.killed = set()
        self.arguments = ["--chains", str(options.chains), "--steps", str(options.steps)]
        self.arguments += ["--stated"] if options.stated else []
        (folder / "luigi.cfg").write_text(CONFIG)
        self.central.start()
        stack.callback(self.central.stop)
        self.workers = []
        for _ in range(options.workers):
            self.start_worker()

    @property
    def n_tasks(self):
        return self.options.chains * self.options.steps

    def start_worker(self):
        pause_s = self.options.pause
        self.workers.append(Worker(self.folder, self.central.port, self.arguments, pause_s, self.stack))
        self.stack.callback(self.workers[-1].process.kill)

    def lines(self, name):
        path = self.folder / name
        return [line.split() for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def n_made(self):
        path = self.folder / "made"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def figure(self, name):
        """One figure of the scheduler, as Prometheus would read it."""
        with urllib.request.urlopen(f"{self.central.url}/metrics", timeout=30) as answer:  # noqa: S310
            found = re.search(rf"^astra_scheduler_{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1])

    def wait(self, is_so):
        """Wait for something; return the seconds."""
        began = time.monotonic()
        while not is_so():
            if time.monotonic() - began > PATIENCE_S:
                return float("nan")
            time.sleep(0.2)
        return time.monotonic() - began

    def suffer(self, fault):
        """Have a fault; return how soon it was overcome [s], and what that means."""
        if fault == "kill scheduler":
            return self.kill_scheduler()
        busy = [worker for worker in self.workers if self.begun_by(worker.pid)]
        worker = self.chance.choice(busy or self.workers)
        if fault == "kill worker":
            return self.kill_worker(worker)
        return self.silence(worker, fault)

    def begun_by(self, pid):
        return sum(int(line[2]) == pid for line in self.lines("begun"))

    def kill_scheduler(self):
        began, before = time.monotonic(), self.n_made()
        self.central.kill()
        self.central.start()
        restarted = time.monotonic() - began
        went_on = self.wait(lambda: self.n_made() > before)
        return (
            restarted + went_on,
            f"next effect after the kill; the scheduler answered after {restarted:.1f} s",
        )

    def had(self, pid):
        """Ids of tasks that the scheduler says a worker has."""
        for worker in self.central.call("worker_list"):
            if worker["name"].endswith(f"pid={pid})"):
                return list(worker["running"])
        return []

    def kill_worker(self, worker):
        worker.send(signal.SIGSTOP)  # so that what it has is known
        had = self.had(worker.pid)
        worker.send(signal.SIGKILL)
        worker.process.wait()
        self.workers.remove(worker)
        self.killed.add(worker.pid)
        some = had[:SHOWN]
        taken = self.wait(lambda: all(map(self.is_taken, some)))
        self.start_worker()
        return taken, f"the first {len(some)} of the {len(had)} tasks that it had are run by others, or done"

    def is_taken(self, task_id):
        node = self.central.call("dep_graph", task_id=task_id).get(task_id, {"status": "DONE"})
        if node["status"] == "RUNNING":
            return int(node["worker_running"].rpartition("pid=")[2][:-1]) not in self.killed
        return node["status"] == "DONE"

    def silence(self, worker, fault):
        """Stop a worker, or cut its network, for longer than a lease or for less."""
        seconds = self.chance.choice([0.5, 1.5]) * self.options.lease
        if fault == "stop worker":
            worker.send(signal.SIGSTOP)
        else:
            worker.proxy.cut()
        time.sleep(seconds)
        before = self.begun_by(worker.pid)
        if fault == "stop worker":
            worker.send(signal.SIGCONT)
        else:
            worker.proxy.mend(loses=fault == "cut, lost")
        back = self.wait(lambda: self.begun_by(worker.pid) > before or self.n_made() == self.n_tasks)
        return back, f"after {seconds:.0f} s it begins tasks again"

    def run(self):
        """Have all faults, in turn and in random order of kinds; return the exit codes."""
        kinds = [FAULTS[number % len(FAULTS)] for number in range(self.options.faults)]
        self.chance.shuffle(kinds)
        parts = sorted(self.chance.uniform(0.03, 0.8) for _ in kinds)
        print(f"{'done':>8} {'fault':16} {'overcome [s]':>12}")
        for part, fault in zip(parts, kinds, strict=True):
            while self.n_made() < part * self.n_tasks:
                time.sleep(0.1)
            n_made = self.n_made()
            seconds, what = self.suffer(fault)
            print(f"{n_made:8,} {fault:16} {seconds:12.1f}  {what}", flush=True)
        return [worker.process.wait() for worker in self.workers]

    def tell(self, codes, wall_s):
        made = effects(self.folder)
        begun = defaultdict(list)
        for chain, step, pid, _ in self.lines("begun"):
            begun[chain, step].append(int(pid))
        twice = [pids for pids in begun.values() if len(pids) > 1]
        n_killed = sum(set(pids[:-1]) <= self.killed for pids in twice)
        print(f"exit codes of the workers: {codes}; {wall_s:.0f} s")
        print(f"tasks: {self.n_tasks:,}; done: {len(made):,}; effects made: {sum(made.values()):,}")
        print(
            f"begun more than once: {len(twice)}, of these {n_killed} by a killed worker first, and "
            f"{len(twice) - n_killed} by one that was silent for longer than its lease"
        )
        names = ("leases_expired", "runs_lost", "runs_resumed", "reports_void", "given_back")
        print(
            "since the last start of the scheduler:", *(f"{n} {self.figure(n + '_total'):.0f}" for n in names)
        )
        print(f"memory of the scheduler: {memory_of(self.central.process.pid):.0f} MB")
        whole = len(made) == self.n_tasks and not any(codes)
        return whole and (self.options.stated or set(made.values()) == {1})

    def tell_state(self):
        """Count in the database: each task with state has one row that is done, and one good attempt."""
        with sqlite3.connect(self.folder / "astra.db") as database:
            count = "SELECT count(*), count(DISTINCT task_pk) FROM task_attempt WHERE status_code = 1"
            n_good, n_tasks = database.execute(count).fetchone()
        print(f"good attempts in the database: {n_good:,} of {n_tasks:,} tasks")
        return n_good == n_tasks == self.n_tasks


def memory_of(pid):
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1e3


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, default=9450)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--faults", type=int, default=8)
    parser.add_argument("--lease", type=float, default=20.0, help="[s]")
    parser.add_argument("--pause", type=float, default=0.01, help="that a task takes [s]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stated", action="store_true", help="tasks with state")
    parser.add_argument(
        "--folder", type=Path, help="where to keep files and logs [default: removed at the end]"
    )
    options = parser.parse_args()
    made = tempfile.mkdtemp(prefix="faults")
    folder = options.folder or Path(made)
    folder.mkdir(exist_ok=True)
    try:
        with ExitStack() as stack:
            run = Run(folder, options, stack)
            began = time.monotonic()
            codes = run.run()
            is_right = run.tell(codes, time.monotonic() - began)
            is_right &= run.tell_state() if options.stated else True
    finally:
        shutil.rmtree(made, ignore_errors=True)
    print(f"load {os.getloadavg()[0]:.1f}")
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
