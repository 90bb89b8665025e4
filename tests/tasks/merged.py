"""A task that the scheduler may merge into batches."""

import luigi

from astra.errors import DataError
from astra.tasks.base import AstraTask


class Merged(AstraTask):
    """A task that the scheduler may merge; it refuses one number."""

    scheduler_batching = True
    max_batch_size = 4
    number = luigi.IntParameter(batch_method=tuple)
    refuse = luigi.IntParameter(default=-1, significant=False)

    def output(self):
        return luigi.LocalTarget(str(self.root / f"merged-{self.number}.txt"))

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                if task.number == task.refuse:
                    raise DataError(f"number {task.number} is refused")
                with task.output().open("w") as stream:
                    stream.write(str(task.number))
