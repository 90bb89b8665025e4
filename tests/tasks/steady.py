"""Tasks that take their time, many of them, each of which leaves a line of its own where it ran."""

import os
import time

import luigi

import astra  # noqa: F401
from astra.tasks.base import AstraTask

PAUSE_S = float(os.environ.get("STEADY_PAUSE_S", "0"))


class Steady(AstraTask):
    """Append a line to a file that all share."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                descriptor = os.open(self.root / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{task.number} {os.getpid()}\n".encode())
                os.close(descriptor)
                if not (self.root / "hurry").exists():
                    time.sleep(PAUSE_S)


class Many(luigi.WrapperTask):
    """Tasks one by one, in batches of some size if asked to."""

    first = luigi.IntParameter(default=0, description="First number.")
    size = luigi.IntParameter(description="How many.")
    together = luigi.IntParameter(default=1, description="Members of a batch.")

    def requires(self):
        numbers = range(self.first, self.first + self.size)
        if self.together == 1:
            return [Steady(number=number) for number in numbers]
        starts = range(0, self.size, self.together)
        return [Steady(number=tuple(numbers[i : i + self.together])) for i in starts]
