"""Time and memory of large batches: chunks of a wrapper, bytes to the scheduler, state written.

    python benchmarks/large_batches.py [--sizes 10000 100000 1000000] [--database URL]

Each size runs in a process of its own. "split" divides N members into chunks of 1,000, "plan" asks for the
state of every chunk; "state" writes the rows of N members alone: created, each one running, done; "run"
builds one batch of trivial members, "no-op" builds it again. "read" builds a batch whose members each read
a file of their own, "checked" builds it again with the check whether files have changed, "unchecked"
without. The default database is a new SQLite file; a PostgreSQL one must be migrated, and is not emptied.
"""

import argparse
import functools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time

WRAPPER, BATCH, STATE, INPUTS = "wrapper", "batch", "state", "inputs"
LARGEST_RUN = 100_000  # members of one task, in one piece


@functools.cache
def task_class():
    """A task whose members do nothing."""
    import luigi

    from astra.tasks.base import AstraTask

    class Trivial(AstraTask):
        """Do nothing, with each of many."""

        number = luigi.IntParameter(batch_method=tuple, description="Number.")
        name = luigi.Parameter(batch_method=tuple, description="Name.")

        def run(self):
            for task in self.pending_tasks():
                with task.recording():
                    pass

    return Trivial


def make(size):
    # Numbers of this process alone: a database may hold the members of another.
    first = os.getpid() << 32
    names = tuple(f"object-{i:07d}" for i in range(size))
    return task_class()(number=tuple(range(first, first + size)), name=names)


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def measure_wrapper(size):
    from astra.tasks.chunks import InChunks

    InChunks.of(make(2000))  # imports and the database come first
    task = make(size)
    split_wall, split_cpu, wrapper = timed(lambda: InChunks.of(task))
    plan_wall, plan_cpu, _ = timed(wrapper.complete_all)
    texts = [json.dumps(chunk.to_str_params()) for chunk in wrapper.requires()]
    return {
        "split": (split_wall, split_cpu),
        "plan": (plan_wall, plan_cpu),
        "bytes": max(map(len, texts)),
        "chunks": len(texts),
    }


def measure_batch(size):
    import luigi

    luigi.build([make(1)], local_scheduler=True, log_level="ERROR")  # imports and the database come first
    task = make(size)

    def build():
        if not luigi.build([task], local_scheduler=True, log_level="ERROR"):
            raise SystemExit("the batch failed")

    run, again = timed(build), timed(build)
    return {"run": run[:2], "no-op": again[:2], "bytes": len(json.dumps(task.to_str_params()))}


@functools.cache
def reading_class():
    """A task whose members each depend on a file."""
    from astra.tasks.base import AstraTask
    from astra.tasks.parameters import PathParameter

    class Reading(AstraTask):
        """Depend on a file."""

        path = PathParameter(batch_method=tuple, description="File.")

        def run(self):
            for task in self.pending_tasks():
                with task.recording():
                    pass

    return Reading


def measure_inputs(size):
    import luigi

    from astra import config

    folder = config.root() / "files"
    folder.mkdir(parents=True)
    paths = [folder / f"{number:07d}" for number in range(size)]
    for path in paths:
        path.write_bytes(b"x")
    task = reading_class()(path=tuple(map(str, paths)))

    def build():
        if not luigi.build([task], local_scheduler=True, log_level="ERROR"):
            raise SystemExit("the batch failed")

    read, checked = timed(build), timed(build)
    luigi.configuration.get_config().set("astra", "check_inputs", "false")
    unchecked = timed(build)
    return {"read": read[:2], "checked": checked[:2], "unchecked": unchecked[:2], "bytes": 0}


def measure_state(size):
    import datetime as dt

    from astra import config
    from astra.database import outcomes, progress, state
    from astra.database.engine import transaction
    from astra.database.plan import plan_tasks

    url, now, place = config.database_url(), dt.datetime.now(dt.UTC), {"host": "here", "pid": 1}
    prefix = f"T_{os.getpid()}_{time.time_ns()}"
    parameters = [{"number": str(i), "name": f"object-{i:07d}"} for i in range(size)]
    records = [state.TaskRecord(f"{prefix}_{i}", "T", "m", parameters[i], "1") for i in range(size)]
    run = {"command": "", "version": "", "packages": {}, "configuration": {}, "started": now, **place}
    with transaction(url) as connection:
        run_pk = state.insert_run(connection, run)

    def write():
        with transaction(url) as connection:
            plan_tasks(connection, records, run_pk, now)
            keys = progress.planned_keys(connection, [record.task_id for record in records], run_pk)
            state.start_tasks(connection, list(keys.values()), run_pk, now=now, **place)
        ends = (outcomes.Outcome(record.task_id, 1, now, dt.datetime.now(dt.UTC)) for record in records)
        for some in state.chunks(ends, 500):
            with transaction(url) as connection:
                outcomes.end_tasks(connection, some, keys, run_pk, **place)

    return {"state": timed(write)[:2], "bytes": 0}


def child(kind, size):
    """Measure in this process; print the result as JSON."""
    import astra  # noqa: F401  # its configuration comes first

    if kind == WRAPPER:
        from astra.tasks.chunks import InChunks

        # The planning of every chunk, where `complete` stops at the first that is not done.
        InChunks.complete_all = lambda self: [chunk.complete() for chunk in self.requires()]
        measured = measure_wrapper(size)
    else:
        measured = {BATCH: measure_batch, STATE: measure_state, INPUTS: measure_inputs}[kind](size)
    measured["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(measured))


def measured_apart(kind, size, database):
    """Measure in a process of its own, with a root of its own."""
    with tempfile.TemporaryDirectory() as root:
        environment = {
            **os.environ,
            "ASTRA_ROOT": root,
            **({"ASTRA_DATABASE_URL": database} if database else {}),
        }
        command = [sys.executable, __file__, "--child", kind, "--sizes", str(size)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def report(sizes, database):
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'step':<10}{'members':>10}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}{'bytes/batch':>13}")
    cpu = {}
    for size in sizes:
        kinds = [(WRAPPER, ("split", "plan"))]
        if size <= LARGEST_RUN:
            kinds += [(STATE, ("state",)), (BATCH, ("run", "no-op"))]
            kinds += [(INPUTS, ("read", "checked", "unchecked"))]
        for kind, steps in kinds:
            measured = measured_apart(kind, size, database)
            for step in steps:
                wall, cpu[step, size] = measured[step]
                row = f"{step:<10}{size:>10}{wall:>10.2f}{cpu[step, size]:>10.2f}"
                print(f"{row}{measured['peak_mb']:>10.0f}{measured['bytes']:>13}", flush=True)
    for step in ("split", "plan", "state", "run", "no-op", "read", "checked", "unchecked"):
        if (step, 10_000) in cpu and (step, 100_000) in cpu:
            print(f"{step}: CPU of 100k / 10k = {cpu[step, 100_000] / cpu[step, 10_000]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--database", default="")
    parser.add_argument("--child", choices=[WRAPPER, BATCH, STATE, INPUTS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.sizes[0])
    else:
        report(arguments.sizes, arguments.database)
