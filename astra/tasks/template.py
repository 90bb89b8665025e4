"""Build templates: coadds of calibrated exposures of named visits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import luigi

from astra.tasks.batch import per_member
from astra.tasks.imaging import ProductTask
from astra.tasks.parameters import IdsParameter
from astra.tasks.process_ccd import ProcessCcd


class BuildTemplate(ProductTask):
    """Coadd one detector of named visits on the pixels of the first of them.

    Product: ``template`` [nJy].
    """

    template_visits = IdsParameter(
        batch_method=tuple, description="Visits that make the template, e.g. 12 or 12^15^20..22."
    )

    step = "ccdProcessor"
    kinds: ClassVar[tuple[str, ...]] = ("template",)

    @property
    def visits(self) -> list[int]:
        """The visits of a single task."""
        return IdsParameter.ids(self.template_visits)

    @per_member
    def requires(self) -> list[luigi.Task]:
        """Calibrate the detector of each visit."""
        return [self.require(ProcessCcd, visit=visit) for visit in self.visits]

    def path(self, kind: str) -> Path:
        """Path of a product; a template belongs to no single visit."""
        from astra.products.layout import template_path

        return template_path(self.root, self.instrument, self.task_id).with_name(f"{kind}.fits")

    def run(self) -> None:
        """Read, coadd and write each detector."""
        from astra.images.coadd import coadd_exposures
        from astra.products.exposures import read_exposure, write_exposure

        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                paths: list[Any] = [required.path("calexp") for required in task.requires()]
                with task.timer("coadd"):
                    template = coadd_exposures([read_exposure(path) for path in paths])
                write_exposure(task.path("template"), template)
                task.add_figures("coadd", {"nVisits": len(paths)})
