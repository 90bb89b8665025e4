"""Put the template on the pixels of a detector: from the tiles of the sky below it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import AstraError, ConfigError, NoOverlapError
from astra.products.checksums import FileStamp, stamp
from astra.tasks.batch import per_member
from astra.tasks.heap import keep_freed_memory
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template import BuildTemplate
from astra.tasks.template_inputs import built, refuse_none_found
from astra.tasks.template_rows import find_ingested
from astra.tasks.template_rule import DifferenceTask

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from astropy.wcs import WCS

    from astra.images.exposure import VisitInfo


class GetTemplate(DifferenceTask):
    """Resample the templates of the sky tiles below a calibrated detector onto its pixels.

    The tiles are built as far as they are missing, unless ``template_name`` names templates that are
    ingested. Product: ``template`` [nJy], in its own seeing.
    """

    min_cover = luigi.FloatParameter(
        default=0.1, description="Least fraction of the pixels of the detector that the template covers."
    )

    step = "differencer"
    kinds: ClassVar[tuple[str, ...]] = ("template",)
    accepts_partial_batches = True  # a detector does without a tile that nothing lies on

    @per_member
    def requires(self) -> list[luigi.Task]:
        """Calibrate the detector, and define the visits that are named for its template."""
        visits = [] if self.template_name else self.visit_requirements()
        return [self.require(ProcessCcd), *visits]

    def further_requires(self) -> list[luigi.Task]:
        """Build the template on the tiles below the detector, where there is something to make it of."""
        if self.template_name:
            return []
        self.refuse_own_visit(self.visits)
        rule, tiles = self.visit_rule(self.info.band), self.sky_tiles()
        regions = {number: tiles.tile(number).region for number in tiles.overlapping(*self.image)}
        found = {number: self.candidates(rule, region) for number, region in regions.items()}
        if not any(one.pairs for one in found.values()):
            refuse_none_found(next(iter(found.values())), self.what)
        made = [number for number, one in found.items() if one.pairs]
        if self.template_max_fwhm_arcsec is None and self.template_max_inputs is None:
            self.refuse_own_visit({visit for one in found.values() for visit in one.visits})
        return [self.require(BuildTemplate, tile=number, band=self.info.band) for number in made]

    def input_files(self) -> list[str | Path]:
        """Return the files of the templates that are ingested, if those are used."""
        if not self.template_name:
            return []
        try:
            return self.ingested_paths()
        except AstraError:
            return []  # `run` says so

    def run(self) -> Generator[Any, Any, None]:
        """Read the templates of the tiles, and write what they make on each detector."""
        keep_freed_memory()
        if not self.template_name:
            yield self.visits_to_define()
            yield self.further()
        for task in self.pending_tasks():
            with task.recording():
                task.sweep()
                task.make()

    def make(self) -> None:
        """Make and write the template of a single task.

        Raises
        ------
        NoOverlapError
            If it covers too little.
        """
        from astra.images.template import make_template
        from astra.products.exposures import read_exposure, write_exposure

        paths = self.template_paths()
        wcs, shape = self.image
        with self.timer("resample"):
            tiles = (read_exposure(path, mapped=True) for path in paths)
            template = make_template(tiles, wcs, shape, self.info)
        covered = _covered(template)
        if covered < self.min_cover:
            message = (
                f"{self.what} covers {100 * covered:.1f} % of its pixels, but {100 * self.min_cover:.1f} % "
                f"are required ({len(paths)} tiles)"
            )
            raise NoOverlapError(message, covered=covered, required=self.min_cover, n_tiles=len(paths))
        write_exposure(self.path("template"), template)
        self.add_figures("template", {"nTiles": len(paths), "coverage": covered})

    def template_paths(self) -> list[str | Path]:
        """Return the files of the templates on the tiles of a single task.

        Raises
        ------
        ConfigError
            If one contains the visit itself.
        MissingDataError
            If one could not be built for another reason than that nothing lies there.
        """
        from astra.products.template_files import read_template_inputs

        if self.template_name:
            return self.ingested_paths()
        tasks = built(self.database_url, self.further_requires())
        if not self.allow_own_visit:
            inputs = [one for task in tasks for one in read_template_inputs(task.path("inputs"))]
            self.refuse_own_visit({one.visit for one in inputs if one.used})
        return [task.path("template") for task in tasks]

    def ingested_paths(self) -> list[str | Path]:
        """Return the files of the ingested templates on the tiles of a single task."""
        rows = find_ingested(
            self.database_url, self.instrument, self.template_name, self.info.band, self.image
        )
        return [row.path for row in rows]

    def refuse_own_visit(self, visits: Any) -> None:
        """Refuse a template that contains the visit that it is to be subtracted from.

        Raises
        ------
        ConfigError
            If it does, unless that is allowed.
        """
        if self.visit in visits and not self.allow_own_visit:
            message = (
                f"visit {self.visit} is among those that make its own template; leave it out, or allow it "
                f"with --allow-own-visit"
            )
            raise ConfigError(message, visit=self.visit, detector=self.detector)

    @property
    def what(self) -> str:
        """The template of a single task, in words."""
        return f"the template of visit {self.visit}, detector {self.detector} of {self.instrument}"

    @property
    def image(self) -> tuple[WCS, tuple[int, int]]:
        """WCS and shape ``(ny, nx)`` [pixel] of the calibrated detector of a single task."""
        return self._calexp()[1:]

    @property
    def info(self) -> VisitInfo:
        """Which exposure a single task makes the template of."""
        return self._calexp()[0]

    def _calexp(self) -> tuple[VisitInfo, WCS, tuple[int, int]]:
        path = str(self.require(ProcessCcd).path("calexp"))
        return _read_place(path, stamp(path))


@functools.lru_cache(maxsize=256)
def _read_place(path: str, _state: FileStamp | None) -> tuple[VisitInfo, WCS, tuple[int, int]]:
    """Read what an exposure is and where it lies; the engine asks for it many times."""
    from astra.products.exposures import read_exposure_place

    return read_exposure_place(path)


def _covered(template: Any) -> float:
    """Fraction of the pixels with data."""
    from astra.images.exposure import MASK_NO_DATA

    return float(((template.mask & MASK_NO_DATA) == 0).mean())
