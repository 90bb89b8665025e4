"""Tasks that tell where they ran, start processes, die, or use too much; for workers with processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import luigi
import psutil

import astra  # noqa: F401
from astra.tasks.base import AstraTask

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(300)"]


def note(folder, *values):
    """Append a line to a file that all processes share."""
    descriptor = os.open(Path(folder) / "noted", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(map(str, values)) + "\n").encode())
    os.close(descriptor)


def noted(folder):
    """Return the lines, split."""
    path = Path(folder) / "noted"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class PoolTask(luigi.Task):
    """A task that is done when it has noted so."""

    folder = luigi.Parameter()
    number = luigi.IntParameter(default=0)

    def complete(self):
        return ["done", self.task_id] in noted(self.folder)

    def run(self):
        self.work()
        note(self.folder, "done", self.task_id)

    def work(self):
        note(self.folder, "pid", os.getpid(), self.number)


class PoolRoot(PoolTask):
    """Some tasks, and this one at last."""

    size = luigi.IntParameter(default=3)

    def requires(self):
        return [PoolTask(folder=self.folder, number=number) for number in range(1, self.size + 1)]


class LeavesProcesses(PoolTask):
    """Start a process, in a session of its own or not, and leave it behind."""

    detached = luigi.BoolParameter()

    def work(self):
        child = subprocess.Popen(SLEEPER, start_new_session=self.detached)
        note(self.folder, "child", child.pid)
        super().work()


class Asks(PoolTask):
    """Ask for another task in `run`."""

    def run(self):
        yield PoolTask(folder=self.folder, number=self.number + 1)
        note(self.folder, "pid", os.getpid(), self.number)
        note(self.folder, "done", self.task_id)


class Dies(PoolTask):
    """End the process."""

    how = luigi.Parameter(description="A signal, or exit and a code.")

    def work(self):
        note(self.folder, "died", os.getpid())
        if self.how.startswith("exit"):
            os._exit(int(self.how.removeprefix("exit")))
        os.kill(os.getpid(), signal.Signals[self.how])
        time.sleep(60)


class KillsGuardian(PoolTask):
    """Kill the process that is to end the others when the worker is gone."""

    others = luigi.ListParameter(description="Processes that were there before the worker.")

    def work(self):
        own = (os.getpid(), *self.others)
        guardians = [child for child in psutil.Process(os.getppid()).children() if child.pid not in own]
        for guardian in guardians:
            guardian.kill()
        note(self.folder, "killed", *(guardian.pid for guardian in guardians))
        super().work()


class DiesBesideAFork(Dies):
    """End the process, but not a fork of it that holds all that it had open."""

    def work(self):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        note(self.folder, "child", child)
        super().work()


class Lasts(PoolTask):
    """Last for a while, with a process of its own that lasts longer."""

    seconds = luigi.FloatParameter(default=120.0)
    detached = luigi.BoolParameter()

    def work(self):
        child = subprocess.Popen(SLEEPER, start_new_session=self.detached)
        note(self.folder, "child", child.pid)
        note(self.folder, "pid", os.getpid(), self.number)
        time.sleep(self.seconds)
        child.kill()
        child.wait()


class Lasting(PoolTask):
    """Some that last."""

    size = luigi.IntParameter(default=6)
    seconds = luigi.FloatParameter(default=120.0)

    def requires(self):
        numbers = range(1, self.size + 1)
        return [Lasts(folder=self.folder, number=number, seconds=self.seconds) for number in numbers]


class Eats(PoolTask):
    """Use memory, itself or in a process that it starts."""

    mib = luigi.IntParameter()
    in_child = luigi.BoolParameter()
    worker_memory_mib = luigi.FloatParameter(default=150.0)

    def work(self):
        eat = f"b = bytearray({self.mib} << 20); b[::4096] = b'1' * len(b[::4096])"
        if self.in_child:
            child = subprocess.Popen([sys.executable, "-S", "-c", f"{eat}; import time; time.sleep(60)"])
            note(self.folder, "child", child.pid)
            child.wait()
        else:
            kept = bytearray(self.mib << 20)
            kept[::4096] = b"1" * len(kept[::4096])
            time.sleep(60)


class Talks(PoolTask):
    """Tell the scheduler how it goes."""

    def work(self):
        self.set_status_message("half way")
        self.set_progress_percentage(50)
        self.set_tracking_url("http://somewhere")
        super().work()

    def on_success(self):
        return lambda: None  # nothing that can be sent


class Recorded(AstraTask):
    """A task with a state, which may use much memory or die."""

    number = luigi.IntParameter(description="The number.")
    mib = luigi.IntParameter(default=0, description="Memory to use [MiB].")
    how = luigi.Parameter(default="", description="A signal to die of, or last.")
    worker_memory_mib = luigi.FloatParameter(default=0.0, description="Limit of memory [MiB].")

    def run(self):
        if self.how == "last":
            note(self.root, "pid", os.getpid(), self.number)
            time.sleep(120)
        elif self.how:
            os.kill(os.getpid(), signal.Signals[self.how])
        if self.mib:
            kept = bytearray(self.mib << 20)
            kept[::4096] = b"1" * len(kept[::4096])
            time.sleep(60)


class ManyRecorded(luigi.WrapperTask):
    """Many with a state, of which one dies of a signal, and one uses too much memory."""

    size = luigi.IntParameter(description="How many.")

    def requires(self):
        dying = Recorded(number=-1, how="SIGKILL")
        eating = Recorded(number=-2, mib=400, worker_memory_mib=150.0)
        return [*(Recorded(number=number) for number in range(self.size)), dying, eating]
