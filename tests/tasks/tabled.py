"""Tasks with tables, thresholds and options, for runs that must be like those before them."""

import luigi
import numpy as np

import astra  # noqa: F401
from astra.tasks.base import AstraTask


class Tabled(AstraTask):
    """A task that writes a table, at a threshold."""

    threshold = luigi.FloatParameter(default=5.0, description="A limit.")
    camera = luigi.Parameter(description="Which camera: not how, but on what.")
    number = luigi.IntParameter(batch_method=tuple, description="The number.")

    def get_schema_catalogs(self):
        return {"tabled": np.zeros(0, dtype=[("flux", "f8"), ("id", "i8")])}

    def run(self):
        for task in self.pending_tasks():
            with task.recording():
                pass


class Above(AstraTask):
    """A task that requires another with its threshold."""

    threshold = luigi.FloatParameter(default=5.0, description="A limit.")

    def requires(self):
        return [Tabled(threshold=self.threshold, camera="c", number=(1, 2))]

    def run(self):
        pass


class Scan(luigi.WrapperTask):
    """One task with several values of a parameter."""

    def requires(self):
        return [Tabled(threshold=value, camera="c", number=1) for value in (3.0, 4.0)]


class Linked(AstraTask):
    """A task with an address."""

    url = luigi.Parameter(default="", description="An address.")

    def run(self):
        pass


class FilledConfig:
    """Options with a value that JSON lacks."""

    fill = float("nan")


class Filled(AstraTask):
    """A task with options."""

    config_class = FilledConfig
    number = luigi.IntParameter(description="The number.")

    def run(self):
        pass


class NeverThere(luigi.ExternalTask):
    """A file that others should have made."""

    def output(self):
        return luigi.LocalTarget("/nowhere/at/all")


class Fetch(AstraTask):
    """A task that needs a file that is not there."""

    number = luigi.IntParameter(description="The number.")

    def requires(self):
        return [NeverThere()]

    def run(self):
        pass
