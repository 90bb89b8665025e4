"""Send alerts to where they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import luigi

from astra import config
from astra.errors import ConfigError, SendError
from astra.tasks.alerts import PackageAlerts
from astra.tasks.associated import AssociatedTask
from astra.tasks.batch import per_member
from astra.tasks.parameters import PathParameter

if TYPE_CHECKING:
    from astra.alerts.sinks import SinkSettings
    from astra.tasks.sending import AlertSending, SendReport


class SendAlerts(AssociatedTask):
    """Send the alerts of one detector of one visit to a sink, and what is left over from earlier visits.

    Every alert arrives at least once, and those of one object in their order; after a crash the batch in
    flight arrives twice, and is told by its ``diaSourceId``. An alert that does not arrive stays in the
    table ``alert_outbox`` with the reason, fails the task, and is sent again with the next run.
    """

    sink = luigi.Parameter(default="kafka", description="Sink: files, kafka, ztf, ztf-kafka, or a plug-in's.")
    batch_alerts = luigi.IntParameter(
        default=500, significant=False, description="Most alerts that are in flight at once."
    )
    sink_folder = PathParameter(
        default="",
        significant=False,
        description="Folder of a sink that writes files; by default alerts/<sink> below the root.",
    )
    write_failed_alerts = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Whether alerts that do not arrive are kept in alerts/failed/<sink> too, until they do.",
    )

    step = "diaPipe"
    kinds: ClassVar[tuple[str, ...]] = ()
    selecting_params: ClassVar[frozenset[str]] = AssociatedTask.selecting_params | {"sink"}

    @property
    def resources(self) -> dict[str, int]:
        """What is used up: a sink takes the alerts of one task at a time."""
        return {f"alerts_{self.sink}": 1}

    @per_member
    def requires(self) -> luigi.Task:
        """Package the alerts."""
        return self.require(PackageAlerts)

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose packets are of an association that has been replaced since."""
        stale = self.require(PackageAlerts).stale_ids()
        if not stale:
            return set()
        return {
            member.task_id
            for member in self.get_batch_tasks()
            if member.require(PackageAlerts).task_id in stale
        }

    def path(self, kind: str) -> Path:
        """Path of a folder for files: of what is sent, or what has not arrived."""
        if kind == "sent" and self.sink_folder:
            return Path(self.sink_folder)
        folder: Path = self.root / "alerts"
        return folder / str(self.sink) if kind == "sent" else folder / kind / str(self.sink)

    def members(self, wanted: set[str]) -> Iterator[Self]:
        """Yield the members with the wanted ids in order of their time."""
        from astra.database.engine import reading
        from astra.database.survey import visit_midpoints, visit_system_id

        members = list(super().members(wanted))
        with reading(self.database_url) as connection:
            system = visit_system_id(connection, self.visit_system)
            times = visit_midpoints(connection, self.instrument, {member.visit for member in members}, system)
        yield from sorted(members, key=lambda member: (times.get(member.visit, 0.0), member.visit))

    def run(self) -> None:
        """Fill the outbox from each file, and send what the sink lacks."""
        from astra.database.outbox import sending
        from astra.plugins import ALERT_SINKS
        from astra.tasks.sending import AlertSending

        if self.batch_alerts < 1:
            message = f"batch_alerts must be at least 1, found {self.batch_alerts}"
            raise ConfigError(message, batch_alerts=self.batch_alerts)
        sink = ALERT_SINKS.get(self.sink)
        with (
            sending(self.database_url, self.sink),
            sink.open(self.settings(sink.section)) as sender,
        ):
            alerts = AlertSending(
                self.database_url,
                self.sink,
                sink,
                sender,
                batch_alerts=self.batch_alerts,
                failed_folder=self.path("failed") if self.write_failed_alerts else None,
            )
            for task in self.pending_tasks():
                with task.recording():
                    task.send(alerts)

    def settings(self, section: str) -> SinkSettings:
        """Return what a sink needs to know, from its section of the configuration."""
        from astra.alerts.sinks import SinkSettings

        return SinkSettings(self.path("sent"), config.section_options(section))

    def send(self, alerts: AlertSending) -> None:
        """Send the alerts of a single task, and those before them.

        Raises
        ------
        SendError
            If one of its own has not arrived.
        """
        from astra.database.engine import reading
        from astra.database.outbox import unsent_at

        place = (self.instrument, self.visit, self.detector)
        with self.timer("send"):
            until = alerts.fill(place, self.require(PackageAlerts).path("alerts"), again=self.must_rerun)
            report = alerts.send(until)
        self.add_figures(
            "send",
            {"nSent": report.n_sent, "nFailed": report.n_failed, "nRefused": report.n_refused},
        )
        with reading(self.database_url) as connection:
            unsent = unsent_at(connection, self.sink, place)
        if unsent:
            raise self._not_arrived(unsent, report)

    def _not_arrived(self, unsent: list[str | None], report: SendReport) -> SendError:
        reason = next((error for error in unsent if error), None) or report.first_error or "not tried"
        message = (
            f"{len(unsent)} alerts of visit {self.visit}, detector {self.detector} have not arrived at "
            f"{self.sink}; they are kept and sent with the next run: {reason}"
        )
        return SendError(
            message, sink=self.sink, visit=self.visit, detector=self.detector, n_unsent=len(unsent)
        )
