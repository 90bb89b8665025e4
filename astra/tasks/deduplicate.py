"""Objects that two visits have each made of one thing on the sky, as they were associated at once."""

from __future__ import annotations

import luigi

from astra.errors import MissingDataError
from astra.tasks.associated import FURTHER, StatisticsParameter, chosen_plugins
from astra.tasks.base import AstraTask
from astra.tasks.sky_cells import sky_resources
from astra.tasks.template_rule import ONE_TO_ONE_NAME


class DeduplicateObjects(AstraTask):
    """Merge the duplicates among the objects where the detectors of a night looked.

    Of two current objects that are near each other and were never detected by one visit, the one that was
    detected first stays. Alerts of visits that detect either are packaged again by the next run of ApNight.
    """

    instrument = luigi.Parameter(description="Camera name, e.g. sdss.")
    night = luigi.IntParameter(description="Day of observation, e.g. 20261120.")
    radius_arcsec = luigi.FloatParameter(default=1.0, description="Largest separation of one thing [arcsec].")
    visit_system = luigi.Parameter(default=ONE_TO_ONE_NAME, description="System of the visits.")
    statistics = StatisticsParameter(
        default=FURTHER, description="Statistics of the objects that stay, as for Associate."
    )

    @property
    def resources(self) -> dict[str, int]:
        """The cells of the sky where the night looked."""
        from astra.database.engine import reading
        from astra.database.nights import detectors_of_night
        from astra.database.survey import visit_system_id

        try:
            with reading(self.database_url) as connection:
                system = visit_system_id(connection, self.visit_system)
                places = detectors_of_night(connection, self.instrument, self.night, system)
        except MissingDataError:
            places = []
        return sky_resources(self.database_url, self.instrument, self.visit_system, places)

    def run(self) -> None:
        """Merge the duplicates, and let the alerts that tell of them be made again."""
        for task in self.pending_tasks():
            with task.recording():
                merged, n_alerts = task.merge()
                task.add_figures("deduplicate", {"nMergedDiaObjects": merged, "nReopenedAlerts": n_alerts})

    def merge(self) -> tuple[int, int]:
        """Merge in one transaction; return how many objects went, and how many files of alerts are reopened.

        Raises
        ------
        MissingDataError
            If no detector of the night is known.
        """
        from astropy.time import Time

        from astra.database.apdb import lock
        from astra.database.apdb_concerned import concerned_tasks, merge_duplicates
        from astra.database.engine import transaction
        from astra.database.nights import detectors_of_night
        from astra.database.survey import visit_system_id
        from astra.tasks.reopened_alerts import reopen_alerts_of

        with transaction(self.database_url) as connection:
            lock(connection)
            system = visit_system_id(connection, self.visit_system)
            places = detectors_of_night(connection, self.instrument, self.night, system)
            if not places:
                message = f"no detector of night {self.night} of {self.instrument} is known"
                raise MissingDataError(message, instrument=self.instrument, night=self.night)
            merged = merge_duplicates(
                connection,
                self.instrument,
                places,
                radius_arcsec=self.radius_arcsec,
                time_mjd_tai=float(Time.now().tai.mjd),
                plugins=chosen_plugins(self.statistics),
            )
            tasks = concerned_tasks(connection, merged.values())
            return len(merged), reopen_alerts_of(connection, tasks)
