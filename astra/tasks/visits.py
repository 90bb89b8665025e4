"""Define visits: one for each exposure, or of several that belong together."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.tasks.exposures import IngestRaws
from astra.tasks.imaging import ImagingTask
from astra.tasks.parameters import IdParameter
from astra.tasks.recording import logger

if TYPE_CHECKING:
    from astra.database.define import VisitCounts, VisitRules
    from astra.database.visits import DefineOptions

PADDING_PIXEL = 250
EXPLICIT = luigi.BoolParameter.EXPLICIT_PARSING


class DefineVisits(ImagingTask):
    """Define the visits that an exposure belongs to, with their regions on the sky.

    Exposures of one batch make visits together; those that come later, with ``--incremental``. What is
    defined already is left as it is, if it is the same, and is an error if not.
    """

    exposure = IdParameter(description="Exposure id, or ids as in 1..62^70.")
    grouping = luigi.Parameter(
        default="one-to-one",
        description="Rule that groups exposures: one-to-one, by-group-metadata, one-to-one-and-by-counter, "
        "or that of a plug-in (entry-point group astra.groupers).",
    )
    region_algorithm = luigi.Parameter(
        default="single-raw-wcs",
        description="What finds the regions: single-raw-wcs, raw-corners, or that of a plug-in "
        "(entry-point group astra.visit_regions).",
    )
    padding_pixel = luigi.IntParameter(
        default=PADDING_PIXEL, description="Margin by which each detector's region is dilated [pixel]."
    )
    merge_exposures = luigi.BoolParameter(
        default=False, description="Whether regions hold all exposures of a visit, not only the first."
    )
    collections = luigi.Parameter(
        default="", description="Collections of raws, separated by commas, e.g. raw/all; all if empty."
    )
    ignore_non_science = luigi.BoolParameter(
        default=True,
        parsing=EXPLICIT,
        description="Leave out exposures without a pointing or with a closed dome; else they are an error.",
    )
    update_records = luigi.BoolParameter(
        default=False, significant=False, description="Run again, and change visits that differ."
    )
    incremental = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Exposures come in one by one: take those of a visit that are ingested already too, "
        "and update it.",
    )
    skip_conflicting = luigi.BoolParameter(
        default=False, significant=False, description="Leave visits that differ as they are; else an error."
    )
    prefilter = luigi.BoolParameter(
        default=False, significant=False, description="Leave out, unseen, exposures whose visits are there."
    )
    check_detector_regions = luigi.BoolParameter(
        default=True,
        significant=False,
        parsing=EXPLICIT,
        description="Add the regions of detectors that a visit lacks.",
    )

    selecting_params: ClassVar[frozenset[str]] = frozenset({"grouping", "collections", "ignore_non_science"})
    accepts_partial_batches = True  # it needs its own exposure, not every file that was named

    @property
    def must_rerun(self) -> bool:
        """Whether only a result of this invocation counts as done: an update has to look."""
        return super().must_rerun or bool(self.update_records)

    @property
    def options(self) -> DefineOptions:
        """What to do with visits that are there already.

        Raises
        ------
        ConfigError
            If what is filtered out would have to be updated.
        """
        from astra.database.visits import DefineOptions

        return DefineOptions(
            update_records=self.update_records,
            incremental=self.incremental,
            skip_conflicting=self.skip_conflicting,
            prefilter=self.prefilter,
            check_detector_regions=self.check_detector_regions,
            collections=tuple(name.strip() for name in self.collections.split(",") if name.strip()),
            ignore_non_science=self.ignore_non_science,
        )

    def requires(self) -> list[luigi.Task]:
        """Ingest the raws that were named; without any, the exposure must have been ingested before."""
        collections = self.options.collections
        paths = tuple(path for path in self.raw.split(os.pathsep) if path)
        if not paths:
            return []
        path = paths if len(paths) > 1 else paths[0]
        into = {"collection": collections[0]} if len(collections) == 1 else {}
        return [self.require(IngestRaws, path=path, **into)]

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose exposure has got raws of further detectors since."""
        from astra.database.engine import reading
        from astra.database.exposures import incomplete_exposures
        from astra.plugins import GROUPERS

        systems = GROUPERS.get(self.grouping).systems
        exposures = [kwargs["exposure"] for kwargs in self.get_batch_task_kwds(False)]
        with reading(self.database_url) as connection:
            found = incomplete_exposures(
                connection, self.instrument, exposures, systems, self.options.collections
            )
            incomplete = set(found)
        ids = zip(self.member_ids(), exposures, strict=True)
        return {task_id for task_id, exposure in ids if exposure in incomplete}

    def input_files(self) -> list[str | Path]:
        """Return the raw frames of the exposure of a single task."""
        from astra.database.engine import reading
        from astra.database.survey import raws_of_exposure

        with reading(self.database_url) as connection:
            paths = [raw.path for raw in raws_of_exposure(connection, self.instrument, self.exposure)]
        return list(dict.fromkeys(paths))

    def run(self) -> None:
        """Write each visit with its definition and regions in one transaction."""
        from astra.database.define import VisitCounts

        rules = visit_rules(
            self.instrument, self.grouping, self.region_algorithm, self.padding_pixel, self.merge_exposures
        )
        exposures = frozenset(kwargs["exposure"] for kwargs in self.get_batch_task_kwds(False))
        defined: dict[Any, Any] = {}
        total = VisitCounts()
        for task in self.pending_tasks():
            with task.recording():
                counts = task._define(rules, exposures, defined)  # noqa: SLF001  # of this very class
                task.add_figures("define", vars(counts))
                total += counts
        if self.is_batch_mode:
            self.add_figures("define", vars(total))

    def _define(self, rules: VisitRules, exposures: Collection[int], defined: dict[Any, Any]) -> VisitCounts:
        """Define the visits of one exposure; those that another member has tried are not tried again.

        Each visit is counted with the first of its exposures.
        """
        from astra.database.define import define_visit, plan_visits
        from astra.errors import AstraError

        options = self.options
        others = exposures if len(exposures) > 1 else ()
        plan = plan_visits(self.database_url, self.instrument, [self.exposure], rules, options, among=others)
        for sentence in plan.warnings:
            logger.warning("%s", sentence)
        counts = plan.counts
        for visit in plan.visits:
            if self.exposure not in visit.exposure_ids:
                continue
            key = (visit.visit, visit.systems)
            if key not in defined:
                try:
                    defined[key] = None
                    counts += define_visit(self.database_url, visit, rules, options)
                except AstraError as exc:
                    defined[key] = exc
            if defined[key] is not None:
                raise defined[key]
        return counts


