"""Tasks with state, some of which fail, mark themselves or write files."""

from pathlib import Path

import luigi

import astra  # noqa: F401
from astra.tasks.base import AstraTask


class StatedStep(AstraTask):
    number = luigi.IntParameter(description="The number.")
    step = luigi.IntParameter(default=2, description="The step.")

    def requires(self):
        return [self.clone(step=self.step - 1)] if self.step else []

    def output(self):
        return luigi.LocalTarget(str(self.root / f"{self.number}_{self.step}"))

    def run(self):
        if (self.number, self.step) == (5, 1):
            message = "this one fails"
            raise ValueError(message)
        if self.number == 7:
            assert self.query_state().one().status_code == 2
        if (self.number, self.step) == (8, 2):
            self.update_state({"status_code": 30})
        self.add_figures("work", {"number": self.number})
        text = "".join(Path(needed.path).read_text() for needed in self.input())
        with self.output().open("w") as file:
            file.write(f"{text}{self.number}\n")


class Stated(luigi.WrapperTask):
    size = luigi.IntParameter(description="How many.")

    def requires(self):
        return [StatedStep(number=number) for number in range(self.size)]
