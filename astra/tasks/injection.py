"""Put sources of known flux into calibrated detectors and templates, and subtract them.

All that has injected sources lies below ``<root>/injected``, a collection of its own. No task that makes
alerts requires a task of this module, and the association refuses a difference with injected sources.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import luigi

from astra.tasks.batch import per_member
from astra.tasks.diffim import DiffIm
from astra.tasks.get_template import GetTemplate
from astra.tasks.options import OptionsParameter, with_options
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template_rule import DifferenceTask

COLLECTION = "injected"


class InjectionTask(DifferenceTask):
    """A task on one detector of one visit with injected sources."""

    seed = luigi.IntParameter(default=1, description="Seed of the places, the fluxes and the photons.")
    injections = OptionsParameter(
        default="",
        description="What is injected, as name=value,..., e.g. n_isolated=100,snr_max=50; an unknown name "
        "lists all.",
    )

    def path(self, kind: str) -> Path:
        """Path of one product of a single task, in the collection of injected sources."""
        from astra.products.layout import product_path

        root = self.root / COLLECTION
        return product_path(root, self.instrument, self.visit, self.detector, self.task_id, kind=kind)


class InjectSources(InjectionTask):
    """Put sources into a calibrated detector and into its template.

    Products, below ``injected``: ``calexp`` and ``template`` with the sources [nJy], ``injected`` (what they
    are). Fluxes are drawn from the seed, the visit and the detector.
    """

    step = "differencer"
    kinds: ClassVar[tuple[str, ...]] = ("calexp", "template", "injected")

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Calibrate the detector, and put the template on its pixels."""
        return {"calexp": self.require(ProcessCcd), "template": self.require(GetTemplate)}

    def run(self) -> None:
        """Plan, inject and write each detector."""
        from astra.products.exposures import read_exposure

        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                required = task.requires()
                science = read_exposure(required["calexp"].path("calexp"))
                template = read_exposure(required["template"].path("template"))
                task.inject(science, template, required["calexp"].path("src"))

    def inject(self, science: Any, template: Any, sources: Path) -> None:
        """Plan, inject and write a single detector."""
        import numpy as np

        from astra.images.injection import inject_sources
        from astra.images.injection_plan import InjectionConfig, plan_injections
        from astra.products.catalogs import read_catalog, write_catalog
        from astra.products.column_units import column_units
        from astra.products.exposures import write_exposure

        config = with_options(InjectionConfig(), self.injections)
        if "NJYADU" not in template.metadata:  # whose photon noise is unknown, as of one made elsewhere
            config = replace(config, n_negative=0)
        rng = np.random.default_rng([self.seed, self.visit, self.detector])
        with self.timer("inject"):
            planned = plan_injections(science, template, read_catalog(sources), rng, config)
            negative = planned["isNegative"]
            science = inject_sources(science, planned[~negative], rng)
            template = inject_sources(template, planned[negative], rng, into_template=True)
        write_exposure(self.path("calexp"), science)
        write_exposure(self.path("template"), template)
        units = column_units(planned.dtype.names or ())
        write_catalog(self.path("injected"), planned, units=units, metadata={"seed": self.seed})
        self.add_figures("inject", {"nInjected": len(planned), "nNegative": int(negative.sum())})


class DiffImInjected(InjectionTask, DiffIm):
    """Subtract the template from a detector with injected sources, as `DiffIm` does.

    Products as those of `DiffIm`, below ``injected``.
    """

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Inject sources into the detector and its template."""
        injected = self.require(InjectSources)
        return {"calexp": injected, "template": injected}


def as_in_production(task: InjectionTask) -> DiffImInjected:
    """Return the subtraction of what a single task injects, with the options that `DiffIm` has."""
    production = task.require(DiffIm)
    known = {name for name, _ in DiffImInjected.get_params()}
    values = {name: value for name, value in production.param_kwargs.items() if name in known}
    values.pop("rerun", None)
    injected: DiffImInjected = task.require(DiffImInjected, **values)
    return injected
