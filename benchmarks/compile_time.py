"""CPU seconds that numba takes to compile each kernel, in a run that finds nothing compiled.

    python benchmarks/compile_time.py [--scale full] [--under astra.images] [--parts] [--task TASK ...]

Runs the demonstration, at its small scale by default, or another task with its parameters (the last option),
in a temporary folder. Printed is a line for each kernel and signature: CPU seconds, those of them in LLVM,
how often it was compiled (once, unless two processes did it at the same time), its name and the types of its
arguments; then the sums, and the CPU seconds of the whole run. ``--parts`` adds a table of all functions, and
so of those that kernels call: each is compiled in every process that needs it, once for each set of types,
and its time there is without that of what it calls in turn.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from luigi.cmdline import luigi_run
from numba.core import event

TYPES_SHOWN = 300


class Log(event.Listener):
    """Listener to numba's events that writes what is compiled, in this process and those that it forks."""

    def __init__(self, path):
        self.path = path
        self.running = []  # start, time of inner compilations, time in LLVM
        self.in_llvm = None

    def on_start(self, event):
        """Note when a compilation, or work of LLVM, begins."""
        if event.kind == "numba:llvm_lock":
            self.in_llvm = time.process_time()
        else:
            self.running.append([time.process_time(), 0.0, 0.0])

    def on_end(self, event):
        """Write what was compiled, or add up the time of LLVM."""
        if event.kind == "numba:compile":
            self._write(event.data)
        elif self.running:
            self.running[-1][2] += time.process_time() - self.in_llvm

    def _write(self, data):
        start, inner, llvm = self.running.pop()
        cpu = time.process_time() - start
        if self.running:
            self.running[-1][1] += cpu
            self.running[-1][2] += llvm
        function = data["dispatcher"].py_func
        line = {
            "depth": len(self.running),
            "cpu": cpu,
            "own": cpu - inner,
            "llvm": llvm,
            "name": f"{function.__module__}.{function.__qualname__}",
            "types": str(data["args"]),
        }
        with self.path.open("a", encoding="utf-8") as file:  # one write: workers do not mix their lines
            file.write(json.dumps(line) + "\n")


def run_logged(log, arguments):
    """Run a task as the command ``luigi`` does, and write what is compiled."""
    listener = Log(log)
    for kind in ("numba:compile", "numba:llvm_lock"):
        event.register(kind, listener)
    luigi_run(["--module", "astra", *arguments, "--local-scheduler"])


def measure(arguments, folder):
    """Run a task in a folder; return what was compiled, and the CPU seconds of all processes."""
    own = {"NUMBA_CACHE_DIR": str(folder / "numba"), "ASTRA_ROOT": str(folder / "root")}
    environment = {name: value for name, value in os.environ.items() if name != "ASTRA_DATABASE_URL"} | own
    log = folder / "compiled.jsonl"
    log.touch()
    command = [sys.executable, str(Path(__file__).resolve()), "--log", str(log), "--task", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(f"the task ended with {done.returncode}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], usage.ru_utime + usage.ru_stime


def print_table(compiled, seconds, columns):
    """Print sums over what is the same in some columns, the most expensive first, and the sum of all."""
    sums = defaultdict(lambda: [0.0, 0.0, 0])
    for each in compiled:
        entry = sums[tuple(each[name] for name in columns)]
        entry[0] += each[seconds]
        entry[1] += each["llvm"]
        entry[2] += 1
    print(f"{'CPU s':>8}{'LLVM':>8}{'times':>6}")
    for key, (cpu, llvm, times) in sorted(sums.items(), key=lambda item: -item[1][0]):
        print(f"{cpu:8.3f}{llvm:8.3f}{times:6d}  {key[0]}  {' '.join(key[1:])[:TYPES_SHOWN]}".rstrip())
    cpu, llvm = (sum(each[name] for each in compiled) for name in (seconds, "llvm"))
    print(f"{cpu:8.3f}{llvm:8.3f}{len(compiled):6d}  all {len(sums)}\n")


def main():
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="small", choices=("small", "full"), help="of the demonstration")
    parser.add_argument("--under", default="", help="show only kernels whose name begins so")
    parser.add_argument("--parts", action="store_true", help="also show what kernels call")
    parser.add_argument("--task", nargs=argparse.REMAINDER, help="task and parameters, as luigi takes them")
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    arguments = options.task or ["Demo", "--scale", options.scale, "--output-root", "demo"]
    if options.log:
        run_logged(options.log, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        compiled, cpu = measure(arguments, Path(folder))
    shown = [each for each in compiled if each["name"].startswith(options.under)]
    print_table([each for each in shown if each["depth"] == 0], "cpu", ("name", "types"))
    if options.parts:
        print_table(shown, "own", ("name",))
    print(f"{cpu:8.1f} CPU s in all")


if __name__ == "__main__":
    main()
