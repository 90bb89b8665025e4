"""Package alerts: one file of packets for each detector of each visit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra.tasks.association import Associate
from astra.tasks.batch import per_member
from astra.tasks.diffim import DiffIm
from astra.tasks.get_template import GetTemplate
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.template_rule import DifferenceTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astra.database.apdb import AlertRows
    from astra.images.exposure import Exposure


class PackageAlerts(DifferenceTask):
    """Write an alert for every associated detection, with its history and cutouts.

    Product: ``alerts/<visit>_<detector>.avro``, schema lsst 11.1.
    """

    step = "diaPipe"
    kinds: ClassVar[tuple[str, ...]] = ("alerts",)

    @per_member
    def requires(self) -> dict[str, luigi.Task]:
        """Associate the detections; cutouts come from the images that they were found on."""
        return {
            "associate": self.require(Associate),
            "diffim": self.require(DiffIm),
            "template": self.require(GetTemplate),
            "calexp": self.require(ProcessCcd),
        }

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose association another task has replaced since."""
        stale = self.require(Associate).stale_ids()
        if not stale:
            return set()
        return {
            member.task_id for member in self.get_batch_tasks() if member.require(Associate).task_id in stale
        }

    def path(self, kind: str) -> Path:
        """Path of the alerts of a single task; there is one association, so one file."""
        from astra.products.layout import alert_path

        return alert_path(self.root, self.visit, self.detector)

    def run(self) -> None:
        """Read the rows and the images, and write the packets."""
        from astra.alerts.files import write_alerts
        from astra.database.apdb import load_alert_rows
        from astra.database.engine import reading
        from astra.images.injection import refuse_injected
        from astra.products.exposures import read_exposure

        self.sweep()  # once: all alerts lie in one folder
        for task in self.pending_tasks():
            with task.recording():
                required = task.requires()
                images = {
                    "difference": read_exposure(required["diffim"].path("diffexp")),
                    "science": read_exposure(required["calexp"].path("calexp")),
                    "template": read_exposure(required["template"].path("template")),
                }
                refuse_injected(*images.values())
                with reading(task.database_url) as connection:
                    _, rows = load_alert_rows(connection, task.instrument, task.visit, task.detector)
                with task.timer("package"):
                    n_alerts = write_alerts(task.path("alerts"), _packets(rows, images))
                task.add_figures("package", {"nAlerts": n_alerts})
                task.record_timing([row.dia_source for row in rows])

    def record_timing(self, dia_sources: list[dict[str, Any]]) -> None:
        """Note when the alerts of a single task were written."""
        from astropy.time import Time

        from astra.database.alert_timing import record_written
        from astra.database.engine import transaction

        place = (self.instrument, self.visit, self.detector)
        with transaction(self.database_url) as connection:
            record_written(connection, place, dia_sources, float(Time.now().tai.mjd))


def _packets(rows: list[AlertRows], images: dict[str, Exposure]) -> Iterator[dict[str, Any]]:
    """Make the packets one at a time."""
    from astra.alerts.cutouts import make_cutout
    from astra.alerts.packets import Cutouts, make_alert

    for row in rows:
        source = row.dia_source
        side = source.get("bboxSize") or 0
        cutouts = Cutouts(
            **{name: make_cutout(image, source["x"], source["y"], side) for name, image in images.items()}
        )
        yield make_alert(source, row.prv_sources, row.prv_forced, row.dia_object, cutouts)
