"""The central scheduler beside stock Luigi: CPU seconds of worker and scheduler for layers of trivial tasks.

The DAG is that of a night: for each visit and each of 189 detectors a chain of 5 steps, and one task that
needs them all. Files are on tmpfs. Stock Luigi is given up after a while; what it had done by then is told.

    python benchmarks/scheduler.py                               # 5 and 50 visits, all kinds
    python benchmarks/scheduler.py --visits 212 --kinds plain    # 200,341 tasks
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DETECTORS, STEPS = 189, 5
TMPFS = "/dev/shm"  # noqa: S108  # a folder of one's own below it
MODULE = """
import os
from pathlib import Path
import luigi
if os.environ["NIGHT_KIND"] != "stock":
    import astra
    from astra.tasks.base import AstraTask
else:
    AstraTask = luigi.Task
ROOT = os.environ["NIGHT_FILES"]

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


def cpu_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def start_scheduler(folder, port, stock):
    if stock:
        code = "import sys; from luigi.cmdline import luigid; luigid(sys.argv[1:])"
        command = [sys.executable, "-c", code, "--address", "127.0.0.1"]
    else:
        command = [sys.executable, "-m", "astra.cli", "scheduler"]
    command += ["--port", str(port), "--state-path", str(folder / "state")]
    with (folder / "scheduler.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    import socket

    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)


def measure(kind, visits, stock_s):
    folder = Path(tempfile.mkdtemp(prefix="night", dir=TMPFS if Path(TMPFS).is_dir() else None))
    port = 18100 + os.getpid() % 1000
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
    stock = kind == "stock"
    scheduler = start_scheduler(folder, port, stock)
    idle = cpu_of(scheduler.pid)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "luigi",
        "--module",
        "night",
        "Night",
        "--log-level",
        "WARNING",
    ]
    command += ["--visits", str(visits), "--kind", "plain" if stock else kind, "--no-lock"]
    command += ["--scheduler-host", "127.0.0.1", "--scheduler-port", str(port)]
    began = time.perf_counter()
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        worker_cpu = wait(worker, stock_s if stock else None)
        wall = time.perf_counter() - began
        n_tasks = visits * STEPS * (1 if kind == "batches" else DETECTORS) + 1
        n_done = sum(1 for _ in (folder / "files").iterdir()) if stock else n_tasks
        if worker.returncode and not stock:
            raise SystemExit((folder / "worker.log").read_text()[-3000:])
        scheduler_cpu, memory = cpu_of(scheduler.pid) - idle, memory_of(scheduler.pid)
        print(
            f"{kind:8} {n_tasks:8,} {n_done:8,} {wall:8.1f} {worker_cpu[0]:8.1f} {scheduler_cpu:8.1f} "
            f"{worker_cpu[0] + scheduler_cpu:8.1f} {worker_cpu[1]:8.0f} {memory:8.0f}",
            flush=True,
        )
    finally:
        scheduler.send_signal(signal.SIGKILL)
        scheduler.wait()
        shutil.rmtree(folder)


def wait(worker, limit_s):
    """Wait for the worker, or end it; return its CPU seconds and peak memory [MB]."""
    deadline = time.monotonic() + (limit_s or 1e9)
    while True:
        pid, status, usage = os.wait4(worker.pid, os.WNOHANG)
        if pid:
            worker.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3
        if time.monotonic() > deadline:
            worker.kill()
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visits", type=int, nargs="+", default=[5, 50])
    parser.add_argument("--kinds", nargs="+", default=["plain", "state", "batches", "stock"])
    parser.add_argument("--stock-s", type=float, default=60.0, help="when stock Luigi is given up [s]")
    options = parser.parse_args()
    print(
        f"{'kind':8} {'tasks':>8} {'done':>8} {'wall s':>8} {'worker':>8} {'sched.':>8} {'CPU s':>8} "
        f"{'MB':>8} {'sched.MB':>8}"
    )
    for visits in options.visits:
        for kind in options.kinds:
            measure(kind, visits, options.stock_s)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
