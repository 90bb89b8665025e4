"""The README's first command in a fresh clone and a fresh environment, as a newcomer types it.

    python benchmarks/first_use.py [--keep FOLDER] [--skip-install]

Clones the last commit of this repository, runs the first command of its README as it stands there, and then
what of it comes after the installation once more. Printed are the times of installation and of work, the CPU
time and the largest memory of the work (what its processes do not share, and their part of what they do), the
time of the second run, what the demonstration says it has found, and how many of its alerts satisfy their
schema by astra's check and by that of fastavro. Nothing that an earlier run has compiled is used.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from fastavro.validation import validate

from astra.alerts.files import read_alerts
from astra.alerts.packet_checks import validate_alert
from astra.alerts.schemas import load_schema
from astra.errors import AlertError

PROJECT = Path(__file__).resolve().parents[1]
INTERVAL_S = 0.2
LIMITS = {"work": 90.0, "memory": 2.0, "second": 5.0}


def first_command():
    """The first command of the README."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    return re.search(r"```sh\n(.+?)\n```", text, re.DOTALL).group(1)


@dataclass
class Watch:
    """Looks at the processes of a command now and then.

    Parameters
    ----------
    process : subprocess.Popen
        The command.
    """

    process: subprocess.Popen
    begin_of_work: float | None = None
    cpu_s_by_pid: dict[int, float] = field(default_factory=dict)
    largest: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    def look(self):
        """Look until the command is over."""
        while not self.is_over.wait(INTERVAL_S):
            try:
                family = psutil.Process(self.process.pid).children(recursive=True)
            except psutil.Error:
                return
            work = [p for p in family if _is_demo(p)]
            if work:
                self._note(work)

    def _note(self, work):
        total = 0
        for process in work:
            try:
                total += process.memory_full_info().pss
                times = process.cpu_times()
                self.cpu_s_by_pid[process.pid] = times.user + times.system
                if self.begin_of_work is None:
                    self.begin_of_work = process.create_time()
            except psutil.Error:
                continue
        self.largest = max(self.largest, total)

    @property
    def cpu_s(self):
        """CPU time of all processes of the work, up to the last look at each [s]."""
        return sum(self.cpu_s_by_pid.values())


def _is_demo(process):
    """Say whether a process is the command ``luigi``, or one that it has forked."""
    try:
        return "Demo" in process.cmdline() and "bash" not in process.name()
    except psutil.Error:
        return False


def run(command, folder, environment):
    """Run a command in a shell; return what it printed, its watch, and when it began and ended."""
    began = time.time()
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    watch = Watch(process)
    thread = threading.Thread(target=watch.look, daemon=True)
    thread.start()
    output, _ = process.communicate()
    ended = time.time()
    watch.is_over.set()
    thread.join()
    if process.returncode:
        sys.exit(f"{command!r} ended with {process.returncode}:\n{output}")
    return output, watch, began, ended


def check_alerts(folder):
    """Count alerts, and those that satisfy the schema by both checks."""
    schema, n_alerts, n_valid = load_schema("11.1"), 0, 0
    for path in sorted(folder.glob("*.avro")):
        for alert in read_alerts(path):
            n_alerts += 1
            try:
                validate_alert(alert)
            except AlertError:
                continue
            n_valid += bool(validate(alert, schema, raise_errors=False))
    return n_alerts, n_valid


def judged(value, limit, unit):
    """Write a value beside its limit."""
    return f"{value:.1f} {unit} ({'within' if value <= limit else 'ABOVE'} {limit:g} {unit})"


def main():
    """Clone, run, run again, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder to work in, which must not exist; it is kept")
    parser.add_argument("--skip-install", action="store_true", help="use the environment of this Python")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first use ") as temporary:
        place = options.keep or Path(temporary)
        clone = place / "astra"
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
        measure(clone, place / "cache", options.skip_install)


def measure(clone, cache, skip_install):
    """Run the command in a clone, and print what it takes."""
    own = {"NUMBA_CACHE_DIR", "ASTRA_ROOT", "ASTRA_DATABASE_URL", "VIRTUAL_ENV", "PYTHONPATH"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment["XDG_CACHE_HOME"] = str(cache)
    command = first_command()
    work = command.rpartition("&&")[2].strip()
    if skip_install:
        environment["PYTHONPATH"] = str(clone)
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        command = again = work
    else:
        again = f". .venv/bin/activate && {work}"
    print(f"load {os.getloadavg()[0]:.1f}\n{command}", flush=True)
    output, watch, began, ended = run(command, clone, environment)
    begin_of_work = watch.begin_of_work or began
    second, _, second_began, second_ended = run(again, clone, environment)
    n_alerts, n_valid = check_alerts(clone / "astra-demo" / "alerts")
    size = sum(path.stat().st_size for path in (clone / "astra-demo").rglob("*") if path.is_file())
    print(output)
    print(second)
    print(f"installation   {begin_of_work - began:.1f} s")
    print(f"work           {judged(ended - begin_of_work, LIMITS['work'], 's')}, {watch.cpu_s:.0f} s of CPU")
    print(f"largest memory {judged(watch.largest / 2**30, LIMITS['memory'], 'GiB')}")
    print(f"second run     {judged(second_ended - second_began, LIMITS['second'], 's')}")
    print(f"alerts         {n_alerts}, valid {n_valid}")
    print(f"on disk        {size / 2**20:.0f} MiB; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
