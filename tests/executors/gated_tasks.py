"""Tasks whose jobs tests hold, and let die, as they need."""

import os
import signal
import time
from pathlib import Path

import luigi

import astra  # noqa: F401
from astra.errors import DataError
from astra.tasks.base import AstraTask
from astra.tasks.batch import per_member

LONGEST_S = 120
GREED_MB = 600


class Gated(AstraTask):
    """Write a number; one member waits for a file, another takes much memory, a third is refused."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    held = luigi.IntParameter(default=-1, significant=False, description="Number that waits.")
    greedy = luigi.IntParameter(default=-1, significant=False, description="Number that takes memory.")
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number that is refused.")
    slow = luigi.IntParameter(default=-1, significant=False, description="Another number that waits.")
    stubborn = luigi.IntParameter(default=-1, significant=False, description="One that ends for no signal.")

    def output(self):
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.root / f"gated-{self.number}.txt"))

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                note_begin(self.root, task.number)
                if task.number == task.stubborn:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                if task.number in {task.held, task.slow, task.stubborn}:
                    wait_for(self.root / "open")
                if task.number == task.greedy:
                    _hold_memory()
                if task.number == task.refuse:
                    raise DataError(f"number {task.number} is refused")
                with task.output().open("w") as stream:
                    stream.write(str(task.number))


class Later(AstraTask):
    """Needs what Gated wrote, and asks for one more when it runs."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    held = luigi.IntParameter(default=-1, significant=False, description="Number that waits.")
    greedy = luigi.IntParameter(default=-1, significant=False, description="Number that takes memory.")
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number that is refused.")
    slow = luigi.IntParameter(default=-1, significant=False, description="Another number that waits.")
    stubborn = luigi.IntParameter(default=-1, significant=False, description="One that ends for no signal.")

    @per_member
    def requires(self):
        own = {name: getattr(self, name) for name in ("held", "greedy", "refuse", "slow", "stubborn")}
        return [Gated(number=self.number, **own)]

    def further_requires(self):
        return [Gated(number=1000 + self.number)]

    def run(self):
        yield self.further()
        for task in self.pending_tasks():
            with task.recording():
                task.add_figures("run", {"double": 2 * task.number})


class Surprising(AstraTask):
    """Asks, in the middle of its run, for what nobody could have known."""

    number = luigi.IntParameter(description="The number.")

    def run(self):
        yield Gated(number=2000 + self.number)
        self.add_figures("run", {"triple": 3 * self.number})


def note_begin(root, number):
    """Note that a member begins, with the node on which it does."""
    with open(Path(root) / f"begun-{number}", "a") as stream:
        stream.write(os.environ.get("SLURMD_NODENAME", "here") + "\n")


def wait_for(path):
    """Wait until a file is there."""
    deadline = time.monotonic() + LONGEST_S
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise DataError(f"{path} did not come")
        time.sleep(0.05)


def _hold_memory():
    block = bytearray(GREED_MB * 1024**2)
    for start in range(0, len(block), 4096):
        block[start] = 1
    time.sleep(4)
