"""The simulated night as single tasks, which workers share one by one."""

import luigi

import astra  # noqa: F401  # so that its worker is used
from astra.tasks.ap_pipe import ApPipe


class SingleNight(luigi.WrapperTask):
    """Each detector of each visit in a task of its own."""

    raw = luigi.Parameter(description="Folder of the raw files.")
    visits = luigi.ListParameter(description="Science visits.")
    detectors = luigi.ListParameter(description="Detectors.")
    template_visits = luigi.Parameter(description="Visits of the template, as ApPipe takes them.")
    reference_catalog = luigi.Parameter(description="File of the reference catalogue.")

    def requires(self):
        common = {
            "instrument": "simcam",
            "raw": self.raw,
            "template_visits": self.template_visits,
            "reference_catalog": self.reference_catalog,
        }
        return [
            ApPipe(visit=visit, detector=detector, **common)
            for visit in self.visits
            for detector in self.detectors
        ]
