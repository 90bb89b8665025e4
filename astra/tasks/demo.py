"""A demonstration: simulated nights from raw frames to alerts, and spectra, without network or service."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra import config
from astra.tasks.attended import log_to_file, n_processors, set_where_silent
from astra.tasks.closing import shown_path
from astra.tasks.demo_folder import LOG, prepare_folder
from astra.tasks.demo_simulation import CompileKernels, SimulatedTask
from astra.tasks.demo_steps import AnalyseSimulatedSpectra, ProcessSimulatedNights
from astra.tasks.parameters import PathParameter
from astra.terminal import escape

if TYPE_CHECKING:
    from astra.database.selection import Selection

N_WORKERS = 2


class Demo(SimulatedTask):
    """Simulate nights and spectra, process them with the tasks of a survey, and count what was found.

    Raw frames become calibrations, visits, a template, differences, objects with light curves and alerts;
    spectra get velocities, sums, lines and labels. It writes one folder only, and needs no network.
    """

    runs_in_place = True

    output_root = PathParameter(
        default="astra-demo", significant=False, description="Folder of all that the demonstration writes."
    )
    fresh = luigi.BoolParameter(
        default=False, significant=False, description="Start over: remove what an earlier one has made."
    )

    def part(self, task_class: type[Any], **own: Any) -> Any:
        """Return a task of the demonstration; its root is that of the configuration where they are the same.

        Tasks with a root of their own have other ids, and the commands that run them again must name it.
        """
        here = config.root() == self.root and config.database_url() == self.database_url
        root = "" if here else self.output_root
        return task_class(seed=self.seed, scale=self.scale, output_root=root, **own)

    def nights(self) -> ProcessSimulatedNights:
        """Return the task that processes the nights."""
        task: ProcessSimulatedNights = self.part(ProcessSimulatedNights)
        return task

    def spectra(self) -> AnalyseSimulatedSpectra:
        """Return the task that analyses the spectra."""
        task: AnalyseSimulatedSpectra = self.part(AnalyseSimulatedSpectra)
        return task

    def requires(self) -> list[luigi.Task]:
        """Process the nights, and analyse the spectra."""
        return [self.part(CompileKernels), self.nights(), self.spectra()]

    def stale_ids(self) -> set[str]:
        """Return this task's id while a branch is not done: one that was done may have failed since."""
        return (
            set() if all(branch.complete() for branch in (self.nights(), self.spectra())) else {self.task_id}
        )

    def run(self) -> None:
        """Count what was found."""
        self.add_figures("report", self.count())

    def count(self) -> dict[str, Any]:
        """Return what was found, measured against what was simulated."""
        import numpy as np

        from astra.database.engine import reading
        from astra.database.spectra import read_spectrum_rows
        from astra.products.catalogs import read_catalog
        from astra.tasks.demo_figures import count_alerts, count_transients, velocity_errors

        truth, changing = (read_catalog(self.table_path(kind)) for kind in ("truth", "changing"))
        transients = count_transients(self._last_results(), truth, changing)
        n_alerts, n_invalid = count_alerts(sorted((self.root / "alerts").glob("*.avro")))
        with reading(self.database_url) as connection:
            velocities = read_spectrum_rows(connection, "radial_velocity")[0]
        errors = velocity_errors(self.spectral_night.path("truth"), velocities)
        return {
            **asdict(transients),
            "camera": self.nights().instrument,
            "last_night": self.nights().later_nights()[-1],
            "n_alerts": n_alerts,
            "n_invalid": n_invalid,
            "n_velocities": len(errors),
            "velocity_error_kms": float(np.median(np.abs(errors))) if len(errors) else None,
        }

    def _last_results(self) -> list[Any]:
        """Return where the differences and alerts of the last night are."""
        from astra.products.layout import alert_path
        from astra.tasks.demo_figures import DetectorResult
        from astra.tasks.diffim import DiffIm

        nights = self.nights()
        last = [shot.visit for shot in self.night.shots[nights.later_nights()[-1]]]
        results = []
        for visit, detector in nights.pairs(last):
            difference = nights.step(DiffIm, [(visit, detector)]).path("diffexp")
            results.append(
                DetectorResult(visit, detector, difference, alert_path(self.root, visit, detector))
            )
        return results

    # -- the command ----------------------------------------------------------------------------------------

    @property
    def is_attended(self) -> bool:
        """Always."""
        return True

    def prepare_command(self) -> None:
        """Make the folder ready, and send Luigi's log there."""
        prepare_folder(self.root, {"seed": self.seed, "scale": self.scale}, fresh=self.fresh)
        os.environ["ASTRA_ROOT"] = str(self.root)
        os.environ["ASTRA_DATABASE_URL"] = self.database_url
        log_to_file(self.log_path)
        set_where_silent("core", "workers", str(min(N_WORKERS, n_processors())))

    @property
    def log_path(self) -> Path:
        """Log of Luigi."""
        return self.root / LOG

    def opening_words(self) -> str:
        """Return what stands above the progress."""
        night = self.nights().later_nights()[-1]
        date = f"{night // 10000}-{night // 100 % 100:02d}-{night % 100:02d}"
        root, log = (escape(shown_path(path)) for path in (self.root, self.log_path))
        return (
            f"astra demo: night {date} (simulated, seed {self.seed}); it writes {root} only, its log {log}\n"
        )

    def shown_tasks(self, run: Selection) -> Selection:
        """Return all: what an earlier run has done counts too."""
        return replace(run, run=None)

    def closing_words(self, was_done: bool, run: Selection) -> str:
        """Return the report, or why there is none."""
        from astra.tasks.closing import failure_words, has_failed
        from astra.tasks.demo_words import report_words

        del run
        if was_done or (self.complete() and not has_failed(self.database_url)):
            return report_words(self, was_done=was_done)
        own = {"ASTRA_ROOT": os.path.relpath(self.root)}
        return failure_words(self.database_url, self.root, self.log_path, sys.argv[1:], environment=own)
