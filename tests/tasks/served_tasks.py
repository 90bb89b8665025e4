"""Plain tasks that may run in batches, for workers that serve a scheduler."""

import os
import time
from pathlib import Path

import luigi

import astra  # noqa: F401  # so that its worker is used


def note(text):
    """Append a line to the file that all share."""
    descriptor = os.open(Path(os.environ["ASTRA_ROOT"]) / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


class ServedFile(luigi.Task):
    number = luigi.IntParameter(batch_method=max, description="The number.")
    max_batch_size = 3

    def output(self):
        return luigi.LocalTarget(str(Path(os.environ["ASTRA_ROOT"]) / f"file{self.number}"))

    def run(self):
        note(f"file {self.number}")
        for number in range(self.number + 1):
            (Path(os.environ["ASTRA_ROOT"]) / f"file{number}").touch()


class ServedSleep(luigi.Task):
    seconds = luigi.FloatParameter(description="How long [s].")

    def output(self):
        return luigi.LocalTarget(str(Path(os.environ["ASTRA_ROOT"]) / "slept"))

    def run(self):
        note(f"sleeps {os.getpid()}")
        time.sleep(self.seconds)
        note("slept")
        Path(self.output().path).touch()