def one_to_one_visits(task: ImagingTask, visits: Sequence[int]) -> list[luigi.Task]:
    """Return what defines visits one to one, on behalf of a task that needs them.

    A visit has the id of its exposure, but for the first of several that a counter puts together: that one
    is there since they were, and by its id no exposure could be found.
    """
    from astra.database.engine import reading
    from astra.database.survey import visits_named_otherwise

    with reading(task.database_url) as connection:
        there = visits_named_otherwise(connection, task.instrument, set(visits))
    return [task.require(DefineVisits, exposure=visit) for visit in visits if visit not in there]


def visit_rules(
    instrument: str,
    grouping: str,
    region_algorithm: str = "single-raw-wcs",
    padding_pixel: int = PADDING_PIXEL,
    merge_exposures: bool = False,
) -> VisitRules:
    """Return how exposures of a camera become visits, all parts chosen by name.

    Parameters
    ----------
    instrument, grouping, region_algorithm : str
        Names of the camera, the grouping rule and what finds the regions.
    padding_pixel : int, optional
        Margin by which each detector's region is dilated [pixel].
    merge_exposures : bool, optional
        Whether regions hold all exposures of a visit, not only the first.

    Raises
    ------
    ConfigError
        If there is no such camera, rule or algorithm.
    """
    from astra.database.define import VisitRules
    from astra.instruments.registry import get_instrument
    from astra.plugins import GROUPERS, VISIT_REGIONS
    from astra.sky.visit_regions import RegionConfig

    camera, algorithm = get_instrument(instrument), VISIT_REGIONS.get(region_algorithm)
    config = RegionConfig(padding_pixel, merge_exposures)
    return VisitRules(
        grouper=GROUPERS.get(grouping),
        find_regions=functools.partial(_find_regions, camera, algorithm, config),
        needs_tracking=algorithm.needs_tracking(camera),
        group_id=camera.group_id,
    )


def _find_regions(camera: Any, algorithm: Any, config: Any, exposures: Any, raws: Any) -> Any:
    return algorithm.find_regions(camera, exposures, raws, config)
