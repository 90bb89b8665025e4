"""The central scheduler beside stock Luigi: CPU seconds of worker and scheduler for layers of trivial tasks.

The DAG is that of a night: for each visit and each of 189 detectors a chain of 5 steps, and one task that
needs them all. Files are on tmpfs. Stock Luigi is given up after a while; what it had done by then is told.
Kinds are ``plain`` (tasks without state), ``state``, ``batches`` (all detectors of a visit in one task) and
``stock``; with ``+2`` the worker has two processes. "ms/task" is the CPU of all processes for each task done,
after their imports and less that of a run without any, "engine s" the same for all tasks; of batches without
what goes on while one runs, which is mostly the states of members. The database is made before, and opened by
a run without tasks too. "MB" are the peaks of worker and scheduler, "both" that of the two and their
processes together, what they share counted once, as seen each second. Where several numbers of visits are
given, the last lines tell how many times the engine took of one for those before: of medians with
``--repeat``.

    python benchmarks/scheduler.py                                    # 5 and 50 visits, all kinds
    python benchmarks/scheduler.py --visits 1 10 --kinds plain --repeat 9  # growth from 946 tasks to 9,451
    python benchmarks/scheduler.py --visits 212 --kinds plain         # 200,341 tasks
    python benchmarks/scheduler.py --visits 1 --kinds plain+2 stock+2 # processes that stay, and a fork a task
"""

import argparse
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import psutil

