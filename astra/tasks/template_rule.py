"""Which visits make a template, as parameters, and on which tiles of the sky it lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.errors import ConfigError
from astra.tasks.batch import per_member
from astra.tasks.calibration_files import read_mjd_tai
from astra.tasks.exposures import IngestRaws
from astra.tasks.imaging import DetectorTask, ProductTask
from astra.tasks.parameters import IdsParameter
from astra.tasks.visits import DefineVisits, one_to_one_visits

if TYPE_CHECKING:
    from lsst.sphgeom import Region

    from astra.database.templates import Candidates, VisitRule
    from astra.sky.sky_tiles import SkyTiles

ONE_TO_ONE_NAME = "one-to-one"
MAX_TILE_DETECTORS = 3.0  # side of a tile, in those of the largest detector
RULES = (
    "template_visits",
    "template_begin",
    "template_end",
    "template_max_fwhm_arcsec",
    "template_max_inputs",
)


class TemplateRuleTask(ProductTask):
    """A task with the parameters that choose the visits of a template; all of them apply together."""

    template_visits = IdsParameter(
        default="",
        batch_method=tuple,
        description="Visits that make the template, e.g. 12 or 12^15^20..22; those of the dates if empty.",
    )
    template_begin = luigi.Parameter(
        default="",
        description="Earliest middle of the visits that make the template: a date as in 2026-11-20, "
        "or MJD [d, TAI].",
    )
    template_end = luigi.Parameter(
        default="",
        description="Before which the middle of the visits that make the template must lie: a date as in "
        "2026-11-20, or MJD [d, TAI].",
    )
    template_max_fwhm_arcsec = luigi.OptionalFloatParameter(
        default=None, description="Largest FWHM of the PSF of what makes the template [arcsec]."
    )
    template_max_inputs = luigi.OptionalIntParameter(
        default=None, description="Largest number of visits that make one tile of the template: the sharpest."
    )
    sky_tile_order = luigi.OptionalIntParameter(
        default=None,
        description="HEALPix order of the tiles of the sky; by default tiles have about 4600 pixels a side, "
        "or twice the side of a detector if that is less.",
    )

    selecting_params: ClassVar[frozenset[str]] = frozenset(RULES)

    @property
    def visits(self) -> list[int]:
        """The named visits of a single task."""
        return IdsParameter.ids(self.template_visits)

    def visit_rule(self, band: str) -> VisitRule:
        """Return which visits may make a single task's template.

        Raises
        ------
        ConfigError
            If nothing chooses them, or a limit excludes all.
        MissingDataError
            If there are no visits in the system.
        """
        from astra.database.engine import reading
        from astra.database.survey import visit_system_id
        from astra.database.templates import VisitRule

        begin, end = self.check_rule()
        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
        return VisitRule(self.instrument, band, tuple(self.visits), begin, end, system)

    def check_rule(self) -> tuple[float | None, float | None]:
        """Return the dates [d, MJD TAI] of a rule that can be met; ConfigError if it cannot."""
        begin, end = read_mjd_tai(self.template_begin), read_mjd_tai(self.template_end)
        if not self.visits and begin is None and end is None:
            message = (
                "a template is made of visits: name them with template_visits, or give template_begin or "
                "template_end, or the template_name of one that is ingested"
            )
            raise ConfigError(message)
        if begin is not None and end is not None and end <= begin:
            message = f"template_end must be after template_begin, found MJD {end} and {begin} (TAI)"
            raise ConfigError(message, template_begin=begin, template_end=end)
        for name in ("template_max_fwhm_arcsec", "template_max_inputs"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, found {value}", **{name: value})
        return begin, end

    def candidates(self, rule: VisitRule, region: Region) -> Candidates:
        """Ask the database which detectors of visits may go into the template of a region."""
        from astra.database.engine import reading
        from astra.database.templates import find_candidates

        with reading(self.database_url) as connection:
            return find_candidates(connection, rule, region)

    # -- visits ---------------------------------------------------------------------------------------------

    def visit_requirements(self) -> list[luigi.Task]:
        """Return what a single task requires so that the visits are known: ingested, and if named defined."""
        if self.visits and self.visit_system == ONE_TO_ONE_NAME:
            return one_to_one_visits(self, self.visits)
        paths = tuple(path for path in self.raw.split(os.pathsep) if path)
        return [self.require(IngestRaws, path=paths if len(paths) > 1 else paths[0])] if paths else []

    def visits_to_define(self) -> list[luigi.Task]:
        """Return what defines the visits of the dates that are ingested and not yet defined, one to one."""
        return self._visits_to_define() if self.visit_system == ONE_TO_ONE_NAME else []

    @per_member
    def _visits_to_define(self) -> list[luigi.Task]:
        from astra.database.engine import reading
        from astra.database.templates import exposures_to_define

        if self.visits or not (self.template_begin or self.template_end):
            return []
        begin, end = self.check_rule()
        with reading(self.database_url) as connection:
            exposures = exposures_to_define(connection, self.instrument, begin, end)
        if not exposures:
            return []
        return [self.require(DefineVisits, exposure=tuple(exposures) if exposures[1:] else exposures[0])]

    # -- the sky --------------------------------------------------------------------------------------------

    def sky_tiles(self) -> SkyTiles:
        """Return the tiles of the sky for the camera."""
        return tiles_of_camera(self.instrument, self.sky_tile_order)


class DifferenceTask(TemplateRuleTask, DetectorTask):
    """A task on one detector of one visit and a template, which is built or was ingested."""

    template_name = luigi.Parameter(
        default="",
        description="Name of a collection of templates that IngestTemplate has taken; builds one if empty.",
    )
    allow_own_visit = luigi.BoolParameter(
        default=False, description="Whether a template may contain the visit that it is subtracted from."
    )

    selecting_params: ClassVar[frozenset[str]] = frozenset({*RULES, "template_name"})


def tiles_of_camera(instrument: str, order: int | None = None) -> SkyTiles:
    """Return the tiles of the sky for a camera: by its pixel scale, and not much larger than its detectors.

    Parameters
    ----------
    instrument : str
        Camera name.
    order : int, optional
        HEALPix order, in place of the one that the sizes give.
    """
    from astra.instruments.registry import get_instrument
    from astra.sky.sky_tiles import sky_tiles

    camera = get_instrument(instrument)
    scale = float(camera.pixel_scale_arcsec)
    tiles = sky_tiles(scale, order)
    sides: list[Any] = [max(one.n_rows, one.n_columns) for one in camera.detectors]
    while order is None and sides and _side_pixel(tiles) > MAX_TILE_DETECTORS * max(sides):
        tiles = sky_tiles(scale, tiles.order + 1)
    return tiles


def _side_pixel(tiles: SkyTiles) -> float:
    """Width of the diamond of a HEALPix pixel [pixel]."""
    import numpy as np

    diagonal = np.degrees(np.sqrt(8.0 * np.pi / tiles.n_tiles)) * 3600.0
    return float(diagonal / tiles.pixel_scale_arcsec)
