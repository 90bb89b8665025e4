"""A task that sleeps until it is killed, or kills itself."""

import os
import signal
import time

import luigi

import astra  # noqa: F401
from astra.tasks.base import AstraTask


class Sleeper(AstraTask):
    """Sleep."""

    die = luigi.BoolParameter(description="Whether to be killed at once.")

    def run(self):
        if self.die:
            os.kill(os.getpid(), signal.SIGKILL)
        (self.root / "asleep").touch()
        time.sleep(60)
