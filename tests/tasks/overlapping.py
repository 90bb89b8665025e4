"""Tasks, alone or in a batch, that tell when they begin and end; the first one waits to be let go."""

import os
import time
from pathlib import Path

import luigi

from astra.tasks.base import AstraTask

ROOT = Path(os.environ.get("ASTRA_ROOT", "."))
PATIENCE_S = 120.0


def note(name, *words):
    """Append a line to a file that all share."""
    descriptor = os.open(ROOT / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{' '.join(map(str, words))} {os.getpid()}\n".encode())
    os.close(descriptor)


class Overlapping(AstraTask):
    number = luigi.IntParameter(batch_method=tuple, description="The number.")

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                note("begun", task.number)
                deadline = time.monotonic() + PATIENCE_S
                while task.number == 1 and not (ROOT / "go").exists() and time.monotonic() < deadline:
                    time.sleep(0.05)
                note("made", task.number)


class OverlappingOneByOne(luigi.WrapperTask):
    """The same tasks, not as a batch."""

    number = luigi.ListParameter(description="The numbers.")

    def requires(self):
        return [Overlapping(number=number) for number in self.number]
