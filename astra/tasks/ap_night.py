"""The whole alert production of a night, as one task."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import BatchError, MissingDataError
from astra.tasks.ap_pipe import LAST_STEP, NOTHING, ApPipe
from astra.tasks.associated import AssociatedTask
from astra.tasks.attended_night import AttendedNight
from astra.tasks.exposures import IngestRaws
from astra.tasks.imaging import STEPS
from astra.tasks.parameters import IdsParameter
from astra.tasks.recording import logger
from astra.tasks.template_rule import ONE_TO_ONE_NAME
from astra.tasks.visits import DefineVisits

if TYPE_CHECKING:
    from astra.database.nights import NightCounts


class ApNight(AttendedNight, AssociatedTask):
    """Process all visits of a night, from raw frames to alerts.

    Detectors are associated in the order of their midpoints. One that fails stops no other; the task then
    fails at its end, and run again it does what is missing. Each run leaves a row in ``night_summary``, which
    counts as failed what is not done: it is written before the detectors are processed and again after, as
    Luigi does not go on with a task for which nothing at all came through.
    """

    night = luigi.IntParameter(description="Day of observation, e.g. 20261120.")
    visit = IdsParameter(
        default="", description="Visits of the night, e.g. 12 or 12^15^20..22; all if empty."
    )
    detector = IdsParameter(default="", description="Detectors, e.g. 1..62^70; all that have raws if empty.")
    reuse = luigi.ChoiceParameter(
        default=NOTHING,
        choices=[NOTHING, *STEPS, LAST_STEP],
        significant=False,
        description="With --rerun: last step to use as it is; those before it are included.",
    )
    report = luigi.BoolParameter(
        default=True,
        significant=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Whether the report of the night is written: reports/<instrument>_<night> below root.",
    )

    progress = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Show the progress by family on standard error; Luigi's log goes to a file in logs below "
        "the root.",
    )

    runs_in_place = True
    accepts_partial_batches = True  # what fails of a night is counted, and stops nothing

    def requires(self) -> list[luigi.Task]:
        """Ingest the raws that were named."""
        return self.visit_requirements() if self.raw else []

    def visit_requirements(self) -> list[luigi.Task]:
        """Return what ingests the raws."""
        paths = tuple(path for path in self.raw.split(os.pathsep) if path)
        return [self.require(IngestRaws, path=paths if len(paths) > 1 else paths[0])]

    def visits_to_define(self) -> list[luigi.Task]:
        """Return what defines the visits of the night that are not, one to one."""
        from astra.database.engine import reading
        from astra.database.nights import undefined_exposures

        if self.visit_system != ONE_TO_ONE_NAME:
            return []
        with reading(self.database_url) as connection:
            exposures = undefined_exposures(connection, self.instrument, self.night)
        return [self.require(DefineVisits, exposure=tuple(exposures), raw="")] if exposures else []

    def further_requires(self) -> list[luigi.Task]:
        """Process every detector of the night, as one batch."""
        return [self.pipeline(self.pairs())]

    def pairs(self) -> list[tuple[int, int]]:
        """Return the visits and detectors of the night, in the order of their midpoints.

        Raises
        ------
        MissingDataError
            If there are none.
        """
        from astra.database.engine import reading
        from astra.database.nights import detectors_of_night
        from astra.database.survey import visit_system_id

        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            pairs = detectors_of_night(connection, self.instrument, self.night, system)
        visits, detectors = (set(IdsParameter.ids(ids)) for ids in (self.visit, self.detector))
        chosen = [
            (visit, detector)
            for visit, detector in pairs
            if (not visits or visit in visits) and (not detectors or detector in detectors)
        ]
        if not chosen:
            message = (
                f"no detector of night {self.night} of {self.instrument} is known, or none of those that are "
                "named; give its raw frames with raw, or ingest them and define the visits first"
            )
            raise MissingDataError(message, instrument=self.instrument, night=self.night)
        return chosen

    def pipeline(self, pairs: list[tuple[int, int]]) -> ApPipe:
        """Return the task that processes some visits and detectors, as one batch."""
        visits, detectors = zip(*pairs, strict=True)
        own = {"rerun": self.rerun, "reuse": self.reuse, "raw": ""}
        task: ApPipe = self.require(ApPipe, visit=tuple(visits), detector=tuple(detectors), **own)
        return task

    def run(self) -> Generator[Any, Any, None]:
        """Process the night, and sum it up.

        Raises
        ------
        BatchError
            If a detector failed.
        """
        yield self.visits_to_define()
        with suppress(MissingDataError):  # which is this task's own failure, below
            self.sum_up()
        yield self.further()
        for task in self.pending_tasks():
            with task.recording():
                counts = task.sum_up()
                task.add_figures("night", asdict(counts))
                task.write_report()
                if counts.n_failed:
                    message = (
                        f"{counts.n_failed} of {counts.n_detectors} detectors of night {task.night} of "
                        f"{task.instrument} failed; their own rows say why, and a further run does them again"
                    )
                    raise BatchError(message, n_failed=counts.n_failed, night=task.night)

    def write_report(self) -> None:
        """Write the report of the night; one that cannot be written is told, and fails nothing."""
        from astra.config import thresholds_file
        from astra.products.layout import report_folder
        from astra.web.report import ReportSettings, write_report

        if not self.report:
            return
        place = {"instrument": self.instrument, "night": self.night}
        try:
            folder = report_folder(self.root, self.instrument, self.night)
            settings = ReportSettings(thresholds=thresholds_file())
            written = write_report(self.database_url, self.root, **place, folder=folder, settings=settings)
        except Exception as exc:  # noqa: BLE001  # the night is done, whatever its report lacks
            self.add_figures("report", {"error": f"{type(exc).__name__}: {exc}"})
            logger.warning(
                "the report of night %s was not written: %s: %s", self.night, type(exc).__name__, exc
            )
            return
        self.add_figures("report", {"nPages": written.n_pages, "size": written.size})
        logger.info("report of night %s: %s", self.night, written.index.as_uri())

    def sum_up(self) -> NightCounts:
        """Count what the night gave, and write its summary."""
        from astra.database.engine import reading, transaction
        from astra.database.nights import count_night, write_summary
        from astra.database.survey import visit_system_id
        from astra.tasks.runner import utc_now

        pairs = self.pairs()
        pipeline = self.pipeline(pairs)
        ids = list(pipeline.member_ids())
        finished = pipeline.done_ids(set(ids))
        done = {pair for task_id, pair in zip(ids, pairs, strict=True) if task_id in finished}
        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            counts = count_night(connection, self.instrument, pairs, done, system)
        with transaction(self.database_url) as connection:
            scope = {"instrument": self.instrument, "day_obs": self.night}
            write_summary(connection, counts, task_id=self.task_id, updated=utc_now(), **scope)
        return counts
