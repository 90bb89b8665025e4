"""Tasks that end in each of the ways for which a run has an exit code of its own."""

import os
import signal
import time
from pathlib import Path

import luigi

import astra  # noqa: F401  # so that its worker is used


class _Leaf(luigi.Task):
    """A task that leaves a file."""

    name = luigi.Parameter(default="leaf", description="Name of the file.")
    pause_s = luigi.FloatParameter(default=0.0, significant=False, description="Time that it takes [s].")

    def output(self):
        return luigi.LocalTarget(str(Path(os.environ["ASTRA_ROOT"]) / f"{self.task_family}-{self.name}"))

    def run(self):
        time.sleep(self.pause_s)
        Path(self.output().path).touch()


class ExitGood(_Leaf):
    pass


class ExitBad(_Leaf):
    def run(self):
        if not (Path(os.environ["ASTRA_ROOT"]) / "mended").exists():
            raise ValueError("as it must")
        super().run()


class ExitMissing(_Leaf, luigi.ExternalTask):
    run = None


class ExitTooWide(_Leaf):
    resources = {"telescope": 1000}  # noqa: RUF012  # as Luigi's users write it


class ExitUntold(_Leaf):
    def complete(self):
        raise ValueError("it cannot tell")


class ExitKilled(_Leaf):
    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)


class ExitAsking(_Leaf):
    """A task whose run asks for another."""

    def run(self):
        yield ExitGood(name="asked", pause_s=self.pause_s)
        super().run()


class ExitAll(luigi.WrapperTask):
    """What is complete if all of some kinds are."""

    kinds = luigi.Parameter(description="Names of families, separated by commas.")
    pause_s = luigi.FloatParameter(default=0.0, significant=False, description="Time of each [s].")

    def requires(self):
        names = enumerate(self.kinds.split(","))
        return [globals()[f"Exit{kind}"](name=f"n{n}", pause_s=self.pause_s) for n, kind in names]
