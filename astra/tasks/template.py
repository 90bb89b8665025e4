"""Build templates: coadds of calibrated exposures on the tiles of the sky."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.tasks.batch import per_member
from astra.tasks.heap import keep_freed_memory
from astra.tasks.parameters import IdParameter
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template_inputs import (
    keep_sharpest,
    leave_out_blurred,
    read_inputs,
    refuse_none_found,
    refuse_none_used,
)
from astra.tasks.template_rule import TemplateRuleTask
from astra.tasks.tile_coadd import coadd_on, write_template

if TYPE_CHECKING:
    from collections.abc import Generator

    from astra.images.coadd import Coadd
    from astra.images.exposure import Exposure
    from astra.products.template_files import TemplateInput
    from astra.sky.sky_tiles import Tile


class BuildTemplate(TemplateRuleTask):
    """Coadd the calibrated detectors of visits on one tile of the sky, or on many.

    The visits are named, or those of some dates; of these the ones in the band that look at the tile. What
    cannot be calibrated, is blurred or is not among the sharpest is left out, with its reason among the
    inputs. Products: ``template`` [nJy], ``coverage`` (number of exposures of each pixel), ``inputs``.
    """

    tile = IdParameter(description="Tile of the sky: nested HEALPix number, or numbers as in 1..62^70.")
    band = luigi.Parameter(batch_method=tuple, description="Band, e.g. r.")

    step = "ccdProcessor"
    kinds: ClassVar[tuple[str, ...]] = ("template", "coverage", "inputs")
    accepts_partial_batches = True  # a template does without what could not be calibrated

    @property
    def what(self) -> str:
        """The template of a single task, in words."""
        return f"the template of tile {self.tile} of {self.instrument} in {self.band}"

    @per_member
    def requires(self) -> list[luigi.Task]:
        """Define the visits that are named, or ingest the raws."""
        return self.visit_requirements()

    def further_requires(self) -> list[luigi.Task]:
        """Calibrate what looks at the tile."""
        found = self.candidates(self.visit_rule(self.band), self.sky_tile().region)
        refuse_none_found(found, self.what)
        return [self.require(ProcessCcd, visit=visit, detector=detector) for visit, detector in found.pairs]

    def sky_tile(self) -> Tile:
        """Return the tile of a single task."""
        return self.sky_tiles().tile(self.tile)

    def path(self, kind: str) -> Path:
        """Path of a product of a single task."""
        from astra.products.layout import template_path

        return template_path(self.root, self.instrument, self.tile, self.task_id, kind=kind)

    def run(self) -> Generator[Any, Any, None]:
        """Choose, coadd and write each tile."""
        keep_freed_memory()
        yield self.visits_to_define()
        yield self.further()
        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                inputs = task.choose_inputs()
                with task.timer("coadd"):
                    coadd = task.coadd([one for one in inputs if one.used])
                task.write(coadd, _with_weights(inputs, coadd))

    def choose_inputs(self) -> list[TemplateInput]:
        """Return what was considered for a single task's template; what is left out has its reason.

        Raises
        ------
        NoOverlapError
            If nothing is left.
        """
        inputs = read_inputs(self.database_url, self.further_requires())
        inputs = leave_out_blurred(inputs, self.template_max_fwhm_arcsec)
        inputs = keep_sharpest(inputs, self.template_max_inputs)
        refuse_none_used(inputs, self.what)
        return inputs

    def coadd(self, inputs: list[TemplateInput]) -> Coadd:
        """Coadd exposures on the tile of a single task."""
        from astra.images.coadd import CoaddInput
        from astra.products.exposures import read_exposure_wcs

        files = [
            CoaddInput(f"{one.visit} {one.detector}", functools.partial(_read_real, one.path))
            for one in inputs
        ]
        images = [read_exposure_wcs(one.path) for one in inputs]
        return coadd_on(self.sky_tile(), files, images, self.what)

    def write(self, coadd: Coadd, inputs: list[TemplateInput]) -> None:
        """Write the products of a single task, and their rows."""
        from astra.products.template_files import write_coverage, write_template_inputs

        write_coverage(self.path("coverage"), coadd.coverage, coadd.exposure.wcs)
        write_template_inputs(self.path("inputs"), inputs)
        n_used = sum(one.used for one in inputs)
        values = {"band": self.band, "path": str(self.path("template")), "nInputs": n_used}
        figures = write_template(self, self.sky_tiles(), coadd, values, [one.row() for one in inputs])
        self.add_figures("coadd", {**figures, "nLeftOut": len(inputs) - n_used})


def _read_real(path: str) -> Exposure:
    """Read an exposure without injected sources; DataError if it has any."""
    from astra.images.injection import refuse_injected
    from astra.products.exposures import read_exposure

    exposure = read_exposure(path)
    refuse_injected(exposure)
    return exposure


def _with_weights(inputs: list[TemplateInput], coadd: Coadd) -> list[TemplateInput]:
    """Return the inputs with what became of them in the coadd."""
    found = {(int(row["visit"]), int(row["detector"])): row for row in coadd.inputs}
    judged = []
    for one in inputs:
        row = found.get((one.visit, one.detector))
        if row is None:
            judged.append(one)
        elif row["used"]:
            judged.append(replace(one, weight=float(row["weight"])))
        else:
            judged.append(one.without(str(row["reason"])))
    return judged