PROJECT = Path(__file__).resolve().parents[1]
DETECTORS, STEPS = 189, 5
TMPFS = "/dev/shm"  # noqa: S108  # a folder of one's own below it
MODULE = """
import os
import time
from pathlib import Path
import luigi
import luigi.worker
if os.environ["NIGHT_KIND"] != "stock":
    import astra
    from astra.tasks.base import AstraTask
    if os.environ["NIGHT_KIND"] != "plain":
        import astra.database.engine
        import astra.database.plan
        astra.database.engine.get_engine(astra.config.database_url())
else:
    AstraTask = luigi.Task
ROOT = os.environ["NIGHT_FILES"]

run = luigi.worker.TaskProcess.run

def timed_run(self):
    # Note the CPU that the run of a task takes, with what Luigi and astra do around it.
    began = time.process_time()
    run(self)
    with open(f"{ROOT}.cpu", "a") as file:
        file.write(f"{time.process_time() - began}\\n")

if os.environ["NIGHT_KIND"] == "batches":
    luigi.worker.TaskProcess.run = timed_run

with open(f"{ROOT}.start", "w") as file:
    file.write(f"{time.process_time()}")

class PlainStep(luigi.Task):
    visit = luigi.IntParameter()
    detector = luigi.IntParameter()
    step = luigi.IntParameter()

    def requires(self):
        return [self.clone(step=self.step - 1)] if self.step else []

    def output(self):
        return luigi.LocalTarget(f"{ROOT}/{self.step}_{self.visit}_{self.detector}")

    def run(self):
        Path(self.output().path).touch()

class StateStep(AstraTask):
    visit = luigi.IntParameter()
    detector = luigi.IntParameter()
    step = luigi.IntParameter()

    def requires(self):
        return [self.clone(step=self.step - 1)] if self.step else []

    def run(self):
        pass

class BatchStep(AstraTask):
    visit = luigi.IntParameter()
    detector = luigi.IntParameter(batch_method=tuple)
    step = luigi.IntParameter()

    def requires(self):
        return [self.clone(step=self.step - 1)] if self.step else []

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass

class Night(luigi.WrapperTask):
    visits = luigi.IntParameter()
    kind = luigi.Parameter()

    def requires(self):
        last, detectors = int(os.environ["NIGHT_LAST"]), range(int(os.environ["NIGHT_DETECTORS"]))
        if self.kind == "batches":
            return [BatchStep(visit=v, detector=tuple(detectors), step=last) for v in range(self.visits)]
        step = StateStep if self.kind == "state" else PlainStep
        return [step(visit=v, detector=d, step=last) for v in range(self.visits) for d in detectors]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


class Peak:
    """The most memory that processes and those below them use at a time [MB]."""

    def __init__(self, pids):
        self.processes = [psutil.Process(pid) for pid in pids]
        self.mb = self.looked = 0.0

    def look(self):
        if time.monotonic() - self.looked < 1.0:
            return
        self.looked = time.monotonic()
        total = 0
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                for one in (process, *process.children(recursive=True)):
                    total += one.memory_full_info().pss
        self.mb = max(self.mb, total / 1e6)


def start_scheduler(folder, port, stock):
    if stock:
        code = "import sys; from luigi.cmdline import luigid; luigid(sys.argv[1:])"
        command = [sys.executable, "-c", code, "--address", "127.0.0.1"]
    else:
        command = [sys.executable, "-m", "astra.cli", "scheduler"]
    command += ["--port", str(port), "--state-path", str(folder / "state")]
    with (folder / "scheduler.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)


def measure(kind, visits, stock_s, idle_s):
    """Run and print a line; return the number of tasks that were done and the CPU of the engine [s]."""
    folder = Path(tempfile.mkdtemp(prefix="night", dir=TMPFS if Path(TMPFS).is_dir() else None))
    kind, _, n_processes = kind.partition("+")
    stock = kind == "stock"
    (folder / "files").mkdir()
    (folder / "night.py").write_text(MODULE)
    os.environ.update(
        NIGHT_FILES=str(folder / "files"),
        NIGHT_KIND=kind,
        NIGHT_LAST=str(STEPS - 1),
        NIGHT_DETECTORS=str(DETECTORS),
        PYTHONPATH=f"{folder}:{PROJECT}",
        ASTRA_ROOT=str(folder),
    )
    if kind not in ("stock", "plain"):
        upgrade = [sys.executable, "-m", "astra.cli", "db", "upgrade"]
        subprocess.run(upgrade, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    port = free_port()
    scheduler = start_scheduler(folder, port, stock)
    idle = cpu_of(scheduler.pid)
    command = [sys.executable, "-W", "ignore", "-m", "luigi", "--module", "night", "Night"]
    command += ["--visits", str(visits), "--kind", "plain" if stock else kind, "--no-lock"]
    command += ["--scheduler-host", "127.0.0.1", "--scheduler-port", str(port)]
    command += ["--log-level", "WARNING", "--workers", n_processes or "1"]
    began = time.perf_counter()
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        peak = Peak([worker.pid, scheduler.pid])
        worker_cpu, worker_memory = wait(worker, stock_s if stock else None, peak)
        wall = time.perf_counter() - began
        n_tasks = visits * STEPS * (1 if kind == "batches" else DETECTORS) + 1
        n_done = sum(1 for _ in (folder / "files").iterdir()) if stock else n_tasks
        if worker.returncode and not stock:
            raise SystemExit((folder / "worker.log").read_text()[-3000:])
        scheduler_cpu, memory = cpu_of(scheduler.pid) - idle, memory_of(scheduler.pid)
        cpu = worker_cpu + scheduler_cpu
        begun = cpu - noted(folder / "files.start")  # imports differ by more than a thousand tasks take
        engine = begun - idle_s
        if visits:
            print(
                f"{kind + (n_processes and '+' + n_processes):8} {n_tasks:8,} {n_done:8,} {wall:8.1f} "
                f"{worker_cpu:8.1f} {scheduler_cpu:8.1f} {cpu:8.1f} {1e3 * engine / max(n_done, 1):8.2f} "
                f"{engine - noted(folder / 'files.cpu'):8.1f} {worker_memory:8.0f} {memory:8.0f} "
                f"{peak.mb:8.0f}",
                flush=True,
            )
        return n_done, begun - noted(folder / "files.cpu")
    finally:
        scheduler.send_signal(signal.SIGKILL)
        scheduler.wait()
        shutil.rmtree(folder)


def noted(path):
    """Sum of the seconds that processes have noted in a file."""
    return sum(map(float, path.read_text().split())) if path.exists() else 0.0


def wait(worker, limit_s, peak):
    """Wait for the worker, or end it; return its CPU seconds and peak memory [MB]."""
    deadline = time.monotonic() + (limit_s or 1e9)
    while True:
        pid, status, usage = os.wait4(worker.pid, os.WNOHANG)
        if pid:
            worker.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3
        if time.monotonic() > deadline:
            worker.kill()
        peak.look()
        time.sleep(0.05)


def print_growth(kind, measured):
    """Say how many times the engine took for so many times the tasks."""
    for (n_few, few_s), (n_many, many_s) in itertools.pairwise(measured):
        print(
            f"{kind}: {n_many / n_few:.1f} times the tasks took {many_s / few_s:.1f} times the CPU s "
            f"({many_s:.2f} and {few_s:.2f})"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visits", type=int, nargs="+", default=[5, 50])
    kinds = ["plain", "plain+2", "state", "state+2", "batches", "stock", "stock+2"]
    parser.add_argument("--kinds", nargs="+", default=kinds)
    parser.add_argument("--stock-s", type=float, default=60.0, help="when stock Luigi is given up [s]")
    parser.add_argument("--repeat", type=int, default=1, help="how often each is measured, in turns")
    options = parser.parse_args()
    print(
        f"{'kind':8} {'tasks':>8} {'done':>8} {'wall s':>8} {'worker':>8} {'sched.':>8} {'CPU s':>8} "
        f"{'ms/task':>8} {'engine s':>8} {'MB':>8} {'sched.MB':>8} {'both MB':>8}"
    )
    measured = defaultdict(list)
    for _ in range(options.repeat):
        idle_s = {kind: measure(kind, 0, options.stock_s, 0.0)[1] for kind in options.kinds}
        for visits in options.visits:
            for kind in options.kinds:
                n_done, cpu = measure(kind, visits, options.stock_s, idle_s[kind])
                measured[kind, visits].append((n_done, cpu - idle_s[kind]))
    for kind in options.kinds:
        print_growth(kind, [tuple(map(median, zip(*measured[kind, n], strict=True))) for n in options.visits])
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
