"""Small tasks that the engine's tests run, in this process and in others."""

import os
import signal
import sys
import time

import luigi

import astra  # noqa: F401
from astra.errors import DataError
from astra.tasks.base import AstraTask
from astra.tasks.batch import per_member
from astra.tasks.parameters import PathParameter


class Toy(AstraTask):
    """Write a number to a file; refuse some numbers."""

    label = luigi.Parameter(default="plain", description="A string.")
    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    name = luigi.Parameter(batch_method=tuple, default="n", description="A string beside it.")
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number to refuse.")

    def output(self):
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.root / f"toy-{self.label}-{self.number}-{self.name}.txt"))

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                if task.number == task.refuse:
                    raise DataError(f"number {task.number} is refused", number=task.number)
                task.add_figures("run", {"square": task.number**2})
                with task.output().open("w") as stream:
                    stream.write(str(task.number))


class Double(AstraTask):
    """Double the number that Toy wrote."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number that Toy refuses.")

    @per_member
    def requires(self):
        return {"toy": Toy(number=self.number, refuse=self.refuse)}

    def output(self):
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.root / f"double-{self.number}.txt"))

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                with task.requires()["toy"].output().open() as stream:
                    number = int(stream.read())
                with task.output().open("w") as stream:
                    stream.write(str(2 * number))


class Careless(AstraTask):
    """A batch-unaware task, with an underscore in its family."""

    task_namespace = "toy_space"
    number = luigi.IntParameter(description="The number.")

    def run(self):
        if self.number < 0:
            raise DataError(f"number {self.number} is negative")


class Sum(AstraTask):
    """A single task that needs every member of a batch."""

    numbers = luigi.ListParameter(description="What to add.")
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number that Toy refuses.")

    def requires(self):
        return [Toy(number=tuple(self.numbers), refuse=self.refuse)]

    def run(self):
        self.add_figures("run", {"sum": sum(self.numbers)})


class Odd(AstraTask):
    """Figures and messages that not every database takes."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")

    def run(self):
        import numpy as np

        for task in self.pending_tasks():
            with task.recording():
                task.add_figures("run", {"single": np.float32(1.5), "nothing": np.nan, "list": np.arange(2)})
                if task.number == 2:
                    raise DataError("a header said \0 and \udcff", value=np.nan)
                if task.number == 3:
                    sys.exit("stop")


class Dying(AstraTask):
    """A batch whose process is killed, or leaves, while one member runs."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")

    def run(self):
        for task in self.pending_tasks():
            time.sleep(1.1 if task.number == 2 else 0)  # what ended is written before, and that this one runs
            with task.recording():
                if task.number == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                if task.number == 4:
                    os._exit(3)


class Stop(AstraTask):
    """Kill the process, when nothing else can run."""

    priority = -1

    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Sums(AstraTask):
    """Needs a sum, and the end of the process."""

    priority = -1  # Luigi gives what is required at least this
    refuse = luigi.IntParameter(default=-1, significant=False, description="Number that Toy refuses.")

    def requires(self):
        return [Sum(numbers=(1, 2), refuse=self.refuse), Stop()]

    def run(self):
        pass


class Picky(AstraTask):
    """A batch in which one member cannot even say what it requires."""

    number = luigi.IntParameter(batch_method=tuple, description="The number.")

    def requires(self):
        if self.is_batch_mode:
            return []
        if self.number == 2:
            raise DataError("number 2 requires the impossible")
        return []

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass


class Broken(AstraTask):
    """A task that cannot be scheduled."""

    where = luigi.Parameter(description="Which method fails.")

    def requires(self):
        if self.where == "requires":
            raise DataError("the requirements cannot be told")
        return []

    def complete(self):
        if self.where == "complete":
            raise DataError("completeness cannot be told")
        return super().complete()

    def run(self):
        pass


class Absent(AstraTask):
    """A file that others make."""

    run = None
    name = luigi.Parameter(batch_method=tuple, description="File name.")

    def output(self):
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.root / self.name))


class Waits(AstraTask):
    """A task that needs such a file."""

    name = luigi.Parameter(description="File name.")

    def requires(self):
        return [Absent(name=self.name)]

    def run(self):
        pass


class WaitsForAll(AstraTask):
    """A task that needs a batch of such files."""

    names = luigi.ListParameter(description="File names.")

    def requires(self):
        return [Absent(name=tuple(self.names))]

    def run(self):
        pass


class CopyLine(AstraTask):
    """CopyLine the first line of a file that others make."""

    path = PathParameter(batch_method=tuple, description="The file.")
    common = PathParameter(default="", description="A file that all members read.")

    def output(self):
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.root / f"copy-{os.path.basename(self.path)}"))

    def run(self):
        for task in self.pending_tasks():
            with task.recording(), open(task.path) as source, task.output().open("w") as target:
                target.write(source.readline())
